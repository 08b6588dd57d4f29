//! Holds the user's terminal: raw while the command has the foreground, as it was at every other moment.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    termios::{InputModes, LocalModes, OptionalActions, OutputModes, Termios},
};

use crate::{streams::Stream, sys};

/// The user's terminal and the master of the command's.
#[derive(Debug)]
pub(super) struct Terminal {
    tty: OwnedFd,
    master: OwnedFd,
    saved: Termios,
    /// What the command's terminal was given last.
    given: Termios,
    raw: bool,
}

impl Terminal {
    /// From the streams that are terminals; the command's terminal gets the settings and the size of the user's.
    pub(super) fn take(streams: [Stream; 3], master: OwnedFd) -> io::Result<Self> {
        let number = (0..).zip(streams).find(|(_, stream)| *stream == Stream::Terminal);
        let (number, _) =
            number.ok_or_else(|| io::Error::other("a terminal came without being asked for"))?;
        let tty = open_again(sys::borrow(number)?)?;
        let saved = rustix::termios::tcgetattr(&tty)?;
        rustix::termios::tcsetattr(&master, OptionalActions::Now, &saved)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let given = saved.clone();
        let terminal = Self { tty, master, saved, given, raw: false };
        terminal.copy_size();
        Ok(terminal)
    }

    pub(super) fn tty(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&self.tty, 3)?)
    }

    pub(super) fn master(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&self.master, 3)?)
    }

    /// This job may read the terminal. One that is not the session's own has no foreground to lose.
    pub(super) fn is_ours(&self) -> bool {
        rustix::termios::tcgetpgrp(&self.tty)
            .map_or(true, |owner| owner == rustix::process::getpgrp())
    }

    pub(super) fn is_raw(&self) -> bool {
        self.raw
    }

    /// Every key goes to the command's terminal as it is.
    pub(super) fn make_raw(&mut self) {
        let mut raw = self.saved.clone();
        raw.make_raw();
        self.raw = rustix::termios::tcsetattr(&self.tty, OptionalActions::Now, &raw).is_ok();
    }

    /// As the user had it. Only by the job that has the foreground: another would be stopped for trying.
    pub(super) fn restore(&mut self) {
        if self.raw && self.is_ours() {
            // A terminal that has gone needs no settings.
            sys::tolerate(rustix::termios::tcsetattr(&self.tty, OptionalActions::Now, &self.saved));
        }
        self.raw = false;
    }

    /// The user may have changed the settings while the command was stopped; and a run that began in the background
    /// was given what the shell edits its lines with. They are the command's too, unless it has set its own.
    pub(super) fn save_again(&mut self) {
        let Ok(now) = rustix::termios::tcgetattr(&self.tty) else { return };
        let untouched = rustix::termios::tcgetattr(&self.master)
            .is_ok_and(|inside| modes(&inside) == modes(&self.given));
        if untouched {
            // Fails only when the command's terminal has gone.
            sys::tolerate(rustix::termios::tcsetattr(&self.master, OptionalActions::Now, &now));
            self.given = now.clone();
        }
        self.saved = now;
    }

    /// The command's terminal gets the size of the user's, and the command a SIGWINCH if it changed.
    pub(super) fn copy_size(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(&self.tty) {
            // Fails only when the command's terminal has gone.
            sys::tolerate(rustix::termios::tcsetwinsize(&self.master, size));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// What programs set on a terminal.
fn modes(of: &Termios) -> (InputModes, OutputModes, LocalModes) {
    (of.input_modes, of.output_modes, of.local_modes)
}

/// The same terminal as a description of our own, so that not blocking is not forced on those who share it.
fn open_again(tty: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", tty.as_raw_fd());
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(own) => Ok(own),
        // It belongs to another user (after su): copying then waits while the terminal does.
        Err(_) => Ok(rustix::io::fcntl_dupfd_cloexec(tty.as_fd(), 3)?),
    }
}
