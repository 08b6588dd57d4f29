//! Both ends of the gate's socket prove to each other that they hold the state's key.
//!
//! Each side draws a nonce and answers with an HMAC over both nonces under a label of its own. The
//! process ids that the kernel names for the two ends are part of what is proved, so that somebody
//! who listens in the gate's place cannot pass the words of one side on to the other.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::process::{Pid, getpid};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock;

/// First bytes of either side: the name and version of this exchange.
const MAGIC: [u8; 4] = *b"TGP1";
/// What the gate proves.
const GATE: &[u8] = b"tollgate socket v1, the gate";
/// What the client proves.
const CLIENT: &[u8] = b"tollgate socket v1, the client";
/// What the kernel names a process that this PID namespace does not hold.
const UNSEEN: i32 = 0;
/// How long each word of the other side may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The key of the state folder.
pub type StateKey = Zeroizing<[u8; 32]>;

/// Why the other side is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// It ended before it proved anything: it may just be ending.
    #[error("the other side ended before it proved that it holds the state's key")]
    Ended,
    /// It is a process of another PID namespace, whose number here nobody can name to it.
    #[error("the other side is in another container (PID namespace)")]
    Elsewhere,
    /// It does not hold the key, or passes on the words of one that does.
    #[error(
        "the other side (process {pid}) does not hold the state's key, or is in another container (PID namespace)"
    )]
    False {
        /// Its process.
        pid: i32,
    },
    /// It belongs to another user.
    #[error("the other side (process {pid}) belongs to user {uid}")]
    OtherUser {
        /// Its process.
        pid: i32,
        /// Its user.
        uid: u32,
    },
    /// It speaks something else.
    #[error("the other side speaks another version of this protocol")]
    Version,
    /// It did not answer, or the connection broke.
    #[error("the other side did not answer: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ProofError {
    fn from(error: io::Error) -> Self {
        const GONE: [io::ErrorKind; 3] = [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
        ];
        if GONE.contains(&error.kind()) { Self::Ended } else { Self::Io(error) }
    }
}

/// What both sides prove knowledge over.
struct Words {
    client: [u8; 32],
    gate: [u8; 32],
    client_pid: i32,
    gate_pid: i32,
}

impl Words {
    fn mac(&self, key: &StateKey, label: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_slice()).ok()?;
        mac.update(label);
        mac.update(&self.client);
        mac.update(&self.gate);
        mac.update(&self.client_pid.to_be_bytes());
        mac.update(&self.gate_pid.to_be_bytes());
        Some(mac)
    }

    fn prove(&self, key: &StateKey, label: &[u8]) -> Result<[u8; 32], ProofError> {
        let mac = self.mac(key, label).ok_or(ProofError::Version)?;
        Ok(mac.finalize().into_bytes().into())
    }

    /// In constant time.
    fn check(&self, key: &StateKey, label: &[u8], proof: &[u8; 32]) -> bool {
        self.mac(key, label).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }
}

/// Proves the gate's side of `stream` and checks the client's.
///
/// A client of another PID namespace is 0 here, which no process is to itself: nothing that it says is accepted, and
/// the gate's own proof tells it so.
///
/// # Errors
///
/// The client did not prove itself; nothing it says may be acted on.
pub(crate) fn as_gate(stream: &mut UnixStream, key: &StateKey) -> Result<(), ProofError> {
    let client_pid = same_user(stream)?;
    patient(stream, Some(PATIENCE))?;
    let mut hello = [0; 36];
    stream.read_exact(&mut hello)?;
    let client = nonce(&hello)?;
    let gate_pid = Pid::as_raw(Some(getpid()));
    let words = Words { client, gate: clock::random()?, client_pid, gate_pid };
    let mut answer = Vec::with_capacity(68);
    answer.extend_from_slice(&MAGIC);
    answer.extend_from_slice(&words.gate);
    answer.extend_from_slice(&words.prove(key, GATE)?);
    stream.write_all(&answer)?;
    let mut proof = [0; 32];
    stream.read_exact(&mut proof)?;
    if !words.check(key, CLIENT, &proof) {
        return Err(ProofError::False { pid: client_pid });
    }
    stream.write_all(&MAGIC)?;
    patient(stream, None)
}

/// Proves the client's side of `stream` and checks the gate's, before anything else is sent.
///
/// # Errors
///
/// The gate did not prove itself, or did not accept this side.
pub(crate) fn as_client(stream: &mut UnixStream, key: &StateKey) -> Result<(), ProofError> {
    let gate_pid = same_user(stream)?;
    if gate_pid == UNSEEN {
        return Err(ProofError::Elsewhere);
    }
    patient(stream, Some(PATIENCE))?;
    let client: [u8; 32] = clock::random()?;
    let mut hello = Vec::with_capacity(36);
    hello.extend_from_slice(&MAGIC);
    hello.extend_from_slice(&client);
    stream.write_all(&hello)?;
    let (mut opening, mut proof) = ([0; 36], [0; 32]);
    stream.read_exact(&mut opening)?;
    stream.read_exact(&mut proof)?;
    let client_pid = Pid::as_raw(Some(getpid()));
    let words = Words { client, gate: nonce(&opening)?, client_pid, gate_pid };
    if !words.check(key, GATE, &proof) {
        let elsewhere = is_elsewhere(gate_pid);
        return Err(if elsewhere {
            ProofError::Elsewhere
        } else {
            ProofError::False { pid: gate_pid }
        });
    }
    stream.write_all(&words.prove(key, CLIENT)?)?;
    let mut accepted = [0; 4];
    stream.read_exact(&mut accepted)?;
    if accepted != MAGIC {
        return Err(ProofError::Version);
    }
    patient(stream, None)
}

fn nonce(opening: &[u8; 36]) -> Result<[u8; 32], ProofError> {
    match opening.split_first_chunk::<4>() {
        Some((magic, nonce)) if *magic == MAGIC => {
            nonce.try_into().map_err(|_length| ProofError::Version)
        }
        Some(_) | None => Err(ProofError::Version),
    }
}

/// The process at the other end, which the kernel names, if it belongs to this user.
fn same_user(stream: &UnixStream) -> Result<i32, ProofError> {
    let peer = getsockopt(stream, PeerCredentials).map_err(io::Error::from)?;
    let (pid, uid) = (peer.pid(), peer.uid());
    if uid == rustix::process::geteuid().as_raw() {
        Ok(pid)
    } else {
        Err(ProofError::OtherUser { pid, uid })
    }
}

/// Whether it is known to be in another PID namespace, where it and this process have other numbers.
fn is_elsewhere(pid: i32) -> bool {
    let namespace = |of: &str| std::fs::metadata(format!("/proc/{of}/ns/pid")).map(|at| at.ino());
    matches!((namespace("self"), namespace(&pid.to_string())), (Ok(ours), Ok(theirs)) if ours != theirs)
}

fn patient(stream: &UnixStream, patience: Option<Duration>) -> Result<(), ProofError> {
    stream.set_read_timeout(patience).map_err(ProofError::Io)?;
    stream.set_write_timeout(patience).map_err(ProofError::Io)
}

#[cfg(test)]
mod tests;
