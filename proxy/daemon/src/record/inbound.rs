//! Connections from outside to what an agent serves, as the ledger keeps them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Equal connections to a port of a pod that are over: one, or all of some seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// The agent that serves.
    pub agent: String,
    /// Who connected.
    pub peer: IpAddr,
    /// To which port; 0 where that is not known.
    pub port: u16,
    /// How they ended.
    pub ended: InboundEnd,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that left.
    pub bytes_out: u64,
    /// How many connections.
    pub count: u64,
}

/// How a connection from outside ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundEnd {
    /// Both sides had said all.
    Closed,
    /// One of them broke it.
    Broken,
    /// What should serve does not answer.
    Unreachable,
    /// It sent all that one connection may.
    ConnectionLimit,
    /// All connections together sent what they may in a window.
    WindowLimit,
    /// A kill switch stops the agent.
    Killed,
    /// The gate ended.
    GateEnded,
    /// The port is not declared, or the address is none of the pod's own.
    Undeclared,
    /// Nothing was said on it for a long time.
    Silent,
}

impl InboundEnd {
    /// Every end.
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::Broken,
        Self::Unreachable,
        Self::ConnectionLimit,
        Self::WindowLimit,
        Self::Killed,
        Self::GateEnded,
        Self::Undeclared,
        Self::Silent,
    ];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::ConnectionLimit => "connection_limit",
            Self::WindowLimit => "window_limit",
            Self::Killed => "killed",
            Self::GateEnded => "gate_ended",
            Self::Undeclared => "undeclared",
            Self::Silent => "silent",
        }
    }

    /// Whether it was the gate that ended it, or did not let it begin.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::Closed | Self::Broken | Self::Unreachable | Self::Silent | Self::GateEnded => {
                false
            }
            Self::ConnectionLimit | Self::WindowLimit | Self::Killed | Self::Undeclared => true,
        }
    }
}
