//! Stays with a run: relays its terminal, sockets, signals and stops, until everything inside has ended.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal, kill, raise},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{FileType, Mode, OFlags},
    process::{WaitId, WaitIdOptions},
};

use super::{
    pump::{End, Pump},
    spawn::Started,
    terminal::Terminal,
};
use crate::{
    error::LaunchError,
    message::{News, Order},
    run::Ended,
    streams::Stream,
    sys,
};

/// Passed on, or meant for the terminal.
const HEARD: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// The signals front hears; they are blocked while this lives.
#[derive(Debug)]
pub(super) struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    pub(super) fn block() -> Result<Self, LaunchError> {
        let failed =
            |error: nix::errno::Errno| LaunchError::setup("blocking signals", error.into());
        let set: SigSet = HEARD.iter().copied().collect();
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(failed)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(failed)?;
        Ok(Self { fd, before })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Setting a mask that was read before does not fail.
        sys::tolerate(self.before.thread_set_mask());
    }
}

/// Something that can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Told,
    Signalled,
    GateGone,
    Died,
    Pump(usize),
}

struct Relay<'a> {
    process: Option<OwnedFd>,
    control: Option<OwnedFd>,
    pipes: [Option<OwnedFd>; 3],
    streams: [Stream; 3],
    signals: &'a Signals,
    gate_alive: Option<OwnedFd>,
    terminal: Option<Terminal>,
    /// The command may have the keyboard; otherwise it is asked for by a SIGTTIN or SIGTTOU first.
    interactive: bool,
    pumps: Vec<Pump>,
    running: bool,
    outcome: Option<Result<Ended, LaunchError>>,
}

/// Returns when everything inside is dead and all it wrote has been passed on.
pub(super) fn until_the_end(
    started: Started,
    streams: [Stream; 3],
    signals: &Signals,
    gate_alive: Option<OwnedFd>,
) -> Result<Ended, LaunchError> {
    let Started { process, control, pipes } = started;
    let mut relay = Relay {
        process: Some(process),
        control: Some(control),
        pipes,
        streams,
        signals,
        gate_alive,
        terminal: None,
        interactive: false,
        pumps: Vec::new(),
        running: false,
        outcome: None,
    };
    while !relay.is_over() {
        for event in
            relay.wait().map_err(|error| LaunchError::setup("waiting for the command", error))?
        {
            relay.take(event).map_err(|error| LaunchError::setup("relaying", error))?;
        }
        relay.pumps.retain(|pump| !pump.is_done());
    }
    relay.outcome.take().unwrap_or(Err(LaunchError::InitGone))
}

