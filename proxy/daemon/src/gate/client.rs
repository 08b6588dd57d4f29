//! Finds the gate of a state folder, or starts it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::{Answer, Ask};
use super::socket::{
    Conn, KeyError, Place, ProofError, StateKey, load_master_key, load_or_make_master_key,
};
use super::start::{BUSY, FAILED, READY};
use crate::folder::{FolderError, StateFolder};

/// How long a gate may take to come up, or a gate that is ending to be gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first pause before looking again; each one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(200);
/// What a gate keeps of the environment of whoever starts it: where things lie, its own settings,
/// and the way out of this network. Never the keys that may stand beside them.
const KEPT: [&str; 17] = [
    "PATH",
    "HOME",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "RUST_BACKTRACE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "TOLLGATE_LOG",
];

/// Why a gate was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Something else than this state folder's gate listens on its socket.
    #[error(
        "{socket} is not answered by this state folder's gate: {why}; nothing was sent to it. See who listens \
         (`ss -xlp`), end it, and try again"
    )]
    FalseGate {
        /// The socket.
        socket: String,
        /// What it did.
        why: ProofError,
    },
    /// The gate runs where this process cannot prove itself to it, nor the other way round.
    #[error(
        "the gate on {socket} runs in another container (PID namespace), where neither end can prove itself to the \
         other: run this command in the gate's container (`kubectl exec POD -c tollgate -- tollgate …`, or its \
         `postStart`)"
    )]
    Elsewhere {
        /// The socket.
        socket: String,
    },
    /// A gate listens and does not answer.
    #[error("the gate on {socket} does not answer: {why}; its log is {log}")]
    Silent {
        /// The socket.
        socket: String,
        /// What happened.
        why: ProofError,
        /// The gate's log.
        log: String,
    },
    /// The gate could not start, in its own words.
    #[error("the gate could not start: {0}")]
    NotStarted(String),
    /// The gate ended while it started, without a word.
    #[error("the gate ended while it started; its log is {0}")]
    Ended(String),
    /// Another gate holds the ledger and is not reached on its socket.
    #[error(
        "another gate holds the ledger of {0} and cannot be reached on its socket; it may have been started with \
         another XDG_RUNTIME_DIR, or be hanging: `fuser {0}/ledger/*` names it"
    )]
    Unreachable(String),
    /// It spoke, but not as agreed.
    #[error("the gate ended the connection; its log is {0}")]
    Closed(String),
    /// The state folder or the socket's folder is not safe.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state's key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Connects to the gate of `state`, if one runs.
///
/// # Errors
///
/// What listens there is not this state folder's gate, or does not answer.
pub fn connect(state: &StateFolder) -> Result<Option<Conn>, ClientError> {
    let key = match load_master_key(state) {
        // Every gate has made one, so there is none.
        Err(KeyError::Absent(_)) => return Ok(None),
        key => key?,
    };
    meet(&Place::of(state)?, &key, state)
}

/// Connects to the gate of `state`, started now if none runs.
///
/// Of two that start one at the same time, one gets the ledger; the other's gate ends and both
/// speak to the same.
///
/// # Errors
///
/// As [`connect`], and where the gate does not start.
pub fn connect_or_spawn(state: &StateFolder) -> Result<Conn, ClientError> {
    let place = Place::of(state)?;
    let key = load_or_make_master_key(state)?;
    if state.key().is_some() {
        let none = || {
            let why =
                "none runs, and its key is not in the state folder: tollgate serve --config FILE";
            ClientError::NotStarted(why.to_owned())
        };
        return meet(&place, &key, state)?.ok_or_else(none);
    }
    let (start, mut pause) = (Instant::now(), FIRST);
    loop {
        if let Some(conn) = meet(&place, &key, state)? {
            return Ok(conn);
        }
        match spawn(state)? {
            Start::Ready if start.elapsed() < PATIENCE => {}
            Start::Busy if start.elapsed() < PATIENCE => {
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST);
            }
            Start::Ready | Start::Busy => return Err(ClientError::Unreachable(shown(state))),
            Start::Failed(what) => return Err(ClientError::NotStarted(what)),
            Start::Ended => return Err(ClientError::Ended(log(state))),
        }
    }
}

/// Asks `conn` one thing and waits for its answer.
///
/// # Errors
///
/// The gate ended or broke the connection.
pub fn ask(conn: &mut Conn, state: &StateFolder, ask: &Ask) -> Result<Answer, ClientError> {
    let failed = |source| ClientError::Io { doing: "speak to the gate", source };
    conn.send(ask).map_err(failed)?;
    match conn.receive().map_err(failed)? {
        Some(answer) => Ok(answer),
        None => Err(ClientError::Closed(log(state))),
    }
}

/// One attempt: connects and proves. A gate that is just ending counts as none.
fn meet(place: &Place, key: &StateKey, state: &StateFolder) -> Result<Option<Conn>, ClientError> {
    let io = |source| ClientError::Io { doing: "connect to the gate", source };
    let Some(stream) = place.connect().map_err(io)? else { return Ok(None) };
    let socket = || place.shown().display().to_string();
    match Conn::prove(stream, key) {
        Ok(conn) => Ok(Some(conn)),
        Err(ProofError::Ended) => Ok(None),
        Err(ProofError::Elsewhere) => Err(ClientError::Elsewhere { socket: socket() }),
        Err(why @ ProofError::Io(_)) => {
            Err(ClientError::Silent { socket: socket(), why, log: log(state) })
        }
        Err(
            why @ (ProofError::False { .. } | ProofError::OtherUser { .. } | ProofError::Version),
        ) => Err(ClientError::FalseGate { socket: socket(), why }),
    }
}

/// What a gate that was started said.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Ready,
    Busy,
    Failed(String),
    Ended,
}

/// Starts a gate and waits for its one line. It gets the state folder as descriptor 0 and says its
/// line on descriptor 1; it puts `/dev/null` in the place of both once it has used them.
fn spawn(state: &StateFolder) -> Result<Start, ClientError> {
    let failed = |doing| move |source: io::Error| ClientError::Io { doing, source };
    let folder: OwnedFd = state.fd().try_clone_to_owned().map_err(failed("start the gate"))?;
    let (line, words) = io::pipe().map_err(failed("start the gate"))?;
    let kept = KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let child = Command::new("/proc/self/exe")
        .args(["__gate", "--state-fd", "0"])
        .env_clear()
        .envs(kept)
        .stdin(folder)
        .stdout(words)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("start the gate"))?;
    let said = read(line).map_err(failed("hear from the gate"))?;
    if said != Start::Ready {
        reap(child);
    }
    Ok(said)
}

/// A gate that said it will not run is ending: it leaves nothing behind but its exit code.
fn reap(mut child: Child) {
    drop(child.wait());
}

/// One line, or what there is at the end.
fn read(line: io::PipeReader) -> io::Result<Start> {
    /// The longest reason that is read.
    const LONGEST_LINE: u64 = 16 << 10;
    let mut said = String::new();
    File::from(OwnedFd::from(line)).take(LONGEST_LINE).read_to_string(&mut said)?;
    let said = said.trim_end();
    Ok(match said.split_once(' ') {
        Some((FAILED, what)) => Start::Failed(what.to_owned()),
        None if said == READY => Start::Ready,
        None if said == BUSY => Start::Busy,
        Some(_) | None => Start::Ended,
    })
}

fn shown(state: &StateFolder) -> String {
    state.shown().display().to_string()
}

fn log(state: &StateFolder) -> String {
    state.shown().join(super::start::LOG).display().to_string()
}
