//! Builds the filter of system calls that the command and all it starts live under.
//!
//! It refuses with an error instead of killing, so that programs that try and fall back go on.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
    sock_filter,
};

/// Offsets into `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The low half of argument `n`: the kernel reads an `int` there and ignores the rest, and so does the filter.
const fn argument(n: u32) -> u32 {
    16 + 8 * n + if cfg!(target_endian = "big") { 4 } else { 0 }
}

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// System call numbers from here on are the x32 ABI on `x86_64`; elsewhere none is so high.
const X32: u32 = 0x4000_0000;

/// Refused whatever the arguments: they reach outside of the namespaces or widen the kernel's surface.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_open_by_handle_at,
];

/// Calls that give a file its mode, with the argument that is it.
#[cfg(target_arch = "x86_64")]
const MODES: &[(libc::c_long, u32)] = &[
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    (libc::SYS_creat, 1),
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];
#[cfg(not(target_arch = "x86_64"))]
const MODES: &[(libc::c_long, u32)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    (libc::SYS_mknodat, 2),
];

/// Those that do so only where they make one, with the argument that says so, which the mode follows.
#[cfg(target_arch = "x86_64")]
const OPENS: &[(libc::c_long, u32)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
#[cfg(not(target_arch = "x86_64"))]
const OPENS: &[(libc::c_long, u32)] = &[(libc::SYS_openat, 2)];

/// `O_CREAT`, and the bit of `O_TMPFILE` that is not `O_DIRECTORY` (asm-generic/fcntl.h).
const MAKES: libc::c_int = libc::O_CREAT | 0o20_000_000;

/// The part of a socket's type that is not flags (`SOCK_TYPE_MASK`, linux/net.h).
const KIND: u32 = 0xf;

/// Terminal controls that type into a terminal or change its line discipline.
const TERMINAL_CONTROLS: &[u32] = &[0x5412, 0x541c, 0x5423]; // TIOCSTI, TIOCLINUX, TIOCSETD

/// Families that lead to the gate. Unix sockets and Netlink's, which are raw by custom and talk to this kernel about this
/// namespace only, stay inside; all others reach a hypervisor, the wire, or kernel code nobody needs here.
const FAMILIES: &[libc::c_int] = &[libc::AF_INET, libc::AF_INET6];

/// What may be asked for in [`FAMILIES`]: the usual one of the kind, TCP and UDP. Others (UDP-Lite, MPTCP, ping) have
/// ways of their own through the kernel.
const PROTOCOLS: &[libc::c_int] = &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// The filter, to be installed once `no_new_privs` is set. A `connect` is held back for the filter's listener.
///
/// Without `datagrams` there are no Unix sockets for them: they can be sent to a path without a connect.
pub(crate) fn filter(datagrams: bool) -> Vec<sock_filter> {
    let mut program = vec![load(ARCH), when(NATIVE, 0, 1), skip(1), refuse(libc::EPERM)];
    program.extend([load(NUMBER), jump(BPF_JGE, X32, 0, 1), refuse(libc::EPERM)]);
    program.extend([when(number(libc::SYS_connect), 0, 1), ask()]);
    for &call in REFUSED {
        program.extend([when(number(call), 0, 1), refuse(libc::EPERM)]);
    }
    // It has its mode in memory, where no filter sees it; programs have another way for kernels without it.
    program.extend([when(number(libc::SYS_openat2), 0, 1), refuse(libc::ENOSYS)]);
    for &(call, flags) in OPENS {
        guard(&mut program, call, &opens(flags));
    }
    for &(call, mode) in MODES {
        guard(&mut program, call, &modes(mode));
    }
    guard(&mut program, libc::SYS_ioctl, &controls());
    guard(&mut program, libc::SYS_socket, &sockets(datagrams));
    guard(&mut program, libc::SYS_socketpair, &sockets(datagrams));
    program.push(allow());
    program
}

/// For one system call: a block that ends in a verdict on every path.
fn guard(program: &mut Vec<sock_filter>, call: libc::c_long, block: &[sock_filter]) {
    let length = u8::try_from(block.len()).unwrap_or(u8::MAX);
    program.push(when(number(call), 0, length));
    program.extend(block);
}

/// Whoever executes such a file becomes its owner, also outside.
fn modes(argument_of_mode: u32) -> Vec<sock_filter> {
    let set_user_id = number(libc::S_ISUID.into());
    vec![
        load(argument(argument_of_mode)),
        jump(BPF_JSET, set_user_id, 0, 1),
        refuse(libc::EPERM),
        allow(),
    ]
}

/// Without these flags the argument after them means nothing.
fn opens(argument_of_flags: u32) -> Vec<sock_filter> {
    let mut block = vec![
        load(argument(argument_of_flags)),
        jump(BPF_JSET, number(MAKES.into()), 1, 0),
        allow(),
    ];
    block.extend(modes(argument_of_flags + 1));
    block
}

fn controls() -> Vec<sock_filter> {
    let mut block = vec![load(argument(1))];
    for &control in TERMINAL_CONTROLS {
        block.extend([when(control, 0, 1), refuse(libc::EPERM)]);
    }
    block.push(allow());
    block
}

/// Of the families that lead to the gate no raw socket, which writes packets, and no other protocol.
fn sockets(datagrams: bool) -> Vec<sock_filter> {
    let mut block = vec![load(argument(0)), when(number(libc::AF_NETLINK.into()), 0, 1), allow()];
    let unix = unix_sockets(datagrams);
    block.push(when(number(libc::AF_UNIX.into()), 0, u8::try_from(unix.len()).unwrap_or(u8::MAX)));
    block.extend(unix);
    let families = u8::try_from(FAMILIES.len()).unwrap_or(u8::MAX);
    for (left, &family) in (0..families).rev().zip(FAMILIES) {
        // On a match, jump over the remaining comparisons and the refusal after them.
        block.push(jump(BPF_JEQ, number(family.into()), left + 1, 0));
    }
    block.push(refuse(libc::EAFNOSUPPORT));
    block.push(load(argument(1)));
    block.push(statement(BPF_ALU | BPF_AND | BPF_K, KIND));
    block.extend([when(number(libc::SOCK_RAW.into()), 0, 1), refuse(libc::EPERM)]);
    block.push(load(argument(2)));
    for &protocol in PROTOCOLS {
        block.extend([when(number(protocol.into()), 0, 1), allow()]);
    }
    block.push(refuse(libc::EPERM));
    block
}

/// A raw socket of this family is one for datagrams by another name.
fn unix_sockets(datagrams: bool) -> Vec<sock_filter> {
    let mut block = vec![load(argument(1)), statement(BPF_ALU | BPF_AND | BPF_K, KIND)];
    block.extend([when(number(libc::SOCK_RAW.into()), 0, 1), refuse(libc::EPERM)]);
    if !datagrams {
        let kind = number(libc::SOCK_DGRAM.into());
        block.extend([when(kind, 0, 1), refuse(libc::ESOCKTNOSUPPORT)]);
    }
    block.push(allow());
    block
}

/// Every constant used here is small and not negative.
fn number(value: libc::c_long) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn when(value: u32, equal: u8, other: u8) -> sock_filter {
    jump(BPF_JEQ, value, equal, other)
}

fn skip(count: u32) -> sock_filter {
    statement(BPF_JMP, count)
}

fn allow() -> sock_filter {
    statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW)
}

