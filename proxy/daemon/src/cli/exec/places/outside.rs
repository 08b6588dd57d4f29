//! Finds helpers that are no sockets: FIFOs that somebody outside may read, file systems that others share.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use launch::Mounted;

use super::walk;

/// Network and shared file systems, and points where one is mounted when it is named: a name that is looked up there
/// leaves the machine.
const SHARED: [&str; 17] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "coda",
    "ceph",
    "lustre",
    "glusterfs",
    "beegfs",
    "gpfs",
    "9p",
    "virtiofs",
    "vboxsf",
    "autofs",
];

/// File systems in a process of this machine that are only that.
const LOCAL_FUSE: [&str; 6] = [
    "fuse.lxcfs",
    "fuse.snapfuse",
    "fuse.squashfuse",
    "fuse.fuse-overlayfs",
    "fuse.mergerfs",
    "fuse.ntfs-3g",
];

/// Below these, mounts are the system's own.
const OF_SYSTEM: [&str; 8] = ["/proc", "/sys", "/dev", "/boot", "/efi", "/usr", "/lib", "/etc"];

/// Where FIFOs of programs lie, with how many levels of folders.
const FIFO_FOLDERS: [(&str, usize); 4] = [("/tmp", 2), ("/var/tmp", 1), ("/run", 2), ("/dev", 0)];

/// What of the outside a command could speak to by its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Helpers {
    /// Hidden, with what it is.
    pub(super) hidden: Vec<(PathBuf, String)>,
    /// Kept, because the run is at home there.
    pub(super) kept: Vec<(PathBuf, String)>,
}

/// Sorts the shared file systems into those that hide and those that one of `needed` lies on.
pub(super) fn file_systems(
    mounts: &[Mounted],
    needed: &[PathBuf],
    given: impl Fn(&Path) -> bool,
) -> Helpers {
    let mut found = Helpers::default();
    for Mounted { point, kind, .. } in mounts {
        let fuse = kind.starts_with("fuse.") && !LOCAL_FUSE.contains(&kind.as_str());
        let system = point == Path::new("/") || OF_SYSTEM.iter().any(|top| point.starts_with(top));
        if system || !(fuse || SHARED.contains(&kind.as_str())) || given(point) {
            continue;
        }
        let one = (point.clone(), kind.clone());
        let list = if needed.iter().any(|path| path.starts_with(point)) {
            &mut found.kept
        } else {
            &mut found.hidden
        };
        // A point that is mounted twice, as an automount with what it mounted, is one.
        list.retain(|(other, _)| *other != one.0);
        list.push(one);
    }
    found
}

/// FIFOs of the folders that programs put them in, which anybody but root may open at all.
pub(super) fn fifos(home: Option<&Path>, skipped: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = [(home.map(Path::to_owned), 1), (runtime, 2)];
    let folders = FIFO_FOLDERS.iter().map(|(path, depth)| (PathBuf::from(path), *depth));
    let own = own.into_iter().filter_map(|(path, depth)| Some((path?, depth)));
    folders
        .chain(own)
        .filter_map(|(path, depth)| Some((path.canonicalize().ok()?, depth)))
        .flat_map(|(path, depth)| walk::fifos(&path, depth, &skipped))
        .filter(|fifo| fifo.metadata().is_ok_and(|found| found.mode() & 0o777 != 0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(point: &str, kind: &str) -> Mounted {
        Mounted { root: "/".into(), point: point.into(), kind: kind.into() }
    }

    #[test]
    fn what_others_share_is_hidden_unless_the_run_is_at_home_there_or_the_user_gave_it() {
        let mounts = [
            mounted("/", "virtiofs"),
            mounted("/proc/sys/fs/binfmt_misc", "autofs"),
            mounted("/home/u", "nfs4"),
            mounted("/net", "autofs"),
            mounted("/mnt/box", "autofs"),
            mounted("/mnt/box", "fuse.sshfs"),
            mounted("/mnt/given", "cifs"),
            mounted("/snap/core/1", "fuse.snapfuse"),
            mounted("/data", "ext4"),
        ];
        let needed = ["/home/u/project".into(), "/home/u".into()];
        let found = file_systems(&mounts, &needed, |path| path.starts_with("/mnt/given"));
        let named = |path: &str, kind: &str| (PathBuf::from(path), kind.to_owned());
        assert_eq!(found.hidden, [named("/net", "autofs"), named("/mnt/box", "fuse.sshfs")]);
        assert_eq!(found.kept, [named("/home/u", "nfs4")]);
    }
}
