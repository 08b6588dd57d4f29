//! Loads the kernel programs, attaches them to cgroups, and reads where connections wanted to go.
//!
//! [`Enforcement`] is one run's, in a network of its own. [`Redirection`] is a service's: loaded once for its ports and
//! attached to any number of cgroups of the host.

use std::{
    net::SocketAddr,
    os::fd::BorrowedFd,
    sync::{LazyLock, Mutex, PoisonError},
};

use aya::EbpfLoader;

mod origins;
pub mod probe;
mod programs;
mod redirection;
pub use origins::Origin;
pub use redirection::{Links, Ports, Redirection};

use origins::Origins;
use programs::{ProgramLink, Programs};

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
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel does not tell network namespaces apart.
    #[error(
        "this kernel does not name its network namespaces (SO_NETNS_COOKIE: {0}): attaching to cgroups of the host \
         needs 5.14 or newer; use the explicit proxy instead"
    )]
    Network(std::io::Error),
    /// What was open at a detachment cannot be listed.
    #[error("the connections under way cannot be read from the kernel: {0}")]
    Forget(Box<dyn std::error::Error + Send + Sync>),
    /// The built object and this loader do not belong together.
    #[error("the built-in kernel object lacks {0}: rebuild it with `cargo xtask ebpf`")]
    Object(&'static str),
}

/// The kernel programs of one run. They are detached when this is dropped.
#[derive(Debug)]
pub struct Enforcement {
    _links: Vec<ProgramLink>,
    origins: Origins,
}

impl Enforcement {
    /// Loads all programs and attaches them to `cgroup`, an open folder of a cgroup v2 mount.
    ///
    /// From then on every socket that a process in it makes is governed. Nothing is pinned.
    ///
    /// # Errors
    /// When the kernel, the privileges or the folder do not allow it. Nothing stays attached then.
    pub fn attach(cgroup: BorrowedFd<'_>) -> Result<Self, EbpfError> {
        let mut programs = {
            let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
            Programs::load(&mut loader)?
        };
        let links = programs.attach(cgroup)?;
        let origins = programs.origins()?;
        // A link holds its program, and that its maps.
        Ok(Self { _links: links, origins })
    }

    /// Where the connection that comes from `peer` wanted to go, or nothing: then it must be closed.
    ///
    /// One system call; may be called from any thread.
    #[must_use]
    pub fn original_dst(&self, peer: SocketAddr) -> Option<SocketAddr> {
        self.origins.of(peer).map(|origin| origin.wanted)
    }
}
