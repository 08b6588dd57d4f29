//! Facts of the ingress band: who calls, and with which credentials.

use alloc::string::String;
use serde::{Deserialize, Serialize};

use super::Timestamp;
use crate::scan::SecretClass;

/// The identity that the gate itself established, never what the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Name of the agent, as contracts name it.
    pub agent: String,
    /// The run, a ULID: one `tollgate exec`.
    pub run: String,
}

/// Whom a kill switch stops, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillScope {
    /// Whoever uses one virtual key.
    Key,
    /// One agent.
    Agent,
    /// Every agent.
    Global,
}

/// The virtual key found in the request's credential places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presented {
    /// No virtual key.
    Nothing,
    /// It has a virtual key's shape, but no key of this gate has its hash.
    Unknown,
    /// More than one virtual key, and they differ.
    Ambiguous,
    /// A key of this gate.
    Key(Key),
}

/// A virtual key's scope. Never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key's id, which is safe to print.
    pub id: String,
    /// The credential that it stands for, as named in the gate's configuration (`openai`).
    pub credential: String,
    /// The agent that alone may use it.
    pub agent: String,
    /// When it stops being valid.
    pub expires: Option<Timestamp>,
    /// Uses left, this one included; `None` is no limit. Entered before judging.
    pub uses_left: Option<u64>,
    /// Taken back by an operator.
    pub revoked: bool,
}

/// What stands in one place of a request that can authenticate or choose an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStanding {
    /// The place: `header authorization`, `query key`.
    pub place: String,
    /// What stands there.
    pub what: Standing,
}

/// What a credential place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A live virtual key of this gate, which the gate replaces.
    VirtualKey,
    /// Exactly the value that the gate would set itself.
    SetByGate,
    /// Something that has the shape of a known issuer's secret.
    RealKey(SecretClass),
    /// Anything else.
    Foreign,
}

/// How the request stands against its agent's rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// The contract sets none.
    Unlimited,
    /// Counted, and within the limit.
    Within,
    /// Over the limit; nothing was counted.
    Exceeded {
        /// Requests allowed in one window.
        limit: u32,
        /// Seconds until one is allowed again, at least 1.
        retry_after: u32,
    },
}
