//! Attempts to go past the gate, as the ledger keeps them.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What the kernel refused to a process: the first time, or all times that it was the same within the seconds after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The agent, where it is known.
    #[serde(default)]
    pub agent: Option<String>,
    /// The run, where there is one.
    #[serde(default)]
    pub run: Option<String>,
    /// The way that was tried, a word of a closed list: `datagram`, `gate_port`.
    pub technique: String,
    /// The kind of socket: `udp`, `packet`.
    pub socket: String,
    /// Where it was to go, where the program named that.
    #[serde(default)]
    pub destination: Option<SocketAddr>,
    /// The last process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name, as the kernel keeps it; control characters by their number.
    pub comm: String,
    /// How often.
    pub count: u64,
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.socket)?;
        if let Some(destination) = self.destination {
            write!(f, " {destination}")?;
        }
        write!(f, " ({})", self.comm)
    }
}
