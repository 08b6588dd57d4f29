//! The cgroup v2 tree of the node, as far as it is mounted here.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use ebpf::sockets;

use super::PlaceError;

/// Where a container sees the node's `/sys/fs/cgroup` unless another place is named.
pub const HOST: &str = "/host/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` (linux/magic.h).
const CGROUP2: u64 = 0x6367_7270;

/// How deep a tree is looked through; the kernel itself allows more, no runtime uses it.
const DEEPEST: usize = 32;

/// A mount of the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: PathBuf,
    top: u64,
}

impl Tree {
    /// The node's tree: at `root`, else at [`HOST`], else the widest that is mounted here. On a node with both
    /// hierarchies the second is the folder `unified` of the first.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(root: Option<&Path>) -> Result<Self, PlaceError> {
        let usual = [PathBuf::from(HOST)];
        let named = root.map(|root| vec![root.to_owned()]);
        let mounts = || launch::cgroup_mounts().unwrap_or_default().into_iter().map(|at| at.point);
        let looked: Vec<_> = named.unwrap_or_else(|| usual.into_iter().chain(mounts()).collect());
        let mut found: Vec<_> = looked
            .iter()
            .flat_map(|at| [at.clone(), at.join("unified")])
            .filter_map(|root| Self::at(&root))
            .collect();
        // The top of the hierarchy is folder 1; a namespace's own view begins further down.
        found.sort_by_key(|tree| tree.top != 1);
        found.into_iter().next().ok_or_else(|| {
            let looked: Vec<_> = looked.iter().map(|at| at.display().to_string()).collect();
            PlaceError::Tree(looked.join(", "))
        })
    }

    /// The tree that `folder` is in, from the highest folder that is seen.
    pub(crate) fn around(folder: &Path) -> Result<Self, PlaceError> {
        let not = || PlaceError::NotACgroup(folder.display().to_string());
        let folder =
            fs::canonicalize(folder).map_err(PlaceError::io(folder.display().to_string()))?;
        let highest = folder.ancestors().map_while(Self::at).last();
        highest.ok_or_else(not)
    }

    fn at(root: &Path) -> Option<Self> {
        let kind = rustix::fs::statfs(root).ok()?.f_type;
        if u64::try_from(kind).ok()? != CGROUP2 {
            return None;
        }
        Some(Self { root: root.to_owned(), top: fs::metadata(root).ok()?.ino() })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The id of its highest folder that is seen.
    pub(crate) const fn top(&self) -> u64 {
        self.top
    }

    /// The path of `folder` below the root.
    pub(crate) fn below(&self, folder: &Path) -> PathBuf {
        folder.strip_prefix(&self.root).unwrap_or(folder).to_owned()
    }

    /// The folder of the cgroup `id`.
    ///
    /// # Errors
    /// When it is not in this tree.
    pub fn folder(&self, id: u64) -> Result<PathBuf, PlaceError> {
        let mut level = vec![self.root.clone()];
        for _ in 0..DEEPEST {
            let mut next = Vec::new();
            for folder in level {
                // A cgroup that has gone meanwhile is not the one of a process that is looking.
                let Ok(entries) = fs::read_dir(&folder) else { continue };
                for entry in entries.flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        if entry.metadata().is_ok_and(|at| at.ino() == id) {
                            return Ok(entry.path());
                        }
                        next.push(entry.path());
                    }
                }
            }
            level = next;
        }
        Err(PlaceError::NotThere { id, root: self.root.display().to_string() })
    }

    /// The pod's folder, of which `container` is one container's: the nearest above that is called after the pod, else
    /// the parent.
    pub(super) fn pod(&self, container: &Path, pod: Option<&str>) -> Result<PathBuf, PlaceError> {
        let above = || container.ancestors().skip(1).take_while(|at| at.starts_with(&self.root));
        let called = pod.and_then(|pod| above().find(|at| is_of(at, pod)));
        let folder = called.or_else(|| above().next()).ok_or_else(|| PlaceError::NotThere {
            id: self.top,
            root: self.root.display().to_string(),
        })?;
        if folder == self.root {
            return Err(PlaceError::NoneOfItsOwn(format!("/{}", self.below(container).display())));
        }
        Ok(folder.to_owned())
    }
}

/// Whether the folder is called after the pod; systemd writes the dashes of its id as underscores.
pub(super) fn is_of(folder: &Path, pod: &str) -> bool {
    let name = folder.file_name().map(|name| name.to_string_lossy().replace('_', "-"));
    pod.len() >= SHORTEST && name.is_some_and(|name| name.contains(&pod.replace('_', "-")))
}

/// A shorter id proves nothing: it could be part of any name.
const SHORTEST: usize = 8;

/// The id of the cgroup of the calling process.
pub(crate) fn own_id() -> Result<u64, PlaceError> {
    let own =
        launch::own_cgroup().map_err(PlaceError::io("/proc/self/cgroup"))?.ok_or_else(|| {
            PlaceError::Tree("/proc/self/cgroup (the kernel has no cgroup v2)".to_owned())
        })?;
    let mounts = launch::cgroup_mounts().map_err(PlaceError::io("/proc/self/mountinfo"))?;
    // A mount of a folder above this namespace has a root that begins with `/..`, and shows no folder of ours.
    let seen = mounts.iter().filter_map(|mount| mount.folder_of(&own));
    let mut seen = seen.filter_map(|folder| fs::metadata(folder).ok());
    let seen = seen.next().map(|at| at.ino());
    seen.map_or_else(|| sockets::own_cgroup().map_err(PlaceError::io("the list of sockets")), Ok)
}
