//! Says why a run could not be started, where, and what to do.

use std::{io, path::PathBuf};

/// Why `exec` could not start or hold a run. All of them end with exit code 125.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Without root the run's namespaces are a user namespace's, and that cannot be had as it must be.
    #[error("without root `exec` makes a user namespace, and that failed: {why}")]
    UserNamespace {
        /// The step, what the system said, and what to do.
        why: String,
    },
    /// The process has more than one thread.
    #[error("a run must be started before any thread is")]
    Threads,
    /// A standard stream is of a kind that would carry a way out.
    #[error(
        "{stream} is {kind}, which is not passed to a governed command: redirect it to a file, a pipe or /dev/null"
    )]
    Stream {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// What it is.
        kind: &'static str,
    },
    /// A descriptor named by `--share-fd` cannot be shared.
    #[error("--share-fd {number}: {why}")]
    Share {
        /// The number.
        number: i32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A port that was to be shared cannot be.
    #[error("{flag} {port}: {why}")]
    Port {
        /// `--reach-port` or `--publish-port`.
        flag: &'static str,
        /// The port.
        port: u16,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A socket named by `--share-socket` cannot be shared.
    #[error("--share-socket {}: {why}", path.display())]
    ShareSocket {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No cgroup v2 mount where a folder can be made.
    #[error(
        "no cgroup v2 folder can be made for the run ({why}): mount cgroup2 writable, for example \
             `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    Cgroup {
        /// What was found.
        why: String,
    },
    /// The state folder is not safe to use.
    #[error("state folder {path}: {why}")]
    State {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The gate refused the run or could not be reached.
    #[error("the gate did not take the run: {0}")]
    Gate(Box<dyn std::error::Error + Send + Sync>),
    /// The gate ended during the run; the command was ended with it.
    #[error("the gate ended, so the command was ended with it: nothing may go on ungoverned")]
    GateGone,
    /// A step outside of the namespaces failed.
    #[error("{step}: {source}")]
    Setup {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A step inside of the namespaces failed.
    #[error("inside: {0}")]
    Inside(String),
    /// The first process inside ended without a word.
    #[error(
        "the first process inside the run ended unexpectedly (was it killed for lack of memory?)"
    )]
    InitGone,
}

impl LaunchError {
    pub(crate) fn setup(step: &'static str, source: io::Error) -> Self {
        Self::Setup { step, source }
    }
}
