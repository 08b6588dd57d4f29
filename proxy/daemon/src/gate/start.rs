//! How a gate's process begins: it takes over what it was started with, leaves the session of
//! whoever started it, and says one line when it is ready or why it is not.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Resource, getrlimit, setrlimit};

use crate::folder::StateFolder;

/// The gate's log, in the state folder.
pub const LOG: &str = "gate.log";
/// The log before, kept once.
const OLD_LOG: &str = "gate.log.1";
/// A log that has grown to this many bytes is put aside when a gate starts.
const LOG_LIMIT: i64 = 16 << 20;

/// The one line of a gate that is ready.
pub(crate) const READY: &str = "ready";
/// The one line of a gate whose ledger another one holds.
pub(crate) const BUSY: &str = "busy";
/// The most bytes that one gate writes to its log: what agents do is logged too, and must not fill
/// the disk that the ledger needs.
const LOG_OF_ONE_GATE: u64 = 64 << 20;

/// What begins the one line of a gate that could not start.
pub(crate) const FAILED: &str = "failed";

/// What a gate begins with.
#[derive(Debug)]
pub struct Start {
    /// The state folder.
    pub state: StateFolder,
    /// Where it says how its start went.
    pub readiness: Readiness,
}

/// Where a gate says, once, how its start went. Dropped without a word, the client names the log.
#[derive(Debug)]
pub struct Readiness(File);

impl Readiness {
    /// The gate listens.
    pub fn ready(self) {
        self.say(READY);
    }

    /// Another gate holds the ledger: this one ends, and the client speaks to that one.
    pub fn busy(self) {
        self.say(BUSY);
    }

    /// The gate cannot start: what, why, and what to do.
    pub fn failed(self, what: &str) {
        let line = what.replace('\n', " ");
        self.say(&format!("{FAILED} {line}"));
    }

    /// A client that is gone by now has no use for it.
    fn say(mut self, line: &str) {
        drop(self.0.write_all(line.as_bytes()));
    }
}

impl Start {
    /// Takes over what [`super::client`] started this process with. Call it before anything else
    /// in the process, and before any thread.
    ///
    /// # Errors
    ///
    /// The process was not started as a gate, or the log cannot be written.
    pub fn take(state_fd: i32) -> io::Result<Self> {
        close_to_others()?;
        match rustix::process::setsid() {
            // It leads a group already: it was started by hand, from a shell.
            Ok(_) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let state = StateFolder::from_number(state_fd)?;
        let said = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(log(&state)?)?;
        rustix::process::chdir("/")?;
        Ok(Self { state, readiness: Readiness(said.into()) })
    }
}

/// Keeps the process's memory and its files from every other user, and lets it open what it may.
///
/// # Errors
///
/// The system refuses it.
pub(crate) fn close_to_others() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    take_all_descriptors()
}

/// Raises the soft limit of descriptors to the hard one: one run's connections must not use up those
/// that the next run and the command line need.
fn take_all_descriptors() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Opens the log for appending; also what a panic says goes there.
fn log(state: &StateFolder) -> io::Result<File> {
    let grown = rustix::fs::statat(state.fd(), LOG, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    if grown.is_ok_and(|stat| stat.st_size >= LOG_LIMIT) {
        rustix::fs::renameat(state.fd(), LOG, state.fd(), OLD_LOG)?;
    }
    let flags =
        OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(state.fd(), LOG, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Bytes that this process has logged.
static LOGGED: AtomicU64 = AtomicU64::new(0);

/// The log, up to its limit.
struct Capped(&'static AtomicU64);

impl Write for Capped {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let before = self.0.fetch_add(line.len() as u64, Ordering::Relaxed);
        let after = before.saturating_add(line.len() as u64);
        if after <= LOG_OF_ONE_GATE {
            return io::stderr().write(line);
        }
        if before <= LOG_OF_ONE_GATE {
            io::stderr().write_all(b"{\"message\":\"the log is full; nothing more is logged until the gate starts again\"}\n")?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Writes JSON lines to the log; `TOLLGATE_LOG` sets what (`debug`, `tollgate::exchange=trace`).
pub fn log_as_json() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TOLLGATE_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    // A log that cannot be written (a full disk) is not complained about on the same descriptor: that
    // complaint would panic, in the middle of a request.
    let set = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(|| Capped(&LOGGED))
        .log_internal_errors(false)
        .try_init();
    // Fails where a subscriber is set already, which then stays.
    drop(set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_full_takes_no_more_and_fails_nobody() {
        static FULL: AtomicU64 = AtomicU64::new(LOG_OF_ONE_GATE + 1);
        assert_eq!(Capped(&FULL).write(b"more").unwrap(), 4);
        assert_eq!(FULL.load(Ordering::Relaxed), LOG_OF_ONE_GATE + 5);
    }

    #[test]
    fn a_gate_may_open_all_that_it_could() {
        take_all_descriptors().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
