//! Makes the run's cgroup, and removes it and those that killed runs left behind.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::error::LaunchError;

/// What every run's folder is called, before its front's process id and start time.
const PREFIX: &str = "tollgate-";

/// A cgroup v2 folder of one run; removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    folder: OwnedFd,
}

impl Cgroup {
    /// Makes a folder below the cgroup of this process, in whatever cgroup v2 mount can be written.
    pub(crate) fn create() -> Result<Self, LaunchError> {
        let failed = |why: String| LaunchError::Cgroup { why };
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| failed(error.to_string()))?;
        let own =
            fs::read_to_string("/proc/self/cgroup").map_err(|error| failed(error.to_string()))?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let mut why = "no cgroup2 mount".to_owned();
        for parent in parents(&mounts, own) {
            sweep(&parent);
            match Self::create_in(&parent) {
                Ok(made) => return Ok(made),
                Err(error) => why = format!("{}: {error}", parent.display()),
            }
        }
        Err(failed(why))
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

/// Where the cgroup `own` is seen, mount by mount.
fn parents(mounts: &str, own: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            if after.split(' ').next()? != "cgroup2" {
                return None;
            }
            let below = if root == "/" { own } else { own.strip_prefix(root).unwrap_or("/") };
            Some(Path::new(&crate::mountinfo::unescape(point)).join(below.trim_start_matches('/')))
        })
        .collect()
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

    #[test]
    fn the_unified_mount_of_a_hybrid_system_is_found() {
        assert_eq!(
            parents(HYBRID, "/user.slice"),
            [Path::new("/sys/fs/cgroup/unified/user.slice")]
        );
    }

    #[test]
    fn a_mount_of_a_subtree_is_seen_from_its_root() {
        let mounts = "41 31 0:38 /pod /sys/fs/cgroup rw shared:3 - cgroup2 cgroup2 rw\n";
        assert_eq!(parents(mounts, "/pod/agent"), [Path::new("/sys/fs/cgroup/agent")]);
    }

    #[test]
    fn without_cgroup2_there_is_no_place() {
        assert!(
            parents("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "/").is_empty()
        );
    }
}
