//! Flags that say which pod, and how it is to be closed.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use ipnet::IpNet;

use super::out::Failure;
use crate::{
    install::Options,
    mode::{Mode, Wanted},
    node::Known,
    place::{Place, View},
    pod_file,
    ports::GATE_UID,
};

/// The folder of all pods' pins.
pub(super) const PINS: &str = "/sys/fs/bpf/tollgate";

/// More ports than any pod declares; a gate takes no more.
const MOST_PORTS: usize = 256;

/// A name that leads nowhere else than to one folder.
fn pod(name: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err("this is no name of a pod: give its uid");
    }
    Ok(name.to_owned())
}

/// Which pod.
#[derive(Debug, Clone, Args)]
pub(super) struct PinArgs {
    /// The pod's uid (downward API: metadata.uid); it names the folder of pins and proves whose a cgroup is
    #[arg(long, env = "TOLLGATE_POD", value_name = "UID", value_parser = pod)]
    pod: Option<String>,
    /// The pod's folder of pins, in a bpffs [default: /sys/fs/bpf/tollgate/UID]
    #[arg(long, value_name = "PATH")]
    pins: Option<PathBuf>,
}

impl PinArgs {
    /// The folder of pins; a pod without a name is known by its cgroup.
    pub(super) fn folder(&self, root: Option<&PathBuf>) -> PathBuf {
        let view = self.view(root);
        let by_cgroup = || {
            Place::find(&view)
                .map_or_else(|_| "unknown".to_owned(), |place| format!("cgroup-{}", place.id()))
        };
        let under = |name: &str| Path::new(PINS).join(name);
        self.pins
            .clone()
            .or_else(|| self.pod.as_deref().map(under))
            .unwrap_or_else(|| under(&by_cgroup()))
    }

    fn view(&self, root: Option<&PathBuf>) -> View {
        View { root: root.cloned(), processes: "/proc".into(), pod: self.pod.clone() }
    }
}

/// A network, or the one of an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.map_err(|_neither| {
        "it is neither a network, such as 10.0.0.0/8, nor an address".to_owned()
    })
}

/// How a pod is to be closed.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "Example:\n  tollgate-init install --pod \"$POD_UID\" --inbound 8080 --minimum kernel"
)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    pins: PinArgs,
    /// How the pod is enforced
    #[arg(long, value_enum, default_value_t = Wanted::Auto)]
    mode: Wanted,
    /// The weakest mode that is accepted
    #[arg(long, value_enum, default_value_t = Mode::Kernel)]
    minimum: Mode,
    /// Attach to this cgroup and not to the pod's; may be repeated
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<PathBuf>,
    /// The node's cgroup v2 tree, as seen here [default: /host/sys/fs/cgroup, else where it is mounted]
    #[arg(long, value_name = "PATH")]
    cgroup_root: Option<PathBuf>,
    /// A TCP port at which the application is reached from outside; may be repeated
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    inbound: Vec<u16>,
    /// Who may ask for the gate's health and read its metrics, a network or an address; may be repeated [default:
    /// everybody]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    health_from: Vec<IpNet>,
    /// The gate's user
    #[arg(long, value_name = "UID", default_value_t = GATE_UID)]
    gate_uid: u32,
    /// The gate's group [default: the number of its user]
    #[arg(long, value_name = "GID")]
    gate_gid: Option<u32>,
    /// The folder for the gate's state: made the gate's user's alone, as the gate asks for
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
    /// The gate's cgroup; in the mode kernel the gate introduces itself, in nft-cgroup it is known by its listener
    #[arg(long, value_name = "PATH")]
    gate_cgroup: Option<PathBuf>,
    /// Where the gate sees the folder `maps` of the pins
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf")]
    gate_maps: PathBuf,
    /// What the gate is told is written here
    #[arg(long, value_name = "PATH", default_value = pod_file::PATH)]
    pod_file: PathBuf,
    /// The gate binds every `AF_XDP` queue (it needs `CAP_NET_RAW`), so that nobody else can
    #[arg(long)]
    gate_holds_xdp: bool,
    /// The network is this pod's own although it has a device of the machine (SR-IOV)
    #[arg(long)]
    own_network: bool,
}

impl InstallArgs {
    pub(super) fn pod(&self) -> Option<String> {
        self.pins.pod.clone()
    }

    pub(super) const fn gate_user(&self) -> Known {
        Known::User(self.gate_uid)
    }

    /// What they mean.
    pub(super) fn options(&self) -> Result<Options, Failure> {
        if self.inbound.len() > MOST_PORTS {
            return Err(Failure::usage(format!("--inbound takes {MOST_PORTS} ports at most")));
        }
        if self.inbound.contains(&0) {
            return Err(Failure::usage("--inbound 0 is no port"));
        }
        Ok(Options {
            wanted: self.mode,
            minimum: self.minimum,
            cgroups: self.cgroup.clone(),
            view: self.pins.view(self.cgroup_root.as_ref()),
            pins: self.pins.folder(self.cgroup_root.as_ref()),
            gate_maps: self.gate_maps.clone(),
            pod_file: self.pod_file.clone(),
            gate_uid: self.gate_uid,
            gate_gid: self.gate_gid.unwrap_or(self.gate_uid),
            state: self.state.clone(),
            gate_cgroup: self.gate_cgroup.clone(),
            inbound: self.inbound.clone(),
            health_from: self.health_from.clone(),
            gate_holds_xdp: self.gate_holds_xdp,
            own_network: self.own_network,
            probe: true,
        })
    }
}
