//! What an installation is told.

use std::path::PathBuf;

use ipnet::IpNet;

use crate::{
    mode::{Mode, Wanted},
    place::{Place, PlaceError, View},
};

/// What an installation is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which mode is asked for.
    pub wanted: Wanted,
    /// The weakest that is accepted.
    pub minimum: Mode,
    /// Cgroups that were named; where there are none, the pod's is looked for.
    pub cgroups: Vec<PathBuf>,
    /// Where to look for it.
    pub view: View,
    /// The folder of this pod's pins, in a bpffs.
    pub pins: PathBuf,
    /// Where the gate sees the folder `maps` of the pins.
    pub gate_maps: PathBuf,
    /// The file for the gate.
    pub pod_file: PathBuf,
    /// The gate's user.
    pub gate_uid: u32,
    /// The gate's group.
    pub gate_gid: u32,
    /// The folder for the gate's state, if the installer is to prepare it.
    pub state: Option<PathBuf>,
    /// The gate's cgroup, if it was named.
    pub gate_cgroup: Option<PathBuf>,
    /// TCP ports at which the application is reached from outside.
    pub inbound: Vec<u16>,
    /// Who may ask for the gate's health and its counts; everybody where there is none.
    pub health_from: Vec<IpNet>,
    /// Whether the gate binds every `AF_XDP` queue.
    pub gate_holds_xdp: bool,
    /// Whether the network is the pod's own although it has a device of the machine.
    pub own_network: bool,
    /// Whether to make the tries that must fail: they show something only from within the pod's cgroup.
    pub probe: bool,
}

impl Options {
    /// The cgroups to attach to.
    pub(super) fn places(&self) -> Result<Vec<Place>, PlaceError> {
        if self.cgroups.is_empty() {
            return Place::find(&self.view).map(|place| vec![place]);
        }
        self.cgroups.iter().map(|path| Place::named(path, &self.view)).collect()
    }
}
