//! Puts the pod behind its gate as the installer does: programs, pins and floor; what did it is gone afterwards.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ebpf::xdp::Held;
use ebpf::{PodSpec, Ports};
use tollgate_init::floor::{Exempt, Floor};
use tollgate_init::mode::Mode;
use tollgate_init::net::Network;
use tollgate_init::nft::Nft;
use tollgate_init::ports;

use crate::gate;
use crate::sys;
use crate::topology::{Cgroups, Topology, inside};

/// The port that the pod's application declares.
pub const DECLARED: u16 = 8080;

/// What is in force.
#[derive(Debug)]
pub struct Enforcement {
    pins: PathBuf,
    /// What the gate's container holds, so that nobody else can.
    _queues: Held,
}

impl Enforcement {
    /// Installs everything in the strongest mode, with pins in a bpffs of this process's own.
    ///
    /// # Errors
    /// When the kernel cannot.
    pub fn install(topology: &Topology, cgroups: &Cgroups, scratch: &Path) -> Result<Self> {
        let mounted = scratch.join("bpf");
        std::fs::create_dir_all(&mounted)?;
        let path = mounted.to_str().context("a path that is no text")?;
        sys::mount("none", path, "bpf", 0).context("cannot mount a bpffs")?;
        let pins = mounted.join("pod");
        let pod = File::open(&cgroups.pod)?;
        let queues = inside(&topology.pod, || {
            let network = Network::here()?;
            let gate = Exempt { uid: gate::UID, cgroup: None };
            let floor = Floor::new(Mode::Kernel, &network.interfaces, gate, &[DECLARED])?;
            Nft::find()?.apply(&floor.render())?;
            let spec = PodSpec {
                ports: Ports { intake: ports::INTAKE, responder: ports::RESPONDER },
                gate_ports: &ports::GATE,
                own: &network.own,
                exempt: &[],
                network: Some(ebpf::probe::network_cookie()?),
                gate_uid: gate::UID,
                gate_gid: gate::UID,
            };
            ebpf::install(&[pod.as_fd()], &pins, &spec)?;
            let indices = network.interfaces.iter().map(tollgate_init::net::index);
            Ok(Held::all(&indices.collect::<Result<Vec<_>, _>>()?)?)
        })?;
        Ok(Self { pins, _queues: queues })
    }

    /// Where the gate finds its maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.pins.join("maps")
    }
}
