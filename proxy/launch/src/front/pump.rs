//! Copies one direction of a stream without ever blocking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{RecvFlags, SendFlags},
};

/// Bytes held at most between reading and writing.
const HELD: usize = 16 * 1024;

/// A descriptor, and how to use it without blocking and without changing a description that others share.
#[derive(Debug)]
pub(super) enum End {
    /// Non-blocking, and ours alone.
    Own(OwnedFd),
    /// A socket that others hold too.
    Socket(OwnedFd),
}

/// One direction of a stream.
#[derive(Debug)]
pub(super) struct Pump {
    from: Option<End>,
    to: Option<End>,
    held: Vec<u8>,
    written: usize,
    /// Reads nothing for the time being.
    pub(super) paused: bool,
    /// Reads the user's terminal, which is only done while the command has it.
    pub(super) keyboard: bool,
    /// Carries what the command says; the others are of no use once it has ended.
    pub(super) outward: bool,
}

impl End {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) | Self::Socket(fd) => fd.as_fd(),
        }
    }

    fn read(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Own(fd) => rustix::io::read(fd, into),
            Self::Socket(fd) => {
                rustix::net::recv(fd, into, RecvFlags::DONTWAIT).map(|(read, _)| read)
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Own(fd) => rustix::io::write(fd, bytes),
            Self::Socket(fd) => {
                rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
        }
    }
}

impl Pump {
    pub(super) fn new(from: End, to: End, outward: bool) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            held: Vec::new(),
            written: 0,
            paused: false,
            keyboard: false,
            outward,
        }
    }

    /// Nothing more will come of it.
    pub(super) fn is_done(&self) -> bool {
        self.to.is_none()
    }

    /// What it waits for.
    pub(super) fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if self.written < self.held.len() {
            return self.to.as_ref().map(|to| (to.fd(), PollFlags::OUT));
        }
        let from = self.from.as_ref().filter(|_| !self.paused)?;
        Some((from.fd(), PollFlags::IN))
    }

    /// Reads or writes once. An end that fails closes both: whoever is at the other one learns of it.
    pub(super) fn step(&mut self) {
        let moved = if self.written < self.held.len() { self.drain() } else { self.fill() };
        match moved {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => {
                self.from = None;
                self.to = None;
            }
        }
    }

    fn drain(&mut self) -> Result<usize, Errno> {
        let Some(to) = &self.to else { return Ok(0) };
        let moved = to.write(self.held.get(self.written..).unwrap_or_default())?;
        self.written += moved;
        Ok(moved)
    }

    fn fill(&mut self) -> Result<usize, Errno> {
        let Some(from) = &self.from else { return Ok(0) };
        let mut room = [0; HELD];
        let read = from.read(&mut room)?;
        self.held.clear();
        self.held.extend_from_slice(room.get(..read).unwrap_or_default());
        self.written = 0;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn own_pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
    }

    #[test]
    fn bytes_pass_and_the_end_is_passed_on() {
        let (reader, feed) = own_pipe();
        let (sink, writer) = own_pipe();
        let mut pump = Pump::new(End::Own(reader), End::Own(writer), true);
        rustix::io::write(&feed, b"abc").unwrap();
        drop(feed);
        while !pump.is_done() {
            pump.step();
        }
        let mut read = [0; 8];
        assert_eq!(rustix::io::read(&sink, &mut read), Ok(3));
        assert_eq!(rustix::io::read(&sink, &mut read), Ok(0));
    }

    #[test]
    fn a_reader_that_left_closes_the_other_end() {
        let (reader, feed) = own_pipe();
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut pump = Pump::new(End::Own(reader), End::Socket(ours.into()), true);
        rustix::io::write(&feed, b"abc").unwrap();
        pump.step();
        pump.step();
        assert!(pump.is_done());
        assert_eq!(rustix::io::write(&feed, b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn a_full_reader_loses_nothing() {
        let (reader, feed) = own_pipe();
        let (sink, writer) = own_pipe();
        while rustix::io::write(&writer, &[b'.'; 4096]).is_ok() {}
        let mut pump = Pump::new(End::Own(reader), End::Own(writer), true);
        rustix::io::write(&feed, b"abc").unwrap();
        drop(feed);
        for _ in 0..4 {
            pump.step();
        }
        assert!(!pump.is_done());
        let mut all = Vec::new();
        let mut room = [0; 4096];
        while !pump.is_done() {
            let read = rustix::io::read(&sink, &mut room).unwrap_or(0);
            all.extend_from_slice(&room[..read]);
            pump.step();
        }
        while let Ok(read @ 1..) = rustix::io::read(&sink, &mut room) {
            all.extend_from_slice(&room[..read]);
        }
        assert!(all.ends_with(b".abc"));
    }
}
