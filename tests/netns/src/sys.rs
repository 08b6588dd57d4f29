//! System calls with their arguments as values: the only place of the package, beside the rings, that needs `unsafe`.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths of small buffers and constants of the kernel are narrowed to what its interface takes"
)]

use std::io::{self, Error};
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void, socklen_t};

mod message;
mod process;
pub use message::{Ancillary, receive_descriptor, send_descriptor, send_many, send_message};
pub use process::{
    become_user, bound_capabilities, close_on_exec, duplicate, enter, files_as, fork, mount,
    no_new_privileges, pin_to_processor, processors, share_nothing, unmount, unshare, wait_for,
    watch,
};

/// What the kernel answered, or its error.
pub(crate) fn checked(answer: c_int) -> io::Result<c_int> {
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(answer) }
}

/// The same for calls that answer with a length.
pub(crate) fn counted(answer: isize) -> io::Result<usize> {
    usize::try_from(answer).map_err(|_negative| Error::last_os_error())
}

/// Takes over a descriptor that a system call made.
pub(crate) fn owned(answer: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just made it, and nobody else knows of it.
    checked(answer).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket's address in the kernel's own form, whichever family it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Vec<u8>);

impl Address {
    /// An address whose bytes are given, the family first in the machine's order.
    #[must_use]
    pub fn raw(family: c_int, rest: &[u8]) -> Self {
        let mut bytes = (family as u16).to_ne_bytes().to_vec();
        bytes.extend(rest);
        Self(bytes)
    }

    /// `sockaddr_in` or `sockaddr_in6`; `scope` is the interface of a link-local address.
    #[must_use]
    pub fn inet(to: SocketAddr, scope: u32) -> Self {
        let port = to.port().to_be_bytes();
        match to {
            SocketAddr::V4(to) => {
                Self::raw(libc::AF_INET, &[&port[..], &to.ip().octets(), &[0; 8]].concat())
            }
            SocketAddr::V6(to) => Self::raw(
                libc::AF_INET6,
                &[&port[..], &[0; 4], &to.ip().octets(), &scope.to_ne_bytes()].concat(),
            ),
        }
    }

    /// The same address with the family `AF_UNSPEC`, which a datagram socket takes for its own.
    #[must_use]
    pub fn without_family(mut self) -> Self {
        for (byte, none) in self.0.iter_mut().zip((libc::AF_UNSPEC as u16).to_ne_bytes()) {
            *byte = none;
        }
        self
    }

    /// `sockaddr_ll`: an interface, a protocol and the link address of the receiver.
    #[must_use]
    pub fn packet(interface: u32, protocol: u16, to: [u8; 6]) -> Self {
        let index = interface.to_ne_bytes();
        let rest = [&protocol.to_be_bytes()[..], &index, &[0, 0, 0, 6], &to, &[0; 2]].concat();
        Self::raw(libc::AF_PACKET, &rest)
    }

    /// `sockaddr_un` of a path, or of an abstract name where it begins with `@`.
    #[must_use]
    pub fn unix(name: &str) -> Self {
        match name.strip_prefix('@') {
            Some(name) => Self::raw(libc::AF_UNIX, &[&[0], name.as_bytes()].concat()),
            None => Self::raw(libc::AF_UNIX, &[name.as_bytes(), &[0]].concat()),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn pointer(&self) -> *const libc::sockaddr {
        self.0.as_ptr().cast()
    }

    pub(crate) fn length(&self) -> socklen_t {
        self.0.len() as socklen_t
    }
}

/// `socket(2)`, closed on execution.
///
/// # Errors
/// As the system call.
pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })
}

/// `connect(2)`.
///
/// # Errors
/// As the system call.
pub fn connect(fd: BorrowedFd<'_>, to: &Address) -> io::Result<()> {
    // SAFETY: the address lives during the call and has that length.
    checked(unsafe { libc::connect(fd.as_raw_fd(), to.pointer(), to.length()) }).map(drop)
}

/// `bind(2)`.
///
/// # Errors
/// As the system call.
pub fn bind(fd: BorrowedFd<'_>, to: &Address) -> io::Result<()> {
    // SAFETY: as in `connect`.
    checked(unsafe { libc::bind(fd.as_raw_fd(), to.pointer(), to.length()) }).map(drop)
}

/// `listen(2)`.
///
/// # Errors
/// As the system call.
pub fn listen(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::listen(fd.as_raw_fd(), 16) }).map(drop)
}

/// `accept4(2)` without the peer's address.
///
/// # Errors
/// As the system call.
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let none = ptr::null_mut();
    // SAFETY: no address is asked for.
    owned(unsafe { libc::accept4(fd.as_raw_fd(), none, ptr::null_mut(), libc::SOCK_CLOEXEC) })
}

