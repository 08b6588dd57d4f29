//! What happens to virtual keys, as the ledger keeps it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::origin::Origin;

/// 32 bytes in hex: the SHA-256 of a virtual key, or the keyed fingerprint of a real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not 32 bytes in hex"))
    }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|char| char.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// A run was given a virtual key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyIssued {
    /// The key's id, which is safe to print.
    pub id: String,
    /// Its SHA-256.
    pub hash: Hash,
    /// The credential that it stands for.
    pub credential: String,
    /// The real key's fingerprint under a key of this state folder.
    pub fingerprint: Hash,
    /// The run.
    pub run: String,
    /// The run's agent.
    pub agent: String,
    /// When it stops being valid for this run, in microseconds.
    pub expires: Option<u64>,
    /// Requests in all for this run.
    pub uses: Option<u64>,
}

/// An operator made a standing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCreated {
    /// The key's id, which is safe to print.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its SHA-256.
    pub hash: Hash,
    /// The credential that it stands for.
    pub credential: String,
    /// The agent, who alone may use it.
    pub agent: String,
    /// When it was made, in microseconds.
    pub at: u64,
    /// When it stops being valid, in microseconds.
    pub expires: Option<u64>,
    /// Requests in all, in all runs of the agent together.
    pub uses: Option<u64>,
    /// Where it may be used from; nothing named leaves that to the agent's contract.
    pub from: Vec<Origin>,
    /// Who made it.
    pub by: String,
}

/// A request with a virtual key went out. Belongs into its decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUsed {
    /// The key's id.
    pub id: String,
    /// The run.
    pub run: String,
}

/// An operator took a key back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevoked {
    /// The key's id.
    pub id: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Who did it.
    #[serde(default)]
    pub by: String,
}

impl KeyRevoked {
    /// The event, of which nobody said why.
    pub(super) fn of(id: &str) -> Self {
        Self { id: id.to_owned(), reason: String::new(), by: String::new() }
    }
}

/// A run is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunClosed {
    /// The run.
    pub run: String,
}

/// Anything that happens to virtual keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEvent {
    /// See [`KeyIssued`].
    Issued(KeyIssued),
    /// See [`KeyCreated`].
    Created(KeyCreated),
    /// See [`KeyUsed`].
    Used(KeyUsed),
    /// See [`KeyRevoked`].
    Revoked(KeyRevoked),
    /// See [`RunClosed`].
    Closed(RunClosed),
}
