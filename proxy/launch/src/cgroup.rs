//! Finds cgroups through the mounts of their hierarchy; makes the run's, and removes it and those that killed runs
//! left behind.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

/// What every run's folder is called, before its front's process id and start time.
const PREFIX: &str = "tollgate-";

/// A cgroup v2 folder of one run; removed when dropped. Its descriptor holds a lock that says it is in use, also to
/// processes of other PID namespaces.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    folder: OwnedFd,
}

impl Cgroup {
    /// Makes a folder below the cgroup of this process, in whatever cgroup v2 mount can be written.
    ///
    /// # Errors
    /// When none can be, with why.
    pub fn create() -> Result<Self, String> {
        let mut why = "no cgroup2 mount".to_owned();
        for parent in own_cgroup_folders().map_err(|error| error.to_string())? {
            sweep(&parent);
            match Self::create_in(&parent) {
                Ok(made) => return Ok(made),
                Err(error) => why = format!("{}: {error}", parent.display()),
            }
        }
        Err(why)
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        let path = parent.join(format!("{PREFIX}{pid}-{}", started(pid)?));
        loop {
            match fs::create_dir(&path) {
                // One of that name is a run's in another PID namespace, or is being swept away.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && sweep_one(&path) => {}
                made => made?,
            }
            let Some(folder) = opened(&path)? else { continue };
            rustix::fs::flock(&folder, FlockOperation::LockExclusive)?;
            // Whoever held the lock until now may have removed what nobody had claimed yet.
            if is_at(&folder, &path)? {
                return Ok(Self { path, folder });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The processes inside are dead; what the kernel has not let go yet, the next run sweeps away.
        crate::sys::tolerate(fs::remove_dir(&self.path));
    }
}

/// One mount of the cgroup v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// The cgroup at its top, as `/proc/PID/cgroup` writes it.
    pub root: PathBuf,
    /// Where that is.
    pub point: PathBuf,
}

impl CgroupMount {
    /// The folder of `cgroup`, if it is below what is mounted here. It may not exist.
    #[must_use]
    pub fn folder_of(&self, cgroup: &Path) -> Option<PathBuf> {
        let below = cgroup.strip_prefix(&self.root).ok()?;
        Some(self.point.components().chain(below.components()).collect())
    }

    /// The cgroup whose folder this would be, as `/proc/PID/cgroup` writes it.
    #[must_use]
    pub fn cgroup_at(&self, folder: &Path) -> Option<PathBuf> {
        let below = folder.strip_prefix(&self.point).ok()?;
        Some(self.root.components().chain(below.components()).collect())
    }
}

/// All mounts of the cgroup v2 hierarchy that this process sees.
///
/// # Errors
/// When the list of mounts cannot be read.
pub fn cgroup_mounts() -> io::Result<Vec<CgroupMount>> {
    Ok(mounts_in(&fs::read("/proc/self/mountinfo")?))
}

/// The cgroup of this process, as `/proc/self/cgroup` writes it; nothing where the kernel has no cgroup v2.
///
/// # Errors
/// When that cannot be read.
pub fn own_cgroup() -> io::Result<Option<PathBuf>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    Ok(own.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from))
}

/// Where the cgroup of this process is seen, mount by mount; the top of a mount that does not show it.
fn own_cgroup_folders() -> io::Result<Vec<PathBuf>> {
    let own = own_cgroup()?.unwrap_or_else(|| PathBuf::from("/"));
    Ok(folders(&cgroup_mounts()?, &own))
}

fn mounts_in(mountinfo: &[u8]) -> Vec<CgroupMount> {
    let all = crate::mountinfo::read(mountinfo).into_iter();
    all.filter(|mount| mount.kind == "cgroup2")
        .map(|mount| CgroupMount { root: mount.root, point: mount.point })
        .collect()
}

fn folders(mounts: &[CgroupMount], own: &Path) -> Vec<PathBuf> {
    let all = mounts.iter();
    all.map(|mount| mount.folder_of(own).unwrap_or_else(|| mount.point.clone())).collect()
}

