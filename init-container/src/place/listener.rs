//! In which cgroup a listening socket was made, as the kernel's socket list says (`sock_diag`, kernel 5.8).

use std::{io, mem::MaybeUninit, net::TcpListener};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{SOCK_DIAG, SocketAddrNetlink},
};

/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` (linux/netlink.h).
const DUMP: u16 = 0x301;
/// `NLMSG_DONE` and `NLMSG_ERROR`.
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// `1 << TCP_LISTEN` (`net/tcp_states.h`).
const LISTENING: u32 = 1 << 10;
/// `INET_DIAG_CGROUP_ID` (`linux/inet_diag.h`).
const CGROUP_ID: u16 = 21;
/// `struct nlmsghdr` and `struct inet_diag_msg`, in bytes.
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// A listening TCP socket of the network of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) user: u32,
    pub(super) cgroup: u64,
}

/// All that listen on TCP of both families.
pub(super) fn all() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(SOCK_DIAG),
        )?;
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &request(family)?, SendFlags::empty(), &kernel)?;
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        loop {
            let ((answer, _), _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            if !read(answer, &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// The cgroup of the calling process: that of a socket which it makes.
pub(super) fn own() -> io::Result<u64> {
    let socket = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let port = socket.local_addr()?.port();
    let own = all()?.into_iter().find(|it| it.port == port);
    own.map(|it| it.cgroup).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: AddressFamily) -> io::Result<Vec<u8>> {
    const TCP: u8 = 6;
    const ID: usize = 48;
    let length = HEADER + 8 + ID;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    let family = u8::try_from(family.as_raw()).map_err(io::Error::other)?;
    bytes.extend([family, TCP, 0, 0]);
    bytes.extend(LISTENING.to_ne_bytes());
    bytes.extend([0; ID]);
    Ok(bytes)
}

/// Reads the messages of one answer; whether more follow.
fn read(mut answer: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    while let Some((length, kind)) = header(answer) {
        let message = answer.get(HEADER..length).ok_or_else(cut)?;
        match kind {
            DONE => return Ok(false),
            ERROR => return Err(io::Error::other("the kernel does not list its sockets")),
            _ => found.extend(listener(message)),
        }
        answer = answer.get(aligned(length)..).unwrap_or_default();
    }
    Ok(true)
}

fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.first_chunk().copied()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..)?.first_chunk().copied()?);
    (length >= HEADER).then_some((length, kind))
}

/// `struct inet_diag_msg` and its attributes; one without a cgroup is of no use.
fn listener(message: &[u8]) -> Option<Listener> {
    let port = u16::from_be_bytes(message.get(4..)?.first_chunk().copied()?);
    let user = u32::from_ne_bytes(message.get(64..)?.first_chunk().copied()?);
    let mut attributes = message.get(MESSAGE..)?;
    while let Some(length) = attributes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes)) {
        let length = usize::from(length);
        let kind = u16::from_ne_bytes(attributes.get(2..)?.first_chunk().copied()?);
        if kind == CGROUP_ID {
            let cgroup = u64::from_ne_bytes(attributes.get(4..length)?.first_chunk().copied()?);
            return Some(Listener { port, user, cgroup });
        }
        attributes = attributes.get(aligned(length.max(4))..)?;
    }
    None
}

/// Messages and attributes begin at multiples of four bytes.
const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's answer is cut off")
}
