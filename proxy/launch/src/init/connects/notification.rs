//! Receives and answers the calls that a seccomp filter holds back.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
};

/// Wakes the other side on this processor: it runs next, and this thread waits (kernel 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// The supervisor's end of a filter.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

/// A `connect` that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    id: u64,
    /// The calling thread, as this process numbers it.
    pub(super) thread: i32,
    /// The descriptor, in the caller's table.
    pub(super) socket: i32,
    /// Where the address lies in the caller's memory.
    pub(super) address: u64,
    /// How long it is said to be.
    pub(super) length: i32,
}

impl Listener {
    pub(super) fn new(listener: OwnedFd) -> Self {
        // An older kernel is a little slower.
        // SAFETY: the flag is passed by value.
        unsafe {
            libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP);
        }
        Self(listener)
    }

    /// Waits for a call; nothing where its caller was killed meanwhile.
    ///
    /// # Errors
    /// When no process is left under the filter.
    pub(super) fn next(&self) -> io::Result<Option<Call>> {
        // SAFETY: all zeroes are a value of this structure, and the kernel wants them.
        let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is valid for the call, and of the size that is part of the request's number.
        let received = unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification)
        };
        if received == -1 {
            let error = io::Error::last_os_error();
            return if self.is_over()? { Err(error) } else { Ok(None) };
        }
        let [socket, address, length, ..] = notification.data.args;
        // The kernel takes an `int` of each and ignores the rest of the register.
        Ok(Some(Call {
            id: notification.id,
            thread: low(notification.pid.into()),
            socket: low(socket),
            address,
            length: low(length),
        }))
    }

    fn is_over(&self) -> io::Result<bool> {
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, Some(&now)))?;
        let [listener] = &ready;
        Ok(listener.revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
    }

    /// Whether the caller still waits: then what was read of it until now was read of it, and not of a process that
    /// has its number since.
    pub(super) fn is_waiting(&self, call: &Call) -> bool {
        // SAFETY: the number is valid for the call.
        unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const call.id)
                == 0
        }
    }

    /// What the call returns to its caller. It is never let through (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`): the
    /// kernel would read an address that the caller can have changed.
    pub(super) fn answer(&self, call: &Call, answer: Result<(), Errno>) -> io::Result<()> {
        let error = answer.err().map_or(0, |errno| -errno.raw_os_error());
        let answer = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags: 0 };
        // SAFETY: the structure is valid for the call.
        let sent = unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer)
        };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The low half of a register, as the kernel reads an `int` from it.
fn low(register: u64) -> i32 {
    let [a, b, c, d, ..] = register.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}
