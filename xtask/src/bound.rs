//! Work that does not end within its time is ended, with all the processes it started.

use std::fs;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::shell::say;

#[cfg(test)]
mod tests;

/// How long processes have to end by themselves, and then how long this one has to notice that they did.
const GRACE: Duration = Duration::from_secs(5);

/// Does `work`, and where it takes longer than `limit` ends every process that came of it, so that it fails; `late` says
/// what to do then.
pub(crate) fn within<T>(
    limit: Duration,
    late: &str,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (working, ended) = channel::<()>();
    let done = thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let over = || ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if !over() {
                return false;
            }
            say(format_args!("xtask: {late}"));
            let ours = descendants(std::process::id());
            signal(&ours, Signal::SIGTERM);
            if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                signal(&ours, Signal::SIGKILL);
                signal(&descendants(std::process::id()), Signal::SIGKILL);
                if ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                    say(format_args!("xtask: it did not end with its processes"));
                    std::process::exit(1);
                }
            }
            true
        });
        let done = work();
        drop(working);
        (done, watch.join())
    });
    match done {
        (done, Ok(false)) => done,
        (Err(error), _) => Err(error).context(late.to_owned()),
        (Ok(_), _) => Err(anyhow::anyhow!("{late}")),
    }
}

/// A process: its number, and the moment of its start, by which it is told from a later one of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    started: u64,
}

impl Process {
    /// What the kernel says of one now.
    fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold blanks and brackets.
        let (_, after) = stat.rsplit_once(") ")?;
        let mut fields = after.split(' ');
        let parent = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { pid, parent, started })
    }
}

/// All that came of a process, those that came last first.
fn descendants(of: u32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<Process> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::find)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![of.cast_signed()];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        parents.extend(children.clone().map(|process| process.pid));
        found.extend(children);
    }
    found.reverse();
    found
}

fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        let is_it = Process::find(process.pid).is_some_and(|now| now.started == process.started);
        if is_it && let Err(error) = kill(Pid::from_raw(process.pid), signal) {
            say(format_args!("xtask: process {} was not ended: {error}", process.pid));
        }
    }
}
