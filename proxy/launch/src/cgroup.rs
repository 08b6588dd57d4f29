//! Finds cgroups through the mounts of their hierarchy; makes the run's, and removes it and those that killed runs
//! left behind.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

/// What every run's folder is called, before its front's process id and start time.
const PREFIX: &str = "tollgate-";

/// A cgroup v2 folder of one run; removed when dropped.
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
        fs::create_dir(&path)?;
        let folder = rustix::fs::open(
            &path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { path, folder })
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

/// Removes the folders of runs whose front has ended; one in use cannot be removed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((pid, start)) =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'))
        else {
            continue;
        };
        let alive =
            pid.parse().is_ok_and(|pid| started(pid).is_ok_and(|at| at.to_string() == start));
        if !alive {
            crate::sys::tolerate(fs::remove_dir(entry.path()));
        }
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
