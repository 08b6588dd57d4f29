//! What a run shared with its host, and what it left behind that others execute: parts of a run's entry.

use serde::{Deserialize, Serialize};

/// Which end of a shared port the command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedWay {
    /// `--reach-port`: the command connects, the host listens.
    Reach,
    /// `--publish-port`: the host connects, the command listens.
    Publish,
}

/// What went over a shared port. Its bytes are counted and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPort {
    /// The port, the same on both sides.
    pub port: u16,
    /// Which way.
    pub way: SharedWay,
    /// Connections.
    pub connections: u64,
    /// Bytes that the command wrote.
    pub written: u64,
    /// Bytes that the command was sent.
    pub read: u64,
}

/// Files that other programs execute, or are steered by, and that changed during a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many.
    pub count: u64,
    /// SHA-256 of what they hold now, hex: of the first of those that are files of no more than 1 MiB.
    pub digests: Vec<String>,
}
