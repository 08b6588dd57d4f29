//! What an installation did, in one document.

use std::{net::IpAddr, path::PathBuf};

use serde::Serialize;

use crate::{mesh::Mesh, mode::Mode, place::Place, pod_file::Xdp, probes::Finding};

/// What an installation did and found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The mode in force.
    pub mode: Mode,
    /// Why no stronger one is.
    pub why: String,
    /// Where the pod is.
    pub cgroups: Vec<Cgroup>,
    /// Where the programs are pinned.
    pub pins: Option<PathBuf>,
    /// Programs that were attached.
    pub attached: usize,
    /// Programs that took another's place.
    pub replaced: usize,
    /// Programs that were detached.
    pub detached: usize,
    /// Every interface but the loopback.
    pub interfaces: Vec<String>,
    /// The pod's addresses.
    pub own: Vec<IpAddr>,
    /// The application's ports that are reached from outside.
    pub inbound: Vec<u16>,
    /// What is done about `AF_XDP`.
    pub xdp: Xdp,
    /// What else leads this pod's traffic.
    pub meshes: Vec<Mesh>,
    /// What is weaker than it could be.
    pub weaker: Vec<String>,
    /// The folder that was prepared for the gate's state.
    pub state: Option<PathBuf>,
    /// What is left to do.
    pub next: Vec<String>,
    /// What was tried.
    pub probes: Vec<Finding>,
    /// How long it took.
    pub millis: u64,
}

/// A cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    /// Its folder, as seen from here.
    pub folder: PathBuf,
    /// Its id.
    pub id: u64,
}

impl Cgroup {
    pub(crate) fn of(place: &Place) -> Self {
        Self { folder: place.folder().to_owned(), id: place.id() }
    }
}
