//! The node's agent: makes a cgroup of its own for a pod where the node makes none, and installs from outside.
//!
//! Below the top of the tree lie `tollgate/POD/gate` and `tollgate/POD/pod`. The floor comes into force first, then the
//! programs at `tollgate/POD`, then every process of the pod's network moves there. A socket that a process made before
//! it was moved stays with the cgroup it was made in: it is not redirected, and what it sends ends at the floor; so a
//! gate is to open its sockets after the first pass. Passes may be repeated.

mod processes;

use std::{
    fs::{self, DirBuilder, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};
use serde::Serialize;

use crate::{
    capability::{self, SYS_ADMIN},
    install::{self, InstallError, Options},
    place::{PlaceError, Tree, View},
};

pub use processes::Known;

/// The folder of all pods that were given one.
const FOLDER: &str = "tollgate";

/// How often processes are looked for anew: those that were started meanwhile by one that had not moved yet.
const PASSES: usize = 5;

/// Whose network, and how the gate is known in it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The pod's network namespace, as a file.
    pub network: PathBuf,
    /// The name of its folder.
    pub pod: String,
    /// Which of its processes are the gate's.
    pub gate: Known,
}

/// What a pass did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Processes that were moved into the gate's folder.
    pub gate: Vec<u32>,
    /// Processes that were moved into the pod's.
    pub moved: Vec<u32>,
    /// The installation.
    #[serde(flatten)]
    pub installed: install::Report,
}

/// Why a pass ended early; what it had done closes the pod.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A capability is missing.
    #[error("{0}")]
    Capability(String),
    /// A name that leads elsewhere.
    #[error("{0:?} is no name of a pod: use its uid, of letters, digits, dashes and underscores")]
    Name(String),
    /// The tree.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The node's own network.
    #[error("{0} is the node's own network: name a pod's")]
    Own(String),
    /// Something of the kernel.
    #[error("cannot {act} {path}: {source}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The installation.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Puts the pod behind its gate from outside.
///
/// # Errors
/// When a step cannot be done.
pub fn install(target: &Target, options: &Options) -> Result<Report, NodeError> {
    if let Some(missing) = capability::missing(&[SYS_ADMIN]) {
        return Err(NodeError::Capability(missing));
    }
    let tree = Tree::open(options.view.root.as_deref())?;
    let network = File::open(&target.network).map_err(failed("open", &target.network))?;
    let inode = processes::inode(&network).map_err(failed("look at", &target.network))?;
    let own = File::open("/proc/thread-self/ns/net").and_then(|own| processes::inode(&own));
    if own.is_ok_and(|own| own == inode) {
        return Err(NodeError::Own(target.network.display().to_string()));
    }
    let (whole, gate) = folders(&tree, &target.pod)?;
    let options = Options {
        cgroups: vec![whole.clone()],
        gate_cgroup: Some(gate.clone()),
        view: View { pod: Some(target.pod.clone()), ..options.view.clone() },
        probe: false,
        ..options.clone()
    };
    let installed = within(&network, &target.network, || install::install(&options))??;
    let (mut to_gate, mut to_pod) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        let sorted = processes::sort(&options.view.processes, inode, target.gate)
            .map_err(failed("list", &options.view.processes))?;
        let moved = processes::transfer(&sorted.gate, &gate)?;
        let others = processes::transfer(&sorted.others, &whole.join("pod"))?;
        let settled = moved.is_empty() && others.is_empty();
        to_gate.extend(moved);
        to_pod.extend(others);
        if settled {
            break;
        }
    }
    Ok(Report { gate: to_gate, moved: to_pod, installed })
}

/// Removes the folders of pods in which nobody is any more, and says which.
pub(crate) fn sweep(tree: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(tree.join(FOLDER)) else { return Vec::new() };
    let mut removed = Vec::new();
    for pod in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        // The kernel removes no cgroup that has processes, and none below which one is left.
        let emptied = ["gate", "pod"].iter().all(|name| {
            let below = pod.join(name);
            !below.exists() || fs::remove_dir(below).is_ok()
        });
        if emptied && fs::remove_dir(&pod).is_ok() {
            removed.push(pod);
        }
    }
    removed
}

/// Makes the pod's folders; which is the whole one, and which the gate's.
fn folders(tree: &Tree, pod: &str) -> Result<(PathBuf, PathBuf), NodeError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if pod.is_empty() || !pod.chars().all(plain) {
        return Err(NodeError::Name(pod.to_owned()));
    }
    let whole = tree.root().join(FOLDER).join(pod);
    let gate = whole.join("gate");
    for folder in [&gate, &whole.join("pod")] {
        DirBuilder::new().recursive(true).create(folder).map_err(failed("make", folder))?;
    }
    Ok((whole, gate))
}

/// Does `work` on a thread in that network.
fn within<T: Send>(
    network: &File,
    path: &Path,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NodeError> {
    thread::scope(|scope| {
        let entered = || setns(network, CloneFlags::CLONE_NEWNET).map(|()| work());
        match scope.spawn(entered).join() {
            Ok(done) => done.map_err(io::Error::from),
            Err(_) => Err(io::Error::other("its thread panicked")),
        }
    })
    .map_err(failed("enter", path))
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NodeError {
    let path = path.display().to_string();
    move |source| NodeError::Io { act, path, source }
}