/// `sendto(2)`, to the connected peer where no address is given.
///
/// # Errors
/// As the system call.
pub fn send_to(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    flags: c_int,
    to: Option<&Address>,
) -> io::Result<usize> {
    let (at, length) = to.map_or((ptr::null(), 0), |to| (to.pointer(), to.length()));
    let flags = flags | libc::MSG_NOSIGNAL;
    let (start, count) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: bytes and address live during the call and have those lengths.
    counted(unsafe { libc::sendto(fd.as_raw_fd(), start, count, flags, at, length) })
}

/// `recv(2)`: what one call gives, at most 2,048 bytes.
///
/// # Errors
/// As the system call.
pub fn receive(fd: BorrowedFd<'_>, flags: c_int) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; 2048];
    let (start, count) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer lives during the call and has that length.
    let length = counted(unsafe { libc::recv(fd.as_raw_fd(), start, count, flags) })?;
    buffer.truncate(length);
    Ok(buffer)
}

/// A datagram, of at most 2,048 bytes, and where it came from.
///
/// # Errors
/// As `recvfrom(2)`.
pub fn receive_from(fd: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Address)> {
    let mut buffer = vec![0_u8; 2048];
    let mut from = vec![0_u8; size_of::<libc::sockaddr_storage>()];
    let mut length = from.len() as socklen_t;
    let (start, count) = (buffer.as_mut_ptr().cast(), buffer.len());
    let at = from.as_mut_ptr().cast();
    // SAFETY: buffer and address live during the call and have those lengths.
    let got =
        counted(unsafe { libc::recvfrom(fd.as_raw_fd(), start, count, 0, at, &raw mut length) })?;
    buffer.truncate(got);
    from.truncate(length as usize);
    Ok((buffer, Address(from)))
}

/// A frame at a packet socket, and whether this machine sent it there itself.
///
/// # Errors
/// As `recvfrom(2)`.
pub fn receive_frame(fd: BorrowedFd<'_>) -> io::Result<(Vec<u8>, bool)> {
    let mut buffer = vec![0_u8; 4096];
    // SAFETY: all zeros is a valid address.
    let mut from: libc::sockaddr_ll = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as socklen_t;
    let (start, count) = (buffer.as_mut_ptr().cast(), buffer.len());
    let at = (&raw mut from).cast();
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: buffer and address live during the call and have those lengths.
    let got = counted(unsafe {
        libc::recvfrom(fd.as_raw_fd(), start, count, flags, at, &raw mut length)
    })?;
    buffer.truncate(got);
    Ok((buffer, from.sll_pkttype == libc::PACKET_OUTGOING))
}

/// `setsockopt(2)` with the option's bytes.
///
/// # Errors
/// As the system call.
pub fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let (start, length) = (value.as_ptr().cast::<c_void>(), value.len() as socklen_t);
    // SAFETY: the value lives during the call and has that length.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, start, length) }).map(drop)
}

/// `setsockopt(2)` of an option that is a number.
///
/// # Errors
/// As the system call.
pub fn set_number(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_option(fd, level, name, &value.to_ne_bytes())
}

/// `getsockopt(2)`: the option's bytes, at most 512.
///
/// # Errors
/// As the system call.
pub fn option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; 512];
    let mut length = value.len() as socklen_t;
    let start = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: the buffer lives during the call and has that length.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, start, &raw mut length) })?;
    value.truncate(length as usize);
    Ok(value)
}

/// The error that an asynchronous connect ended with, if any.
///
/// # Errors
/// That error, or that of the question.
pub fn pending_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    let value = option(fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
    let value = value.try_into().map_or(libc::EIO, c_int::from_ne_bytes);
    if value == 0 { Ok(()) } else { Err(Error::from_raw_os_error(value)) }
}

/// Switches a descriptor to answers without waiting.
///
/// # Errors
/// As `fcntl(2)`.
pub fn without_waiting(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let flags = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = flags | libc::O_NONBLOCK;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// Waits until one of `events` is true of `fd`, or so many milliseconds have passed: then false.
///
/// # Errors
/// As `poll(2)`.
pub fn wait(fd: BorrowedFd<'_>, events: i16, milliseconds: c_int) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry that lives during the call.
    checked(unsafe { libc::poll(&raw mut asked, 1, milliseconds) }).map(|count| count > 0)
}

/// The index of an interface in the caller's network namespace.
///
/// # Errors
/// When there is none of that name.
pub fn interface(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: a terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(Error::last_os_error()),
        index => Ok(index),
    }
}

/// Two Unix stream sockets that are connected to each other.
///
/// # Errors
/// As `socketpair(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the array takes two descriptors.
    checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: the kernel just made them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}
