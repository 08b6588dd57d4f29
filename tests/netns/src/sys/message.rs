//! Messages with ancillary data.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::c_int;

use super::{Address, checked, counted};

/// One piece of ancillary data.
#[derive(Debug, Clone)]
pub struct Ancillary {
    /// Such as `IPPROTO_IP`.
    pub level: c_int,
    /// Such as `IP_PKTINFO`.
    pub kind: c_int,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All pieces as the kernel wants them: a header of 16 bytes each, padded to 8.
fn control(pieces: &[Ancillary]) -> Vec<u64> {
    let mut bytes: Vec<u8> = Vec::new();
    for piece in pieces {
        bytes.extend((size_of::<libc::cmsghdr>() + piece.bytes.len()).to_ne_bytes());
        bytes.extend(piece.level.to_ne_bytes());
        bytes.extend(piece.kind.to_ne_bytes());
        bytes.extend(&piece.bytes);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

/// `sendmsg(2)` of one buffer.
///
/// # Errors
/// As the system call.
pub fn send_message(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    flags: c_int,
    to: Option<&Address>,
    pieces: &[Ancillary],
) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = control(pieces);
    let message = header(&mut part, to, &mut control);
    // SAFETY: everything the header points to lives until the call returns.
    counted(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL)
    })
}

fn header(part: &mut libc::iovec, to: Option<&Address>, control: &mut [u64]) -> libc::msghdr {
    // SAFETY: all zeros is a valid header.
    let mut message: libc::msghdr = unsafe { zeroed() };
    if let Some(to) = to {
        message.msg_name = to.pointer().cast_mut().cast();
        message.msg_namelen = to.length();
    }
    message.msg_iov = part;
    message.msg_iovlen = 1;
    if !control.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(control);
    }
    message
}

/// `sendmmsg(2)` of the same buffer twice; how many were sent.
///
/// # Errors
/// As the system call.
pub fn send_many(fd: BorrowedFd<'_>, bytes: &[u8], to: Option<&Address>) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let message = header(&mut part, to, &mut []);
    let mut messages = [libc::mmsghdr { msg_hdr: message, msg_len: 0 }; 2];
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: two headers, and what they point to lives until the call returns.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), 2, flags) };
    checked(sent).map(|count| usize::try_from(count).unwrap_or(0))
}

/// Passes a descriptor over a Unix socket, with one byte.
///
/// # Errors
/// As `sendmsg(2)`.
pub fn send_descriptor(over: BorrowedFd<'_>, passed: BorrowedFd<'_>) -> io::Result<()> {
    let bytes = passed.as_raw_fd().to_ne_bytes().to_vec();
    let piece = Ancillary { level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, bytes };
    send_message(over, b"d", 0, None, &[piece]).map(drop)
}

/// Takes a descriptor that was passed over a Unix socket.
///
/// # Errors
/// As `recvmsg(2)`, and when the message held none.
pub fn receive_descriptor(over: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0_u8; 1];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0_u64; 4];
    let mut message = header(&mut part, None, &mut control);
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: everything the header points to lives until the call returns.
    counted(unsafe { libc::recvmsg(over.as_raw_fd(), &raw mut message, flags) })?;
    // SAFETY: the kernel filled in the header that points to `control`.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if first.is_null() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no descriptor was passed"));
    }
    // SAFETY: the only piece asked for is one descriptor.
    let fd = unsafe { ptr::read_unaligned(libc::CMSG_DATA(first).cast::<RawFd>()) };
    // SAFETY: the kernel just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
