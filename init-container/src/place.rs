//! Where a pod is: its folder of the cgroup v2 tree, found by inode and proven to be this pod's alone.
//!
//! The inode of a cgroup's folder is its id, in every mount of the hierarchy. So the folder that a container sees as
//! its root is found again in the node's tree without knowing how the runtime names things, and the folder above it is
//! the pod's: of all its containers, also of those that are started later.

mod shared;
mod tree;

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use ebpf::sockets;

pub use shared::Shared;
pub(crate) use shared::{all_members, members};
pub(crate) use tree::own_id;
pub use tree::{HOST, Tree};

#[cfg(test)]
mod tests;

/// A cgroup folder that belongs to one pod.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    below: PathBuf,
    id: u64,
    open: File,
}

/// Where to look, and what is known of the pod.
#[derive(Debug, Clone)]
pub struct View {
    /// The node's tree; the usual places where it is nothing.
    pub root: Option<PathBuf>,
    /// A `/proc`, in which processes that are seen are looked up.
    pub processes: PathBuf,
    /// The pod's unique id, which runtimes write into the name of its folder.
    pub pod: Option<String>,
}

/// Why a pod's folder is not known.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// There is no tree to look in.
    #[error(
        "the node's cgroup v2 tree is not to be seen at {0}: mount the host's /sys/fs/cgroup there, read-only, \
         or name another with --cgroup-root"
    )]
    Tree(String),
    /// The tree does not hold this container.
    #[error(
        "the cgroup of this container (id {id}) is not in the tree at {root}: \
         mount the whole of the host's /sys/fs/cgroup, not a part of it"
    )]
    NotThere {
        /// The cgroup's id.
        id: u64,
        /// Where it was looked for.
        root: String,
    },
    /// All containers of the node are in one folder.
    #[error(
        "this node makes no cgroup v2 folder per pod (this container is in {0}): \
         run `tollgate-init node` as the node's agent, which makes one"
    )]
    NoneOfItsOwn(String),
    /// Somebody else is there too.
    #[error(
        "the cgroup {folder} is not this pod's alone: {why}; it is never attached to (a node that makes no folder for each \
         pod closes it itself: tollgate-init node)"
    )]
    Shared {
        /// The folder.
        folder: String,
        /// What shows it.
        why: Shared,
    },
    /// A folder that was named is no cgroup.
    #[error("{0} is no folder of a cgroup v2 mount")]
    NotACgroup(String),
    /// A rule cannot name a cgroup from here.
    #[error(
        "a rule cannot name the gate's cgroup from within a container before kernel 6.12: run `tollgate-init node` as \
         the node's agent"
    )]
    Namespace,
    /// The kernel's lists cannot be read.
    #[error("cannot read {what}: {source}")]
    Io {
        /// What was read.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl PlaceError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Place {
    /// Finds the pod's folder of the calling process.
    ///
    /// # Errors
    /// When it cannot be seen, or is not the pod's alone.
    pub fn find(view: &View) -> Result<Self, PlaceError> {
        let tree = Tree::open(view.root.as_deref())?;
        let id = own_id()?;
        if id == tree.top() {
            return Err(PlaceError::NoneOfItsOwn("/".to_owned()));
        }
        let container = tree.folder(id)?;
        let folder = tree.pod(&container, view.pod.as_deref())?;
        Self::prove(&tree, &folder, view, false)
    }

    /// The folder at `path`, which somebody named.
    ///
    /// # Errors
    /// When it is no cgroup, the top of the tree, or holds processes of another network.
    pub fn named(path: &Path, view: &View) -> Result<Self, PlaceError> {
        let tree = Tree::around(path)?;
        Self::prove(&tree, path, view, true)
    }

    fn prove(tree: &Tree, folder: &Path, view: &View, named: bool) -> Result<Self, PlaceError> {
        let what = || folder.display().to_string();
        let open = File::open(folder).map_err(PlaceError::io(what()))?;
        let id = open.metadata().map_err(PlaceError::io(what()))?.ino();
        let known = view.pod.as_deref().is_some_and(|pod| tree::is_of(folder, pod));
        let shared = |why| PlaceError::Shared { folder: what(), why };
        if id == tree.top() {
            return Err(shared(Shared::Top));
        }
        if !known {
            let network = network().map_err(PlaceError::io("the own network namespace"))?;
            if let Some(why) = shared::check(folder, &view.processes, network, named)? {
                return Err(shared(why));
            }
        }
        let below = tree.below(folder);
        Ok(Self { folder: folder.to_owned(), below, id, open })
    }

    /// Its path in the tree that was looked at.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its path below the top of the tree, without a leading slash.
    #[must_use]
    pub fn below(&self) -> &Path {
        &self.below
    }

    /// Its id: the inode of the folder.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

/// The cgroup in which the pod's gate listens: that of the socket at `port` which belongs to `user`, the gate's. To be
/// asked before anybody else in the pod can run as that user.
///
/// # Errors
/// When the kernel does not list its sockets.
pub fn of_listener(port: u16, user: u32) -> Result<Option<u64>, PlaceError> {
    let all = sockets::listeners().map_err(PlaceError::io("the list of sockets"))?;
    let mut gates = all.into_iter().filter(|it| it.port == port && it.owner.uid == user);
    Ok(gates.find_map(|it| it.owner.cgroup))
}

/// The inode of the network namespace of the calling thread.
fn network() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}
