//! Puts a pod behind its gate: the floor first, then the programs, then the tries, then what the gate is told.
//!
//! Every step leaves the pod closed: with the floor alone nothing leaves, with the programs and no gate connections are
//! refused, and without its file no gate starts. A step that was done before is done again without a gap.

mod exempt;
mod options;
mod report;

use std::{os::fd::AsFd, time::Instant};

use ebpf::{EbpfError, Installed, PodSpec, Ports, probe};

use crate::{
    capability::{self, BPF, CHOWN, NET_ADMIN, Need},
    floor::{Exempt, Floor, FloorError, PROBE_PASSED},
    mesh,
    mode::{self, Mode, ModeError, Obstacles},
    net::{self, Network, NetworkError},
    nft::{Counters, Nft, NftError},
    place::{Place, PlaceError},
    pod_file::{PodFile, PodFileError, Said, Xdp},
    ports,
    probes::{self, AF_XDP, Finding, Outcome},
    state::{self, StateError},
};

pub use exempt::Gate;
pub use options::Options;
pub use report::{Cgroup, Report};

/// Why a pod is not behind its gate. What was done until then closes it.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A capability is missing.
    #[error("{0}")]
    Capability(String),
    /// The network is not a pod's.
    #[error(
        "the interface {0} is a device of the machine itself, so this seems to be the node's own network (hostNetwork), \
         which a floor would cut off; if it is this pod's own, say so with --own-network"
    )]
    Node(String),
    /// What is asked for cannot be a floor.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The network is not known.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The rules are not in force.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// The gate's cgroup, which was named, is not to be found.
    #[error("the gate's cgroup: {0}")]
    Gate(PlaceError),
    /// No mode works, or only too weak a one.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// The programs are not in force.
    #[error(transparent)]
    Programs(#[from] EbpfError),
    /// The gate cannot be told.
    #[error(transparent)]
    PodFile(#[from] PodFileError),
    /// The gate has no place for its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kernel does not tell.
    #[error("cannot find out {what}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// What was found out before anything is changed.
#[derive(Debug)]
pub struct Scene {
    nft: Nft,
    network: Network,
    gate: Gate,
    places: Result<Vec<Place>, PlaceError>,
    obstacles: Obstacles,
}

/// Puts the pod of the calling process, or the cgroups that are named, behind the gate.
///
/// # Errors
/// When a step cannot be done; the pod is then as closed as the steps before left it.
pub fn install(options: &Options) -> Result<Report, InstallError> {
    let began = Instant::now();
    let mut scene = Scene::look(options)?;
    let meshes = scene.meshes(options)?;
    let mut weaker = Vec::new();
    let (choice, installed) = loop {
        let choice = mode::choose(options.wanted, options.minimum, &scene.obstacles)?;
        scene.lay_floor(choice.mode, options, &mut weaker)?;
        match scene.attach(choice.mode, options) {
            Ok(installed) => break (choice, installed),
            // What only an attempt shows stands in the way like what is seen before; the next mode is tried, down to
            // the minimum.
            Err(InstallError::Programs(error)) if scene.obstacles.kernel.is_none() => {
                scene.obstacles.kernel = Some(brief(&error));
            }
            Err(error) => return Err(error),
        }
    };
    let probes = if options.probe {
        // The floor is new, and counts from zero.
        let before = Counters::from([(PROBE_PASSED.to_owned(), 0)]);
        probes::negative(&scene.network, &before, || scene.nft.counters())?
    } else {
        Vec::new()
    };
    let xdp = if options.gate_holds_xdp { Xdp::Hold } else { closed(&probes) };
    let said = Said {
        mode: choice.mode,
        why: choice.why.clone(),
        maps: (choice.mode == Mode::Kernel).then(|| options.gate_maps.clone()),
        inbound: options.inbound.clone(),
        own: scene.network.own.clone(),
        interfaces: scene.network.interfaces.iter().map(ToString::to_string).collect(),
        xdp,
        meshes: meshes.iter().map(|mesh| mesh.name.to_owned()).collect(),
    };
    if let Some(state) = &options.state {
        state::prepare(state, options.gate_uid, options.gate_gid)?;
    }
    // Without the file no gate starts: there is none where a way round was seen.
    if probes::hold(&probes) {
        let file = PodFile::succeeding(&options.pod_file, said.clone())?;
        file.write(&options.pod_file, options.gate_uid, options.gate_gid)?;
    }
    Ok(Report {
        mode: choice.mode,
        why: choice.why,
        cgroups: scene.places.iter().flatten().map(Cgroup::of).collect(),
        pins: (choice.mode == Mode::Kernel).then(|| options.pins.clone()),
        attached: installed.attached,
        replaced: installed.replaced,
        detached: installed.detached,
        interfaces: said.interfaces,
        own: said.own,
        inbound: said.inbound,
        xdp,
        meshes,
        weaker,
        state: options.state.clone(),
        next: scene.gate.next(choice.mode),
        probes,
        millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

impl Scene {
    /// Looks at what this process may do, and at the pod's network and cgroups. Changes nothing.
    ///
    /// # Errors
    /// When not even the weakest mode could be, or the network seems to be the node's.
    pub fn look(options: &Options) -> Result<Self, InstallError> {
        if let Some(missing) = capability::missing(&[NET_ADMIN]) {
            return Err(InstallError::Capability(missing));
        }
        let network = Network::here()?;
        if let Some(device) = net::machines_own(&network).filter(|_| !options.own_network) {
            return Err(InstallError::Node(device));
        }
        let gate = Gate::find(options).map_err(InstallError::Gate)?;
        let nft = Nft::find()?;
        let places = options.places();
        let obstacles = Obstacles {
            kernel: capability::missing(&Self::needs(options))
                .or_else(|| places.as_ref().err().map(ToString::to_string)),
            nft_cgroup: gate.obstacle(),
            nft_user: None,
        };
        Ok(Self { nft, network, gate, places, obstacles })
    }

    /// What stands in the way of each mode, as far as it is seen without trying.
    #[must_use]
    pub const fn obstacles(&self) -> &Obstacles {
        &self.obstacles
    }

    /// The program that reads and changes the rules.
    #[must_use]
    pub const fn nft(&self) -> &Nft {
        &self.nft
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The cgroups, or why they are not known.
    ///
    /// # Errors
    /// When they are not known.
    pub fn places(&self) -> Result<&[Place], &PlaceError> {
        self.places.as_deref()
    }

    fn needs(options: &Options) -> Vec<Need> {
        let mut needs = vec![BPF, NET_ADMIN];
        if rustix::process::geteuid().as_raw() != options.gate_uid {
            needs.push(CHOWN);
        }
        needs
    }

    /// The floor of a mode.
    ///
    /// # Errors
    /// When there is none with these ports.
    pub fn floor(&self, mode: Mode, options: &Options) -> Result<Floor, FloorError> {
        let gate = Exempt { uid: options.gate_uid, cgroup: self.gate.exempt() };
        let floor = Floor::new(mode, &self.network.interfaces, gate, &options.inbound)?;
        Ok(floor.asked_from(&options.health_from))
    }

    /// Why the kernel would not take the floor of a mode, even without what only newer kernels have.
    ///
    /// # Errors
    /// When there is no such floor.
    pub fn refused(&self, mode: Mode, options: &Options) -> Result<Option<String>, FloorError> {
        let floor = self.floor(mode, options)?.without_devices();
        Ok(self
            .gate
            .nft(&self.nft, mode)
            .check(&floor.render())
            .err()
            .map(|error| error.to_string()))
    }

    /// Brings it into force; without what only newer kernels have where this one refuses that.
    fn lay_floor(
        &self,
        mode: Mode,
        options: &Options,
        weaker: &mut Vec<String>,
    ) -> Result<(), InstallError> {
        let floor = self.floor(mode, options)?;
        weaker.clear();
        let nft = self.gate.nft(&self.nft, mode);
        let Err(whole) = nft.apply(&floor.render()) else { return Ok(()) };
        if !matches!(whole, NftError::Refused(_)) || floor.interfaces().is_empty() {
            return Err(whole.into());
        }
        nft.apply(&floor.without_devices().render()).map_err(|_same| whole)?;
        weaker.push(
            "this kernel cannot look at what leaves an interface (5.16 can): a packet socket passes the floor, so \
             CAP_NET_RAW must be dropped from every container"
                .to_owned(),
        );
        Ok(())
    }

    /// Attaches and pins the programs, or takes them away where the mode has none: they would redirect to nobody.
    fn attach(&self, mode: Mode, options: &Options) -> Result<Installed, InstallError> {
        let (Ok(places), Mode::Kernel) = (&self.places, mode) else {
            ebpf::uninstall(&options.pins)?;
            return Ok(Installed::default());
        };
        let network = probe::network_cookie()
            .map_err(|source| InstallError::Io { what: "which network this is", source })?;
        let exempt = self.gate.id();
        let spec = PodSpec {
            ports: Ports { intake: ports::INTAKE, responder: ports::RESPONDER },
            gate_ports: &ports::GATE,
            own: &self.network.own,
            exempt: exempt.as_slice(),
            network: Some(network),
            gate_uid: options.gate_uid,
            gate_gid: options.gate_gid,
        };
        let cgroups: Vec<_> = places.iter().map(AsFd::as_fd).collect();
        Ok(ebpf::install(&cgroups, &options.pins, &spec)?)
    }

    /// What else leads this pod's traffic.
    ///
    /// # Errors
    /// When the chains cannot be listed.
    pub fn meshes(&self, options: &Options) -> Result<Vec<mesh::Mesh>, NftError> {
        let ours = ebpf::cgroups_of(&options.pins).map_or(0, |ids| u32::from(!ids.is_empty()));
        let count = |place: &Place| probe::programs_at_connect(AsFd::as_fd(place));
        let all = self.places.iter().flatten().filter_map(|place| count(place).ok());
        let programs = all.map(|count| count.saturating_sub(ours)).max().unwrap_or(0);
        Ok(mesh::found(&self.nft.chains()?, programs))
    }
}

/// What it says without the kernel's account of every instruction that it looked at, of which the last line matters.
#[must_use]
pub fn brief(error: &EbpfError) -> String {
    const SUMS: [&str; 3] = ["verification time", "stack depth", "processed"];
    let whole = error.to_string();
    let Some((what, account)) = whole.split_once("Verifier output:") else { return whole };
    let telling = |line: &&str| !line.is_empty() && !SUMS.iter().any(|sum| line.starts_with(sum));
    let last = account.lines().rev().map(str::trim).find(telling).unwrap_or_default();
    format!("{}: {last}", what.trim_end_matches(['.', ' ']))
}

/// Whether the kernel has no `AF_XDP` at all.
fn closed(findings: &[Finding]) -> Xdp {
    let none = |finding: &Finding| finding.name == AF_XDP && finding.outcome == Outcome::NotRun;
    if findings.iter().any(none) { Xdp::Closed } else { Xdp::Open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_kernels_account_the_last_line_is_told() {
        let source = "Permission denied. Verifier output: 0: R1=ctx()\n1: (b7) r2 = 0\nR5 is bad\nverification time 2 \
                      usec\nprocessed 2 insns\n";
        let error = EbpfError::Kernel { program: "bind4".to_owned(), source: source.into() };
        assert!(
            brief(&error).ends_with("is needed: Permission denied: R5 is bad"),
            "{}",
            brief(&error)
        );
        assert_eq!(brief(&EbpfError::Object("x")), EbpfError::Object("x").to_string());
    }
}