impl Relay<'_> {
    fn is_over(&self) -> bool {
        self.process.is_none()
            && self.control.is_none()
            && !self.pumps.iter().any(|pump| pump.outward)
    }

    fn wait<'s>(&'s self) -> io::Result<Vec<Event>> {
        let mut polled = Vec::new();
        let mut events = Vec::new();
        let mut on = |fd: Option<BorrowedFd<'s>>, flags, event| {
            if let Some(fd) = fd {
                polled.push(PollFd::from_borrowed_fd(fd, flags));
                events.push(event);
            }
        };
        on(self.control.as_ref().map(AsFd::as_fd), PollFlags::IN, Event::Told);
        on(self.running.then(|| self.signals.fd.as_fd()), PollFlags::IN, Event::Signalled);
        on(self.gate_alive.as_ref().map(AsFd::as_fd), PollFlags::IN, Event::GateGone);
        on(self.process.as_ref().map(AsFd::as_fd), PollFlags::IN, Event::Died);
        for (number, pump) in self.pumps.iter().enumerate() {
            if let Some((fd, flags)) = pump.waits_for() {
                on(Some(fd), flags, Event::Pump(number));
            }
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        Ok(events
            .into_iter()
            .zip(&polled)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(event, _)| event)
            .collect())
    }

    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Told => match self
                .control
                .as_ref()
                .map(|control| News::receive(control.as_fd()))
                .transpose()
            {
                Ok(Some(Some(news))) => self.hear(news)?,
                Ok(Some(None) | None) => self.control = None,
                // Init ended before it read an order. Said once; what it told before that comes after it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error),
            },
            Event::Signalled => {
                while let Some(signal) = self.signals.fd.read_signal()? {
                    self.pass_on(i32::try_from(signal.ssi_signo).unwrap_or(0), signal.ssi_code);
                }
            }
            Event::GateGone => {
                self.gate_alive = None;
                self.outcome = Some(Err(LaunchError::GateGone));
                if let Some(process) = &self.process {
                    // One that is dead already is what is wanted.
                    sys::tolerate(rustix::process::pidfd_send_signal(
                        process,
                        rustix::process::Signal::KILL,
                    ));
                }
            }
            Event::Died => {
                if let Some(process) = self.process.take() {
                    rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)?;
                }
                self.pumps.retain(|pump| pump.outward);
            }
            Event::Pump(number) => {
                if let Some(pump) = self.pumps.get_mut(number) {
                    pump.step();
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Ready(master) => self.begin(master)?,
            News::Failed(text) => self.settle(Err(LaunchError::Inside(text))),
            News::Exited(code) => self.settle(Ok(Ended::Exited(code))),
            News::Killed(signal) => self.settle(Ok(Ended::Killed(signal))),
            News::NotExecuted(libc::ENOENT) => self.settle(Ok(Ended::NotFound)),
            News::NotExecuted(number) => self.settle(Ok(Ended::NotExecutable(number))),
            News::Stopped(signal) => self.stopped(signal)?,
        }
        Ok(())
    }

    /// The first word counts: a gate that ended is the reason for what follows.
    fn settle(&mut self, outcome: Result<Ended, LaunchError>) {
        self.outcome.get_or_insert(outcome);
    }

    /// Everything is set up inside: connect what is relayed, let go of what is not ours, start the command.
    fn begin(&mut self, master: Option<OwnedFd>) -> io::Result<()> {
        for (number, pipe) in (0..).zip(std::mem::take(&mut self.pipes)) {
            if let Some(pipe) = pipe {
                let socket = End::Socket(rustix::io::fcntl_dupfd_cloexec(sys::borrow(number)?, 3)?);
                rustix::io::ioctl_fionbio(&pipe, true)?;
                let pipe = End::Own(pipe);
                let (from, to) = if number == 0 { (socket, pipe) } else { (pipe, socket) };
                self.pumps.push(Pump::new(from, to, number != 0));
            }
        }
        if let Some(master) = master {
            let terminal = Terminal::take(self.streams, master)?;
            let mut keys =
                Pump::new(End::Own(terminal.tty()?), End::Own(terminal.master()?), false);
            keys.keyboard = true;
            self.pumps.push(keys);
            self.pumps.push(Pump::new(
                End::Own(terminal.master()?),
                End::Own(terminal.tty()?),
                true,
            ));
            self.terminal = Some(terminal);
            self.interactive = !is_piped(self.streams)?;
        }
        self.let_go()?;
        self.running = true;
        let foreground = self.attune();
        self.order(Order::Start { foreground });
        Ok(())
    }

    /// Standard input and output are the command's from here on. A terminal stays: it is the job's.
    fn let_go(&self) -> io::Result<()> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        for (number, stream) in (0..2).zip(self.streams) {
            if stream != Stream::Terminal {
                sys::put_at(null.as_fd(), number)?;
            }
        }
        Ok(())
    }

    /// Makes the terminal fit: raw and read if the command may have it and this job does. True if so.
    fn attune(&mut self) -> bool {
        let Some(terminal) = &mut self.terminal else { return false };
        let has_it = self.interactive && terminal.is_ours();
        if has_it && !terminal.is_raw() {
            terminal.save_again();
            terminal.make_raw();
        }
        terminal.copy_size();
        for pump in self.pumps.iter_mut().filter(|pump| pump.keyboard) {
            pump.paused = !has_it;
        }
        has_it
    }

    /// The command has been stopped: so is this job, unless it only asks for the keyboard and may have it.
    fn stopped(&mut self, signal: i32) -> io::Result<()> {
        let asks = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        if let Some(terminal) = &mut self.terminal {
            if asks && terminal.is_ours() && !terminal.is_raw() {
                self.interactive = true;
                let foreground = self.attune();
                self.order(Order::Continue { foreground });
                return Ok(());
            }
            terminal.restore();
        }
        self.show_the_rest();
        stop_this_job(signal)?;
        let foreground = self.attune();
        self.order(Order::Continue { foreground });
        Ok(())
    }

    /// What the command wrote before it was stopped is seen before its job is: it may be why it asks for the keyboard.
    fn show_the_rest(&mut self) {
        /// Enough for what a terminal holds; others inside may go on writing.
        const MOST: usize = 16;
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        for pump in self.pumps.iter_mut().filter(|pump| pump.outward) {
            for _ in 0..MOST {
                let Some((fd, flags)) = pump.waits_for() else { break };
                let mut ready = [PollFd::from_borrowed_fd(fd, flags)];
                if !rustix::event::poll(&mut ready, Some(&now)).is_ok_and(|ready| ready > 0) {
                    break;
                }
                pump.step();
            }
        }
    }

    fn pass_on(&mut self, number: i32, code: i32) {
        /// The terminal's driver sent it, to all of the job (siginfo.h, `SI_KERNEL`).
        const BY_KERNEL: i32 = 0x80;
        match number {
            libc::SIGWINCH => {
                if let Some(terminal) = &self.terminal {
                    terminal.copy_size();
                }
            }
            libc::SIGCONT => {
                let foreground = self.attune();
                self.order(Order::Continue { foreground });
            }
            _ => self.order(Order::Signal {
                number,
                group: code == BY_KERNEL || number == libc::SIGTSTP,
            }),
        }
    }

    /// An init that cannot hear has ended, which is seen next.
    fn order(&self, order: Order) {
        if let Some(control) = &self.control {
            sys::tolerate(order.send(control.as_fd()));
        }
    }
}

/// The output goes on to another program, which may want the keyboard itself (`… | less`).
fn is_piped([_, output, _]: [Stream; 3]) -> io::Result<bool> {
    match output {
        Stream::Terminal => Ok(false),
        Stream::Relayed => Ok(true),
        Stream::Passed => {
            let mode = rustix::fs::fstat(sys::borrow(1)?)?.st_mode;
            Ok(FileType::from_raw_mode(mode) == FileType::Fifo)
        }
    }
}

/// Stops as the command did, and returns when continued. The whole job stops where a terminal would have stopped it.
fn stop_this_job(signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    if signal == Signal::SIGSTOP {
        return Ok(raise(signal)?);
    }
    kill(nix::unistd::Pid::from_raw(0), signal)?;
    // It takes effect the moment it is not blocked any more.
    let one: SigSet = [signal].into_iter().collect();
    let before = one.thread_swap_mask(SigmaskHow::SIG_UNBLOCK)?;
    Ok(before.thread_set_mask()?)
}
