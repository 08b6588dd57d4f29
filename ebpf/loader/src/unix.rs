//! Refuses Unix datagrams that name where they go, with two instructions that no library attaches yet.
//!
//! `connect` is watched elsewhere; a datagram can be sent to a path without one. The hook is called for every
//! datagram with an address, and not for those of a socket that was connected (kernel 6.7).

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use crate::kernel;

/// `enum bpf_prog_type` and `bpf_attach_type` of linux/bpf.h.
const CGROUP_SOCK_ADDR: u32 = 18;
const UNIX_SENDMSG: u32 = 50;

/// `r0 = 0; exit`: refused, which the caller sees as EPERM.
const REFUSE: [u64; 2] = [instruction(0xb7), instruction(0x95)];

/// A `struct bpf_insn` with an operation only: it is the structure's first byte.
const fn instruction(operation: u8) -> u64 {
    u64::from_ne_bytes([operation, 0, 0, 0, 0, 0, 0, 0])
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
        let name = *b"tollgate_unix\0\0\0";
        let program = kernel::load(name, CGROUP_SOCK_ADDR, UNIX_SENDMSG, &REFUSE)?;
        let link = kernel::attach(program.as_fd(), cgroup, UNIX_SENDMSG)?;
        // The link holds the program.
        Ok(Self { _link: link })
    }
}
