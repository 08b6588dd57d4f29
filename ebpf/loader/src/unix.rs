//! Refuses Unix datagrams that name where they go, with two instructions that no library attaches yet.
//!
//! `connect` is watched elsewhere; a datagram can be sent to a path without one. The hook is called for every
//! datagram with an address, and not for those of a socket that was connected (kernel 6.7).

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use crate::kernel;

/// `enum bpf_cmd`, `bpf_prog_type` and `bpf_attach_type` of linux/bpf.h.
const PROG_LOAD: libc::c_long = 5;
const CGROUP_SOCK_ADDR: u32 = 18;
const UNIX_SENDMSG: u32 = 50;

/// `r0 = 0; exit`: refused, which the caller sees as EPERM.
const REFUSE: [u64; 2] = [instruction(0xb7), instruction(0x95)];

/// A `struct bpf_insn` with an operation only: it is the structure's first byte.
const fn instruction(operation: u8) -> u64 {
    u64::from_ne_bytes([operation, 0, 0, 0, 0, 0, 0, 0])
}

/// The part of `union bpf_attr` that loads a program; what follows it is zero.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    hook: u32,
}

/// The program at one cgroup. Dropped, it is detached.
#[derive(Debug)]
pub(crate) struct AddressedDatagrams {
    _link: OwnedFd,
}

impl AddressedDatagrams {
    /// Refuses them for all sockets of `cgroup` that are made from now on.
    ///
    /// # Errors
    /// `EINVAL` from a kernel that has no such hook; whoever depends on it tries whether it is in force.
    pub(crate) fn refuse(cgroup: BorrowedFd<'_>) -> io::Result<Self> {
        let load = Load {
            kind: CGROUP_SOCK_ADDR,
            count: 2,
            instructions: REFUSE.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            name: *b"tollgate_unix\0\0\0",
            hook: UNIX_SENDMSG,
            ..Load::default()
        };
        // SAFETY: instructions and license live for as long as the program; the size is that of the structure.
        let program = unsafe { bpf(PROG_LOAD, &load) }?;
        let link = kernel::attach(program.as_fd(), cgroup, UNIX_SENDMSG)?;
        // The link holds the program.
        Ok(Self { _link: link })
    }
}

/// A command that returns a new descriptor.
///
/// # Safety
/// What the attributes point to must be valid for the call.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are valid for the call, by reference and size.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