fn ask() -> sock_filter {
    statement(BPF_RET | BPF_K, libc::SECCOMP_RET_USER_NOTIF)
}

fn refuse(errno: libc::c_int) -> sock_filter {
    statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | number(errno.into()))
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(BPF_JMP | test | BPF_K).unwrap_or(u16::MAX), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use crate::sys;

    /// What `socket` and `socketpair` say in a thread under the filter.
    fn sockets_under_the_filter(datagrams: bool) -> Vec<Result<(), rustix::io::Errno>> {
        use rustix::net::{AddressFamily as Family, SocketFlags, SocketType as Type};
        std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let _listener: OwnedFd = sys::install_filter(&super::filter(datagrams)).unwrap();
            let made = |family, kind| rustix::net::socket(family, kind, None).map(drop);
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let pair = |kind| rustix::net::socketpair(Family::UNIX, kind, flags, None).map(drop);
            vec![
                made(Family::UNIX, Type::DGRAM),
                pair(Type::DGRAM),
                made(Family::UNIX, Type::STREAM),
                pair(Type::SEQPACKET),
                made(Family::INET, Type::DGRAM),
                made(Family::UNIX, Type::RAW),
            ]
        })
        .join()
        .unwrap()
    }

    #[test]
    fn where_no_kernel_program_refuses_them_there_are_no_unix_datagrams() {
        let (none, raw) = (Err(rustix::io::Errno::SOCKTNOSUPPORT), Err(rustix::io::Errno::PERM));
        assert_eq!(sockets_under_the_filter(false), [none, none, Ok(()), Ok(()), Ok(()), raw]);
        assert_eq!(sockets_under_the_filter(true), [Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), raw]);
    }
}
