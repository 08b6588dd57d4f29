//! Facts of the ingress band: who calls, and with which credentials.

use alloc::string::String;
use serde::{Deserialize, Serialize};

use super::Timestamp;
use crate::Setting;
use crate::scan::SecretClass;

/// The identity that the gate itself established, never what the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Name of the agent, as contracts name it.
    pub agent: String,
    /// The run, a ULID: one `tollgate exec`, or the agent's time behind one `tollgate serve`.
    pub run: String,
    /// The team whose contract it is.
    #[serde(default)]
    pub team: Option<String>,
    /// By what the gate knows it.
    #[serde(default)]
    pub by: Identified,
    /// The virtual key that it showed the proxy, which says who it is wherever its requests go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxied: Option<Key>,
    /// The address that it called from, where nothing else says who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// By what the gate established who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identified {
    /// It is the one command of a `tollgate exec`.
    #[default]
    Run,
    /// The certificate that it proved to hold when it connected.
    Certificate,
    /// The control group that its socket was made in, by the kernel's word.
    Cgroup,
    /// It is in the pod whose network the gate guards, and nobody else is in there.
    Pod,
    /// The address that it connected from.
    Address,
    /// Nothing but the virtual key in its request.
    Key,
    /// Nothing.
    Nobody,
}

impl Identified {
    /// What a caller that is known by this is behind.
    #[must_use]
    pub const fn setting(self) -> Setting {
        match self {
            Self::Run => Setting::Exec,
            Self::Certificate
            | Self::Cgroup
            | Self::Pod
            | Self::Address
            | Self::Key
            | Self::Nobody => Setting::Serve,
        }
    }
}

/// Whom a kill switch stops, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillScope {
    /// Whoever uses one virtual key.
    Key,
    /// One agent.
    Agent,
    /// Every agent of one team.
    Team,
    /// Every agent.
    Global,
    /// Every exchange that is still open when the gate ends in order. No operator's switch.
    Drain,
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
    /// How its use is bound to where it is used from.
    #[serde(default)]
    pub bound: Bound,
}

/// How the use of a key is bound to where it is used from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// It was given to this run, and opens nothing in another.
    #[default]
    Run,
    /// The gate knows the caller by its workload, and the key is this agent's.
    Workload,
    /// The key names places that it may be used from, and this is one of them.
    Here,
    /// It is bound to other places, or its agent is known by something else than a key.
    Elsewhere,
    /// Nothing binds it: who has it can use it.
    Bearer,
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
