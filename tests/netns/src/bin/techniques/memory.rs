//! Memory that is shared with the kernel.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;
use std::sync::atomic::AtomicU32;

/// A mapping; it ends when this is dropped.
pub(crate) struct Shared {
    start: *mut u8,
    length: usize,
}

impl Shared {
    /// Maps so many bytes of a descriptor from `offset` on.
    pub(crate) fn map(fd: BorrowedFd<'_>, length: usize, offset: i64) -> io::Result<Self> {
        Self::mapped(fd.as_raw_fd(), libc::MAP_SHARED | libc::MAP_POPULATE, length, offset)
    }

    /// So many bytes of its own.
    pub(crate) fn own(length: usize) -> io::Result<Self> {
        Self::mapped(-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, length, 0)
    }

    fn mapped(fd: i32, flags: i32, length: usize, offset: i64) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the place.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.start.addr() as u64
    }

    /// The word at an offset; the first one where that lies outside.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        let inside = offset.is_multiple_of(4) && offset + 4 <= self.length;
        let offset = if inside { offset } else { 0 };
        // SAFETY: inside of the mapping, aligned, and both sides treat it as atomic.
        unsafe { AtomicU32::from_ptr(self.start.add(offset).cast()) }
    }

    /// Writes bytes at an offset, as many as fit.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let count = bytes.len().min(self.length.saturating_sub(offset));
        // SAFETY: inside of the mapping; the kernel reads it only when it is told so afterwards.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), count) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: what was mapped, once.
        let _ended = unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
