//! Processes as the runtime would start them in a container of the pod: cgroup, network, user, capabilities, mounts.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::attempt::{Attempt, Report};
use crate::sys;

/// The capabilities that runc leaves a container by default (moby `oci/caps/defaults.go`, containerd's the same).
const DEFAULT_CAPABILITIES: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
/// Where a process finds the socket over which it is passed descriptors.
pub const CHANNEL: i32 = 3;
const PATIENCE: i32 = 10_000;

/// Who a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// This user, without capabilities, and nothing it executes gains any.
    Plain(u32),
    /// Root with the capabilities of a container's default.
    ContainerRoot,
    /// Root with all that this process has: for controls that need what a container never has.
    Mighty,
}

/// Where a process is started.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// Its cgroup.
    pub cgroup: &'a Path,
    /// Its network.
    pub network: &'a OwnedFd,
    /// Folders that it must not see, which a container would not have.
    pub hidden: &'a [PathBuf],
    /// Who it is.
    pub user: User,
}

impl Place<'_> {
    /// Has a program be started there, with this descriptor as its third.
    fn furnish(&self, command: &mut Command, third: OwnedFd) -> Result<()> {
        let procs = OpenOptions::new().write(true).open(self.cgroup.join("cgroup.procs"))?;
        let network = self.network.try_clone()?;
        let (user, hidden) = (self.user, self.hidden.to_vec());
        let enter = move || settle(&procs, &network, &third, user, &hidden);
        // SAFETY: between fork and execution only system calls are made, and small strings.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }

    /// Starts a program there, its standard input and output in the caller's hands.
    ///
    /// # Errors
    /// When it cannot be started there.
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Result<Started> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.start_command(command)
    }

    /// The same with what else the command says.
    ///
    /// # Errors
    /// When it cannot be started there.
    pub fn start_command(&self, command: Command) -> Result<Started> {
        let (ours, theirs) = sys::pair()?;
        self.begin(command, theirs, ours)
    }

    /// Starts a program there that inherits this socket in the place of its channel.
    ///
    /// # Errors
    /// When it cannot be started there.
    pub fn start_with(&self, program: &Path, socket: OwnedFd) -> Result<Started> {
        let (nobodys, _end) = sys::pair()?;
        self.begin(Command::new(program), socket, nobodys)
    }

    fn begin(&self, mut command: Command, third: OwnedFd, channel: OwnedFd) -> Result<Started> {
        self.furnish(&mut command, third)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| not_started(&command))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        Ok(Started { child, input: Some(input), output: BufReader::new(output), channel })
    }

    /// Runs a program there to its end.
    ///
    /// # Errors
    /// When it cannot be started there.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program);
        let (_ours, theirs) = sys::pair()?;
        self.furnish(command.args(arguments).stdin(Stdio::null()), theirs)?;
        command.output().with_context(|| not_started(&command))
    }
}

fn not_started(command: &Command) -> String {
    let program = command.get_program().display();
    format!("cannot start {program}: build it with cargo build --bins")
}

/// What happens to the new process before it executes its program.
fn settle(
    procs: &File,
    network: &OwnedFd,
    channel: &OwnedFd,
    user: User,
    hidden: &[PathBuf],
) -> std::io::Result<()> {
    (&*procs).write_all(b"0")?;
    sys::enter(network.as_fd())?;
    sys::share_nothing()?;
    for folder in hidden {
        let folder = folder.to_str().unwrap_or_default();
        sys::mount("none", folder, "tmpfs", libc::MS_RDONLY)?;
    }
    sys::duplicate(channel.as_fd(), CHANNEL)?;
    match user {
        User::Mighty => Ok(()),
        User::ContainerRoot => sys::bound_capabilities(&DEFAULT_CAPABILITIES),
        User::Plain(uid) => {
            sys::bound_capabilities(&[])?;
            sys::no_new_privileges()?;
            sys::become_user(uid, uid)
        }
    }
}

/// A process and the ways to talk to it. It ends when this is dropped.
#[derive(Debug)]
pub struct Started {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    channel: OwnedFd,
}

impl Started {
    /// Its number outside.
    #[must_use]
    pub fn process(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(-1)
    }

    /// The socket over which it is passed descriptors.
    #[must_use]
    pub fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    /// Moves it to another cgroup.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn move_to(&self, cgroup: &Path) -> Result<()> {
        let procs = cgroup.join("cgroup.procs");
        std::fs::write(&procs, self.process().to_string())
            .with_context(|| format!("cannot write {}", procs.display()))
    }

    /// Writes one line to it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its standard input is closed")?;
        input.write_all(format!("{line}\n").as_bytes())?;
        Ok(input.flush()?)
    }

    /// The next line that it writes within so many milliseconds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn line_within(&mut self, milliseconds: i32) -> Result<Option<String>> {
        if self.output.buffer().is_empty() {
            let output = self.output.get_ref().as_fd();
            if !sys::wait(output, libc::POLLIN, milliseconds)? {
                return Ok(None);
            }
        }
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("process {} ended: {:?}", self.process(), self.child.wait());
        }
        Ok(Some(line))
    }

    /// Has it carry out an attempt.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn carry_out(&mut self, attempt: &Attempt) -> Result<Report> {
        self.tell(&serde_json::to_string(attempt)?)?;
        let line = self.line_within(PATIENCE)?;
        let line = line.with_context(|| format!("no answer to {}", attempt.technique))?;
        serde_json::from_str(&line).with_context(|| format!("not a report: {line}"))
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // One that ends by itself when nobody asks any more takes along what it started.
        self.input = None;
        let pid = self.process();
        if !sys::watch(pid, 500).unwrap_or(false) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