/// Removes the folders of runs that have ended; one in use cannot be removed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let of_a_run = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'))
            .is_some_and(|(pid, start)| [pid, start].iter().all(|word| is_number(word)));
        if of_a_run {
            sweep_one(&entry.path());
        }
    }
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes the folder of a run if nobody has it locked: its process may be of another PID namespace and unknown here,
/// so that its number says nothing. Whether it is gone.
fn sweep_one(path: &Path) -> bool {
    let Ok(Some(folder)) = opened(path) else { return !path.exists() };
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        && fs::remove_dir(path).is_ok()
}

/// A folder, if it is there.
fn opened(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether this folder is still the one of that path.
fn is_at(folder: &OwnedFd, path: &Path) -> io::Result<bool> {
    let (ours, there) = (rustix::fs::fstat(folder)?, rustix::fs::stat(path));
    match there {
        Ok(there) => Ok((ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// When a process was started, in clock ticks since boot (field 22 of its `stat`).
fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok()).ok_or_else(
        || io::Error::new(io::ErrorKind::InvalidData, "the process's stat has no start time"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_swept_away_once_nobody_holds_it_whoever_its_process_is() {
        let parent = tempfile::tempdir().unwrap();
        // No process of this machine has that number, as one of another PID namespace may not have here.
        let path = parent.path().join("tollgate-4194999-7");
        fs::create_dir(&path).unwrap();
        let held = opened(&path).unwrap().unwrap();
        rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
        sweep(parent.path());
        assert!(path.exists(), "a run lost its folder");
        drop(held);
        sweep(parent.path());
        assert!(!path.exists(), "what a killed run left is still there");
    }

    #[test]
    fn what_is_no_runs_folder_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let names = ["tollgate-gate-1", "tollgate-1", "tollgate-1-", "other-1-2"];
        for name in names {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        sweep(parent.path());
        assert!(names.iter().all(|name| parent.path().join(name).exists()));
    }

    #[test]
    fn a_folder_that_is_made_while_others_sweep_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(parent.path());
                }
            });
            for _ in 0..2_000 {
                let made = Cgroup::create_in(parent.path()).unwrap();
                assert!(is_at(&made.folder, &made.path).unwrap(), "it was swept away");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    const HYBRID: &str = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                          32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";

    fn seen(mountinfo: &str, own: &str) -> Vec<PathBuf> {
        folders(&mounts_in(mountinfo.as_bytes()), Path::new(own))
    }

    #[test]
    fn the_unified_mount_of_a_hybrid_system_is_found() {
        assert_eq!(seen(HYBRID, "/user.slice"), [Path::new("/sys/fs/cgroup/unified/user.slice")]);
    }

    #[test]
    fn a_mount_of_a_subtree_is_seen_from_its_root() {
        let mounts = "41 31 0:38 /pod /sys/fs/cgroup rw shared:3 - cgroup2 cgroup2 rw\n";
        assert_eq!(seen(mounts, "/pod/agent"), [Path::new("/sys/fs/cgroup/agent")]);
    }

    #[test]
    fn a_cgroup_beside_the_mounted_one_is_not_taken_for_one_below() {
        let mounts = "41 31 0:38 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let mounts = mounts_in(mounts.as_bytes());
        assert_eq!(mounts[0].folder_of(Path::new("/podling")), None);
        assert_eq!(folders(&mounts, Path::new("/podling")), [Path::new("/sys/fs/cgroup")]);
    }

    #[test]
    fn a_folder_and_its_cgroup_are_found_from_each_other() {
        for (mount, cgroup, folder) in [
            (
                "/ /sys/fs/cgroup",
                "/system.slice/a.service",
                "/sys/fs/cgroup/system.slice/a.service",
            ),
            ("/ /sys/fs/cgroup", "/", "/sys/fs/cgroup"),
            ("/pod /c\\040g", "/pod/agent", "/c g/agent"),
            ("/pod /c\\040g", "/pod", "/c g"),
        ] {
            let line = format!("41 31 0:38 {mount} rw - cgroup2 cgroup2 rw\n");
            let mount = &mounts_in(line.as_bytes())[0];
            assert_eq!(mount.folder_of(Path::new(cgroup)).unwrap(), Path::new(folder));
            assert_eq!(mount.cgroup_at(Path::new(folder)).unwrap(), Path::new(cgroup));
        }
    }

    #[test]
    fn without_cgroup2_there_is_no_place() {
        assert!(
            seen("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "/").is_empty()
        );
    }
}
