//! Whose sockets are: the user and the cgroup they were made by and in, as the kernel lists them (`sock_diag(7)`).
//!
//! The id of a cgroup is read nowhere else: inside of a container `/proc/self/cgroup` names the root of what the
//! container sees.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt,
};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg`, and where in it the socket's own port and its owner's user id are.
const MESSAGE: usize = 72;
const OWN_PORT: Range<usize> = 4..6;
const UID: Range<usize> = 64..68;
/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_CGROUP_ID` (`linux/inet_diag.h`; kernel 5.9).
const CGROUP_ID: u16 = 21;
/// `INET_DIAG_NOCOOKIE`, twice.
const ANY_COOKIE: u64 = u64::MAX;
/// `NLM_F_REQUEST`, and with `NLM_F_DUMP` (`linux/netlink.h`).
const ONE: u16 = 1;
const ALL: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Sockets in every state, and those that listen: `1 << TCP_LISTEN` (`net/tcp_states.h`).
const EVERY: u32 = u32::MAX;
const LISTENING: u32 = 1 << 10;

/// How two sockets talk to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By a connection.
    Tcp,
    /// By datagrams.
    Udp,
}

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The id of the cgroup (version 2) in which it was made, where the kernel says that.
    pub cgroup: Option<u64>,
}

/// A TCP socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its port.
    pub port: u16,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose the socket at `peer` is that talks to the one at `at`; nothing where it is not on this host, or is gone.
#[must_use]
pub fn owner(transport: Transport, peer: SocketAddr, at: SocketAddr) -> Option<Owner> {
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (peer, at) = (canonical(peer), canonical(at));
    // For UDP the kernel takes the two ends the other way round than for TCP ("for historical reasons").
    let (protocol, source, destination) = match transport {
        Transport::Tcp => (TCP, peer, at),
        Transport::Udp => (UDP, at, peer),
    };
    let id = id(source, Some(destination), ANY_COOKIE);
    let found = one(&request(ONE, family(peer), protocol, EVERY, &id)).ok()?;
    (found.port == peer.port()).then_some(found.owner)
}

/// The id of the cgroup (version 2) of the calling thread: that of a socket which it makes.
///
/// # Errors
/// When there is no loopback to listen at, or the kernel does not say.
pub fn own_cgroup() -> io::Result<u64> {
    let socket = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let at = socket.local_addr()?;
    let id = id(at, None, sockopt::socket_cookie(&socket)?);
    let own = one(&request(ONE, family(at), TCP, EVERY, &id))?;
    let absent = || io::Error::new(io::ErrorKind::NotFound, "the answer names no cgroup");
    own.owner.cgroup.ok_or_else(absent)
}

/// All that listen on TCP, of both families, in the network of the calling thread.
///
/// # Errors
/// When the kernel does not list them.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for family in [INET, INET6] {
        let socket = open()?;
        send(&socket, &request(ALL, family, TCP, LISTENING, &[0; 48]), SendFlags::empty())?;
        let mut answer = vec![0; 64 << 10];
        loop {
            let (received, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
            if !read(answer.get(..received).unwrap_or_default(), &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

fn open() -> io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    Ok(socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?)
}

/// The answer to a request for one socket.
fn one(request: &[u8]) -> io::Result<Listener> {
    let socket = open()?;
    send(&socket, request, SendFlags::empty())?;
    let mut answer = [0; 4096];
    // The kernel has put its answer into the queue before `send` returned.
    let (received, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    let mut found = Vec::new();
    read(answer.get(..received).unwrap_or_default(), &mut found)?;
    found.pop().ok_or_else(cut)
}

const fn family(at: SocketAddr) -> u8 {
    if at.is_ipv4() { INET } else { INET6 }
}

/// `struct inet_diag_sockid`: ports in network order, both addresses, any interface, the cookie's low word first.
fn id(source: SocketAddr, destination: Option<SocketAddr>, cookie: u64) -> Vec<u8> {
    let mut id = Vec::with_capacity(48);
    id.extend(source.port().to_be_bytes());
    id.extend(destination.map_or(0, |at| at.port()).to_be_bytes());
    id.extend(sixteen(source.ip()));
    id.extend(destination.map_or([0; 16], |at| sixteen(at.ip())));
    id.extend([0; 4]);
    for half in crate::origins::halves(cookie) {
        id.extend(half.to_ne_bytes());
    }
    id
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(flags: u16, family: u8, protocol: u8, states: u32, id: &[u8]) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let mut message = Vec::with_capacity(HEADER + 56);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port, of which there is one each.
    message.extend([0; 8]);
    message.extend([family, protocol, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(id);
    message
}

/// Reads the messages of one answer; whether more follow.
fn read(mut answer: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    while let Some((length, kind)) = header(answer) {
        let message = answer.get(HEADER..length).ok_or_else(cut)?;
        match kind {
            DONE => return Ok(false),
            ERROR => {
                let code = message.first_chunk().ok_or_else(cut)?;
                return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)));
            }
            _ => found.push(socket(message).ok_or_else(cut)?),
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.first_chunk().copied()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..)?.first_chunk().copied()?);
    (length >= HEADER).then_some((length, kind))
}

/// `struct inet_diag_msg` and its attributes.
fn socket(message: &[u8]) -> Option<Listener> {
    let port = u16::from_be_bytes(message.get(OWN_PORT)?.try_into().ok()?);
    let uid = u32::from_ne_bytes(message.get(UID)?.try_into().ok()?);
    let cgroup = cgroup(message.get(MESSAGE..)?);
    Some(Listener { port, owner: Owner { uid, cgroup } })
}

/// The cgroup's id among the attributes, which begin at multiples of four bytes.
fn cgroup(mut attributes: &[u8]) -> Option<u64> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.first_chunk().copied()?));
        let kind = u16::from_ne_bytes(attributes.get(2..)?.first_chunk().copied()?);
        let value = attributes.get(4..length)?;
        if kind == CGROUP_ID {
            return Some(u64::from_ne_bytes(value.try_into().ok()?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's answer is cut off")
}
