//! Asks the kernel in which cgroup the other end of a local connection was made (`sock_diag(7)`,
//! `INET_DIAG_CGROUP_ID`).

use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// How a peer talks to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By a connection.
    Tcp,
    /// By datagrams.
    Udp,
}

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 72;
/// Where in it the owner's user id is.
const UID: std::ops::Range<usize> = 64..68;
/// Where in it the socket's own port is.
const OWN_PORT: std::ops::Range<usize> = 4..6;
/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_CGROUP_ID` (`linux/inet_diag.h`; kernel 5.9).
const CGROUP_ID: u16 = 21;
const REQUEST: u16 = 1;

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The user.
    pub(crate) uid: u32,
    /// The id of the cgroup in which it was made, where the kernel says that.
    pub(crate) cgroup: Option<u64>,
}

/// Whose the socket at `peer` is that talks to the one at `at`; nothing where it is not on this host, or is gone.
pub(crate) fn owner(transport: Transport, peer: SocketAddr, at: SocketAddr) -> Option<Owner> {
    let answer = ask(&request(transport, peer, at)).ok()?;
    read(&answer, peer.port())
}

/// The cgroup in which that socket was made; nothing where the kernel does not say.
pub(super) fn cgroup(transport: Transport, peer: SocketAddr, at: SocketAddr) -> Option<u64> {
    owner(transport, peer, at)?.cgroup
}

fn ask(request: &[u8]) -> Result<Vec<u8>, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, request, SendFlags::empty())?;
    let mut answer = vec![0; 4096];
    // The kernel answers before `send` returns, so this does not wait.
    let (received, _) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    answer.truncate(received);
    Ok(answer)
}

/// One `inet_diag_req_v2` for exactly this socket.
fn request(transport: Transport, peer: SocketAddr, at: SocketAddr) -> Vec<u8> {
    const INET: u8 = 2;
    const INET6: u8 = 10;
    const LENGTH: u32 = 72;
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (peer, at) = (canonical(peer), canonical(at));
    // For UDP the kernel takes the two ends the other way round than for TCP ("for historical reasons").
    let (protocol, source, destination) = match transport {
        Transport::Tcp => (6, peer, at),
        Transport::Udp => (17, at, peer),
    };
    let mut message = Vec::with_capacity(HEADER + 56);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    let family = if peer.is_ipv4() { INET } else { INET6 };
    message.extend([family, protocol, 0, 0]);
    // Sockets in every state.
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(source.port().to_be_bytes());
    message.extend(destination.port().to_be_bytes());
    message.extend(sixteen(source.ip()));
    message.extend(sixteen(destination.ip()));
    // On any interface, and with any cookie.
    message.extend(0_u32.to_ne_bytes());
    message.extend([0xff; 8]);
    message
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

/// Who the answer says the socket is whose own port is `port`.
fn read(answer: &[u8], port: u16) -> Option<Owner> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let message = answer.get(HEADER..)?;
    let own = u16::from_be_bytes(message.get(OWN_PORT)?.try_into().ok()?);
    if kind != BY_FAMILY || own != port {
        return None;
    }
    let uid = u32::from_ne_bytes(message.get(UID)?.try_into().ok()?);
    Some(Owner { uid, cgroup: attribute(message.get(MESSAGE..)?) })
}

/// The cgroup's id among the attributes.
fn attribute(mut rest: &[u8]) -> Option<u64> {
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == CGROUP_ID {
            return Some(u64::from_ne_bytes(value.try_into().ok()?));
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}
