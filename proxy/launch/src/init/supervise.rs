//! Watches over the command until it ends: reaps, passes signals on, stops and continues it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags},
    process::{Pid, WaitOptions},
};

use super::{command::Started, told};
use crate::{
    message::{News, Order},
    sys,
};

/// The command, the terminal it has, and who owned that terminal's foreground when it was stopped.
struct Watch<'a> {
    command: Pid,
    terminal: Option<OwnedFd>,
    owner: Pid,
    control: &'a OwnedFd,
}

/// Returns when the command has ended and front has been told, or when front has ended.
pub(super) fn until_the_end(
    started: Started,
    terminal: Option<OwnedFd>,
    control: &OwnedFd,
) -> Result<(), String> {
    let command = match started {
        Started::Running(command) => command,
        Started::NotExecuted(number) => {
            return News::NotExecuted(number).send(control.as_fd()).map_err(told("telling front"));
        }
    };
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(told("watching children"))?;
    let mut watch = Watch { command, terminal, owner: command, control };
    loop {
        // Before the first wait too: a child may have ended before the descriptor was there.
        while children.read_signal().map_err(told("watching children"))?.is_some() {}
        if watch.reap().map_err(told("reaping"))? {
            return Ok(());
        }
        let mut ready =
            [PollFd::new(&children, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut ready, None))
            .map_err(told("waiting"))?;
        let [_, spoken] = &ready;
        if !spoken.revents().is_empty() {
            match Order::receive(control.as_fd()) {
                Ok(Some(order)) => watch.obey(order),
                // Front has ended: so does everything inside.
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("hearing front: {error}")),
            }
        }
    }
}

impl Watch<'_> {
    /// Collects every child that ended or stopped; true when the command has ended.
    fn reap(&mut self) -> io::Result<bool> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        loop {
            let (pid, status) = match rustix::process::wait(options) {
                Ok(Some(child)) => child,
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(false),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if pid != self.command {
                continue;
            }
            let news = if let Some(code) = status.exit_status() {
                News::Exited(code)
            } else if let Some(signal) = status.terminating_signal() {
                News::Killed(signal)
            } else if let Some(signal) = status.stopping_signal() {
                self.note_owner();
                News::Stopped(signal).send(self.control.as_fd())?;
                continue;
            } else {
                continue;
            };
            news.send(self.control.as_fd())?;
            return Ok(true);
        }
    }

    /// A shell may have given the foreground to a job of its own.
    fn note_owner(&mut self) {
        let Some(terminal) = &self.terminal else { return };
        if let Ok(owner) = rustix::termios::tcgetpgrp(terminal)
            && owner != rustix::process::getpid()
        {
            self.owner = owner;
        }
    }

    /// What cannot be delivered concerns a process that has just ended, which is reaped next.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Start { .. } => {}
            Order::Signal { number, group } => sys::tolerate(self.signal(number, group)),
            Order::Continue { foreground } => {
                if let Some(terminal) = &self.terminal {
                    let owner = if foreground { self.owner } else { rustix::process::getpid() };
                    sys::tolerate(rustix::termios::tcsetpgrp(terminal, owner));
                }
                sys::tolerate(self.signal(libc::SIGCONT, true));
            }
        }
    }

    fn signal(&self, number: i32, group: bool) -> Result<(), nix::errno::Errno> {
        let signal = Signal::try_from(number)?;
        let pid = nix::unistd::Pid::from_raw(self.command.as_raw_nonzero().get());
        if group && nix::sys::signal::killpg(pid, signal).is_ok() {
            return Ok(());
        }
        nix::sys::signal::kill(pid, signal)
    }
}
