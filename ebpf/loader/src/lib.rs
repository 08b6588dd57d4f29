//! Loads the kernel programs, attaches them to cgroups, and reads where connections wanted to go.
//!
//! [`Enforcement`] is one run's, in a network of its own. [`Redirection`] is a service's: loaded once for its ports and
//! attached to any number of cgroups of the host. What [`install`] attaches to a pod is pinned and stays when the
//! installer has ended; the pod's gate meets it as [`Pinned`].

use std::{
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
};

use aya::EbpfLoader;

mod attempts;
mod kernel;
mod origins;
mod pod;
pub mod probe;
mod programs;
mod redirection;
pub mod sockets;
mod unix;
pub mod xdp;
pub use attempts::{Attempt, Attempts, Counters};
pub use ebpf_shared::{
    CONTROL_PORT, DNS_PORT, GATE_PORTS, HEALTH_PORT, INBOUND_PORT, INTAKE_PORT, MARK, PROXY_PORT,
    RESPONDER_PORT, TECHNIQUES, Technique,
};
pub use origins::Origin;
pub use pod::{Installed, Pinned, PodSpec, cgroups_of, collect, install, uninstall};
pub use redirection::{Links, Ports, Redirection};

use origins::Origins;
use programs::{Programs, Scope};
use unix::AddressedDatagrams;

#[cfg(test)]
mod tests;

/// The object that `cargo xtask ebpf` builds from `ebpf/programs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../programs/prebuilt/tollgate.bpf.o"
));

/// One for the process: making a loader reads and parses all types of the kernel, which takes longer than the rest,
/// although no program of ours asks for one.
static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    Mutex::new(loader)
});

/// Does ahead of the first [`Enforcement::attach`] what needs no run: call it on a thread when the gate starts.
///
/// Attaching without it only takes longer (some 20 ms, once in a process).
pub fn prepare() {
    LazyLock::force(&LOADER);
    aya::features();
}

/// Why the kernel cannot redirect; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// The process may not load programs.
    #[error(
        "loading the kernel program {program} is not permitted: the gate needs CAP_BPF and CAP_NET_ADMIN \
         (run as root, or give both), and the kernel must not be locked down"
    )]
    Privilege {
        /// The program or map that was refused.
        program: String,
    },
    /// The kernel lacks a program type or hook.
    #[error(
        "this kernel cannot run {program}: 5.12 or newer with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL is needed: {source}"
    )]
    Kernel {
        /// The program or map that the kernel does not know.
        program: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The descriptor is no cgroup v2 folder, or the kernel refused to attach there.
    #[error(
        "cannot attach {program} to the cgroup: it must be a folder of a cgroup2 mount: {source}"
    )]
    Attach {
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not tell network namespaces apart.
    #[error(
        "this kernel does not name its network namespaces (SO_NETNS_COOKIE: {0}): attaching to cgroups of the host \
         needs 5.14 or newer; use the explicit proxy instead"
    )]
    Network(io::Error),
    /// What was open at a detachment cannot be listed.
    #[error("the connections under way cannot be read from the kernel: {0}")]
    Forget(Box<dyn std::error::Error + Send + Sync>),
    /// The built object and this loader do not belong together.
    #[error("the built-in kernel object lacks {0}: rebuild it with `cargo xtask ebpf`")]
    Object(&'static str),
    /// A map does not take what it is given, or does not give what it holds.
    #[error("the map {name} of the kernel programs cannot be used: {source}")]
    Map {
        /// The map.
        name: &'static str,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Pins cannot be made at the path.
    #[error(
        "{} is not in a bpffs, where pins are kept: mount one there (mount -t bpf bpf /sys/fs/bpf) and, in a \
         container, hand in that of the node", .0.display()
    )]
    NoBpffs(PathBuf),
    /// A pin cannot be made, read or removed.
    #[error("cannot {act} {}: {source}", .at.display())]
    Pin {
        /// What was tried.
        act: &'static str,
        /// Where.
        at: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What is pinned was made by another version.
    #[error(
        "{} was pinned by a version that these programs cannot work with: restart the pod, or remove its programs \
         first with `tollgate-init uninstall`", .0.display()
    )]
    Layout(PathBuf),
    /// Which cgroup the gate is in cannot be established.
    #[error(
        "the kernel does not tell in which cgroup this process is (sock_diag, INET_DIAG_CGROUP_ID: {0}): the gate \
         cannot exempt itself; 5.8 or newer with CONFIG_INET_DIAG is needed, and a seccomp profile that lets \
         netlink sockets be made"
    )]
    OwnCgroup(io::Error),
}

/// The ports at which the gate of a run listens inside, besides 53, which every connect to is sent to the responder at:
/// nobody inside connects to them by name or binds them. Who binds port 53 takes nothing from the gate: the names that
/// are asked for go to the responder whoever else listens.
const RUN_PORTS: [u32; 2] = [INTAKE_PORT as u32, RESPONDER_PORT as u32];

/// The kernel programs of one run. They are detached when this is dropped.
#[derive(Debug)]
pub struct Enforcement {
    _links: Vec<OwnedFd>,
    _datagrams: Option<AddressedDatagrams>,
    origins: Origins,
    attempts: Option<Attempts>,
    counters: Option<Counters>,
}

impl Enforcement {
    /// Loads all programs and attaches them to `cgroup`, an open folder of a cgroup v2 mount.
    ///
    /// From then on every socket that a process in it makes is governed. Nothing is pinned. Socket options and packets
    /// are not looked at: there is no interface to leave by.
    ///
    /// # Errors
    /// When the kernel, the privileges or the folder do not allow it. Nothing stays attached then.
    pub fn attach(cgroup: BorrowedFd<'_>) -> Result<Self, EbpfError> {
        let mut programs = {
            let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
            Programs::load(&mut loader, Scope::Host)?
        };
        programs.fill("GATE_PORTS", &RUN_PORTS)?;
        let links = programs.attach(cgroup)?;
        let (origins, attempts) = (programs.origins()?, programs.attempts()?);
        let counters = programs.counters()?;
        // On an older kernel the run does without such sockets: it tries whether they are refused.
        let datagrams = AddressedDatagrams::refuse(cgroup).ok();
        // A link holds its program, and that its maps.
        Ok(Self {
            _links: links,
            _datagrams: datagrams,
            origins,
            attempts: Some(attempts),
            counters: Some(counters),
        })
    }

    /// Where the connection that comes from `peer` wanted to go, or nothing: then it must be closed.
    ///
    /// One system call; may be called from any thread.
    #[must_use]
    pub fn original_dst(&self, peer: SocketAddr) -> Option<SocketAddr> {
        self.origins.of(peer).map(|origin| origin.wanted)
    }

    /// What the programs refuse from now on, for one reader: nothing when it was taken before.
    pub fn attempts(&mut self) -> Option<Attempts> {
        self.attempts.take()
    }

    /// How often they refused, for one reader: nothing when it was taken before.
    pub fn counters(&mut self) -> Option<Counters> {
        self.counters.take()
    }
}
