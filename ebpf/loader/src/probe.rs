//! Tries of what enforcement has to stop, which need the kernel's interfaces themselves: an installer asks with them
//! what it sees.

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

/// Where an `AF_XDP` socket was refused, or nowhere.
#[derive(Debug)]
pub enum Xdp {
    /// It is bound to the queue: frames could be sent past all that is in the network namespace.
    Open,
    /// Somebody has bound the queue.
    Held,
    /// The kernel refuses.
    Refused(io::Error),
    /// The kernel, or this interface, has none.
    Lacking(io::Error),
}

/// The cookie of the network namespace of the calling thread; never 0 (kernel 5.14).
///
/// # Errors
/// When the kernel does not tell.
pub fn network_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"))?;
    let mut cookie = 0_u64;
    let mut size = length::<u64>()?;
    // SAFETY: the option is eight bytes long, and both pointers are valid for the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    match (answer, cookie) {
        (0, 1..) => Ok(cookie),
        (0, 0) => Err(io::Error::other("the cookie is zero")),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends `frame` by a packet socket on the interface, with `mark` on the socket where there is one.
///
/// # Errors
/// What the kernel says; an egress filter that drops it says ENOBUFS.
pub fn send_frame(interface: u32, frame: &[u8], mark: Option<u32>) -> io::Result<()> {
    let socket = socket(libc::AF_PACKET, libc::SOCK_RAW)?;
    if let Some(mark) = mark {
        option(&socket, libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
    }
    let to = libc::sockaddr_ll {
        sll_family: family(libc::AF_PACKET)?,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff; 8],
    };
    // SAFETY: both buffers are valid for the lengths given, for the time of the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            length::<libc::sockaddr_ll>()?,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tries to bind an `AF_XDP` socket, in copy mode, to one queue of the interface; sends nothing.
#[must_use]
pub fn xdp(interface: u32, queue: u32) -> Xdp {
    match bind_xdp(interface, queue) {
        Ok(()) => Xdp::Open,
        Err(error) => match error.raw_os_error() {
            Some(libc::EBUSY) => Xdp::Held,
            Some(
                libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::ENOPROTOOPT,
            ) => Xdp::Lacking(error),
            _ => Xdp::Refused(error),
        },
    }
}

/// The smallest frame buffer that the kernel takes two of.
const CHUNK: u32 = 4096;
const CHUNKS: u32 = 2;

fn bind_xdp(interface: u32, queue: u32) -> io::Result<()> {
    let memory = Memory::map(size(CHUNK * CHUNKS)?)?;
    let socket = socket(libc::AF_XDP, libc::SOCK_RAW)?;
    // SAFETY: all fields are integers, of which 0 is a value.
    let mut frames: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    frames.addr = memory.at.expose_provenance() as u64;
    frames.len = memory.length as u64;
    frames.chunk_size = CHUNK;
    option(&socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &frames)?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        option(&socket, libc::SOL_XDP, ring, &CHUNKS)?;
    }
    let at = libc::sockaddr_xdp {
        sxdp_family: family(libc::AF_XDP)?,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    // SAFETY: the address is valid for the time of the call.
    let bound = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const at).cast(), length::<libc::sockaddr_xdp>()?)
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many programs run at connects of a cgroup's sockets, those of the folders above counted.
///
/// # Errors
/// When the kernel does not tell: `CAP_NET_ADMIN` is needed.
pub fn programs_at_connect(cgroup: BorrowedFd<'_>) -> io::Result<u32> {
    /// `union bpf_attr` for `BPF_PROG_QUERY` (linux/bpf.h).
    #[repr(C)]
    #[derive(Default)]
    struct Query {
        target: i32,
        kind: u32,
        flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
        program_attach_flags: u64,
    }
    const BPF_PROG_QUERY: libc::c_int = 16;
    const BPF_CGROUP_INET4_CONNECT: u32 = 10;
    const BPF_F_QUERY_EFFECTIVE: u32 = 1;
    let mut query = Query {
        target: cgroup.as_raw_fd(),
        kind: BPF_CGROUP_INET4_CONNECT,
        flags: BPF_F_QUERY_EFFECTIVE,
        ..Query::default()
    };
    // SAFETY: the attribute is valid for its length and, asked for no ids, the kernel writes to nothing else.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(query.count) }
}

/// Pages of this process, unmapped when dropped.
struct Memory {
    at: *mut libc::c_void,
    length: usize,
}

impl Memory {
    fn map(length: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping touches no memory that is in use.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { at, length })
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody has a reference into it.
        unsafe { libc::munmap(self.at, self.length) };
    }
}

fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let made = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn option<T>(socket: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is valid for its length for the time of the call.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            length::<T>()?,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn length<T>() -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}

fn family(family: libc::c_int) -> io::Result<u16> {
    u16::try_from(family).map_err(io::Error::other)
}

fn size(bytes: u32) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}
