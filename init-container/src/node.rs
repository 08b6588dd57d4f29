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
    os::unix::fs::MetadataExt as _,
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
    let Folders { whole, gate, pod, _lock } = Folders::make(&tree, &target.pod)?;
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
        let sorted = processes::sort(&options.view.processes, inode, target.gate, &pod)
            .map_err(failed("list", &options.view.processes))?;
        let moved = processes::transfer(&sorted.gate, &gate)?;
        let others = processes::transfer(&sorted.others, &pod)?;
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
        // Somebody is at work there, and its processes come in a moment.
        if !File::open(&pod).is_ok_and(|folder| folder.try_lock().is_ok()) {
            continue;
        }
        // A gate's container that ended is not yet a pod that did.
        if is_populated(&pod) {
            continue;
        }
        // The kernel removes no cgroup that has processes, and none below which one is left.
        if remove_below(&pod) && fs::remove_dir(&pod).is_ok() {
            removed.push(pod);
        }
    }
    removed
}

/// Whether there is a process in the cgroup or below; where the kernel does not tell there is.
fn is_populated(cgroup: &Path) -> bool {
    let events = fs::read_to_string(cgroup.join("cgroup.events"));
    !events.is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
}

/// Removes the folders in it, which a container may have made more of in its own, and says whether none is left.
fn remove_below(cgroup: &Path) -> bool {
    let Ok(entries) = fs::read_dir(cgroup) else { return false };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .all(|path| remove_below(&path) && fs::remove_dir(&path).is_ok())
}

/// How often the folders are made anew, because somebody took them for those of a pod that is gone.
const TRIES: usize = 10;

/// A pod's folders, which nobody collects until this is dropped.
struct Folders {
    whole: PathBuf,
    gate: PathBuf,
    pod: PathBuf,
    _lock: File,
}

impl Folders {
    /// Makes them where they are not there.
    fn make(tree: &Tree, pod: &str) -> Result<Self, NodeError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if pod.is_empty() || !pod.chars().all(plain) {
            return Err(NodeError::Name(pod.to_owned()));
        }
        let whole = tree.root().join(FOLDER).join(pod);
        for _ in 0..TRIES {
            if let Some(lock) = Self::held(&whole).map_err(failed("make", &whole))? {
                let (gate, pod) = (whole.join("gate"), whole.join("pod"));
                for folder in [&gate, &pod] {
                    let made = DirBuilder::new().recursive(true).create(folder);
                    made.map_err(failed("make", folder))?;
                }
                return Ok(Self { whole, gate, pod, _lock: lock });
            }
        }
        Err(failed("make", &whole)(io::Error::other("somebody removes it again and again")))
    }

    /// The folder, held; nothing where it was removed before that.
    fn held(whole: &Path) -> io::Result<Option<File>> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let made = DirBuilder::new().recursive(true).create(whole).and_then(|()| File::open(whole));
        let folder = match made {
            Err(error) if gone(&error) => return Ok(None),
            made => made?,
        };
        folder.lock()?;
        let there = match fs::metadata(whole) {
            Err(error) if gone(&error) => return Ok(None),
            there => there?,
        };
        Ok((there.ino() == folder.metadata()?.ino()).then_some(folder))
    }
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
