//! In which cgroup the calling thread is, as the kernel numbers it: what it says of a socket that the thread makes.
//!
//! Not read from `/proc/self/cgroup`, which inside of a container names the root of what the container sees.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

// The numbers of `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_CGROUP_ID: u16 = 21;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;

/// `struct nlmsghdr`, and `struct inet_diag_msg` behind it.
const HEADER: usize = 16;
const MESSAGE: usize = 72;

/// The id of the cgroup (version 2) of the calling thread.
pub(super) fn cgroup() -> io::Result<u64> {
    let socket = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let request = request(socket.local_addr()?, sockopt::socket_cookie(&socket)?);
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let diag =
        rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    rustix::net::send(&diag, &request, SendFlags::empty())?;
    let mut buffer = [0; 4096];
    // The kernel has put its answer into the queue before `send` returned.
    let (length, _) = rustix::net::recv(&diag, &mut buffer, RecvFlags::DONTWAIT)?;
    let answer = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
    read(answer)
}

/// Asks for one socket: a header and `struct inet_diag_req_v2`.
fn request(at: SocketAddr, cookie: u64) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + 56);
    request.extend(72_u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port, of which there is one each.
    request.extend([0; 8]);
    let mut source = [0; 16];
    let family = match at {
        SocketAddr::V4(at) => {
            for (to, from) in source.iter_mut().zip(at.ip().octets()) {
                *to = from;
            }
            AF_INET
        }
        SocketAddr::V6(at) => {
            source = at.ip().octets();
            AF_INET6
        }
    };
    request.extend([family, TCP, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    // Ports in network order, both addresses, any interface, the cookie low word first.
    request.extend(at.port().to_be_bytes());
    request.extend([0; 2]);
    request.extend(source);
    request.extend([0; 16]);
    request.extend([0; 4]);
    let [low, high] = crate::origins::halves(cookie);
    request.extend(low.to_ne_bytes());
    request.extend(high.to_ne_bytes());
    request
}

/// Finds the cgroup among the attributes of the answer.
fn read(answer: &[u8]) -> io::Result<u64> {
    let absent = || io::Error::new(io::ErrorKind::NotFound, "the answer names no cgroup");
    let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is too short");
    let word = |at: usize| answer.get(at..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(short);
    let half = |of: &[u8], at: usize| {
        of.get(at..).and_then(<[u8]>::first_chunk::<2>).map(|bytes| u16::from_ne_bytes(*bytes))
    };
    if half(answer, 4) == Some(NLMSG_ERROR) {
        return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*word(HEADER)?)));
    }
    let mut attributes = answer.get(HEADER + MESSAGE..).ok_or_else(short)?;
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let length = usize::from(length);
        if kind == INET_DIAG_CGROUP_ID {
            let id = attributes.get(4..).and_then(<[u8]>::first_chunk::<8>).ok_or_else(short)?;
            return Ok(u64::from_ne_bytes(*id));
        }
        // Attributes are aligned to four bytes; one of no length would never end.
        attributes = attributes.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    Err(absent())
}
