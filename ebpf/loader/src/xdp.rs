//! Keeps a way out shut that passes by everything else in a network namespace: `AF_XDP`, for whoever has `CAP_NET_RAW`.
//!
//! A queue of an interface takes one `AF_XDP` socket, in copy mode at least. The gate's container binds one to every
//! queue before the agent starts; it asks for no packet and sends none.

use std::{io, os::fd::OwnedFd, ptr::null_mut};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap_anonymous, munmap},
    net::{
        AddressFamily, SocketFlags, SocketType,
        sockopt::{
            set_xdp_rx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
            set_xdp_umem_reg,
        },
        xdp::{SocketAddrXdp, SocketAddrXdpFlags, XdpUmemReg, XdpUmemRegFlags},
    },
};

/// The memory that a socket must register: one chunk of the smallest size that all kernels take.
const CHUNK: u32 = 4096;

/// The `AF_XDP` sockets of all queues of some interfaces, as long as this is held.
#[derive(Debug)]
pub struct Held {
    queues: Vec<OwnedFd>,
}

impl Held {
    /// Takes all queues of the interfaces with these indices. Needs `CAP_NET_RAW`, and 4 KiB of locked memory
    /// (`RLIMIT_MEMLOCK`) for each queue.
    ///
    /// Queues that are added later are free: who adds them needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// When an interface is not there, somebody else has a queue of it (EBUSY, also for a moment after a predecessor
    /// has ended), or the kernel has no `AF_XDP`
    /// (EAFNOSUPPORT): then nobody can leave that way.
    pub fn all(interfaces: &[u32]) -> io::Result<Self> {
        let mut queues = Vec::new();
        for interface in interfaces {
            for queue in 0.. {
                match bind(*interface, queue) {
                    Ok(socket) => queues.push(socket),
                    // There is no such queue; that the first is there is known of every interface.
                    Err(error) if queue > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self { queues })
    }

    /// How many queues are held.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.queues.len()
    }
}

/// Binds a socket to a queue, in copy mode: every driver can, and what the interface does otherwise stays as it is.
pub(crate) fn bind(interface: u32, queue: u32) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    register(&socket)?;
    set_xdp_umem_fill_ring_size(&socket, 1)?;
    set_xdp_umem_completion_ring_size(&socket, 1)?;
    set_xdp_rx_ring_size(&socket, 1)?;
    let flags = SocketAddrXdpFlags::XDP_COPY;
    rustix::net::bind(&socket, &SocketAddrXdp::new(flags, interface, queue))?;
    Ok(socket)
}

/// Registers one chunk of memory, which nothing is ever written to: the ring that would name it stays empty.
fn register(socket: &OwnedFd) -> io::Result<()> {
    let size = usize::try_from(CHUNK).map_err(io::Error::other)?;
    // SAFETY: a mapping anew, where the kernel likes; nothing else is at that place.
    let chunk = unsafe {
        mmap_anonymous(null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }?;
    let memory = XdpUmemReg {
        addr: chunk as u64,
        len: u64::from(CHUNK),
        chunk_size: CHUNK,
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    let registered = set_xdp_umem_reg(socket, memory);
    // SAFETY: the mapping is ours and nothing refers to it; the kernel holds the page itself.
    unsafe { munmap(chunk, size) }?;
    Ok(registered?)
}
