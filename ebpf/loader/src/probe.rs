//! Tries of what enforcement has to stop, which need the kernel's interfaces themselves: an installer asks with them
//! what it sees.

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use crate::kernel;

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
    match crate::xdp::bind(interface, queue) {
        Ok(_socket) => Xdp::Open,
        Err(error) => match error.raw_os_error() {
            Some(libc::EBUSY) => Xdp::Held,
            Some(
                libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::ENOPROTOOPT,
            ) => Xdp::Lacking(error),
            _ => Xdp::Refused(error),
        },
    }
}

/// How many programs run at connects of a cgroup's sockets, those of the folders above counted.
///
/// # Errors
/// When the kernel does not tell: `CAP_NET_ADMIN` is needed.
pub fn programs_at_connect(cgroup: BorrowedFd<'_>) -> io::Result<u32> {
    /// `enum bpf_attach_type` (linux/bpf.h).
    const CGROUP_INET4_CONNECT: u32 = 10;
    kernel::programs_at(cgroup, CGROUP_INET4_CONNECT)
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
