//! Carries the few words that front and init exchange: a tag, two numbers, a text, at most one descriptor.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::fds;

/// Longer texts are cut.
const TEXT_LIMIT: usize = 1024;

/// What front tells init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Start the command; whether it may read the terminal.
    Start { foreground: bool },
    /// Pass a signal on; to all of the command's group if the terminal sent it.
    Signal { number: i32, group: bool },
    /// Let a stopped command go on.
    Continue { foreground: bool },
}

/// What init tells front.
#[derive(Debug)]
pub(crate) enum News {
    /// Everything is set up; with the master of the pseudo terminal if there is one.
    Ready(Option<OwnedFd>),
    /// A step failed, named with its cause.
    Failed(String),
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command ended with this code.
    Exited(i32),
    /// The command was killed by this signal.
    Killed(i32),
    /// The command could not be executed, with this error number.
    NotExecuted(i32),
}

impl Order {
    pub(crate) fn send(self, to: BorrowedFd<'_>) -> io::Result<()> {
        let (tag, number, flag) = match self {
            Self::Start { foreground } => (b's', 0, foreground),
            Self::Signal { number, group } => (b'k', number, group),
            Self::Continue { foreground } => (b'c', 0, foreground),
        };
        let [a, b, c, d] = number.to_le_bytes();
        fds::send(to, &[tag, a, b, c, d, u8::from(flag)], &[])
    }

    /// Nothing: front has ended.
    pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut buffer = [0; 6];
        let (received, _) = fds::recv(from, &mut buffer)?;
        if received == 0 {
            return Ok(None);
        }
        let [tag, a, b, c, d, flag] = buffer;
        let number = i32::from_le_bytes([a, b, c, d]);
        let flag = flag != 0;
        match tag {
            b's' => Ok(Some(Self::Start { foreground: flag })),
            b'k' => Ok(Some(Self::Signal { number, group: flag })),
            b'c' => Ok(Some(Self::Continue { foreground: flag })),
            _ => Err(unknown()),
        }
    }
}

impl News {
    pub(crate) fn send(&self, to: BorrowedFd<'_>) -> io::Result<()> {
        let (tag, number, text, fd) = match self {
            Self::Ready(fd) => (b'r', 0, "", fd.as_ref()),
            Self::Failed(text) => (b'f', 0, text.as_str(), None),
            Self::Stopped(signal) => (b't', *signal, "", None),
            Self::Exited(code) => (b'e', *code, "", None),
            Self::Killed(signal) => (b'k', *signal, "", None),
            Self::NotExecuted(errno) => (b'n', *errno, "", None),
        };
        let mut payload = vec![tag];
        payload.extend(number.to_le_bytes());
        payload.extend(text.bytes().take(TEXT_LIMIT));
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        fds::send(to, &payload, &fds)
    }

    /// Nothing: init has ended.
    pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut buffer = [0; 5 + TEXT_LIMIT];
        let (received, mut fds) = fds::recv(from, &mut buffer)?;
        if received == 0 {
            return Ok(None);
        }
        let [tag, a, b, c, d, text @ ..] = &buffer;
        let number = i32::from_le_bytes([*a, *b, *c, *d]);
        Ok(Some(match tag {
            b'r' => Self::Ready(fds.pop()),
            b'f' => {
                let text = text.get(..received.saturating_sub(5)).unwrap_or_default();
                Self::Failed(String::from_utf8_lossy(text).into_owned())
            }
            b't' => Self::Stopped(number),
            b'e' => Self::Exited(number),
            b'k' => Self::Killed(number),
            b'n' => Self::NotExecuted(number),
            _ => return Err(unknown()),
        }))
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unknown message")
}
