//! What the kernel offers, and what this process may ask of it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ebpf::{EbpfError, Enforcement};
use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;

use super::Item;

/// The first kernel with everything that the programs use.
const OLDEST: (u32, u32) = (5, 12);
/// What the gate needs beside what `exec` does ([`launch::NEEDED`]): it loads the programs.
const GATE: (CapabilitySet, &str) = (CapabilitySet::BPF, "CAP_BPF");

/// The kernel's version.
pub(super) fn version() -> Item {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    judge_version(&release)
}

fn judge_version(release: &str) -> Item {
    const NAME: &str = "kernel";
    let mut parts = release.split(['.', '-']);
    let mut number = || parts.next()?.parse::<u32>().ok();
    match (number(), number()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Item::good(NAME, release),
        (Some(_), Some(_)) => Item::failure(
            NAME,
            format!("{release} is too old: {}.{} or newer is needed", OLDEST.0, OLDEST.1),
            "upgrade the kernel, then: tollgate check",
        ),
        (_, _) => Item::warning(
            NAME,
            format!("{release} is a version that cannot be compared"),
            "uname -a",
        ),
    }
}

/// What this process lacks of what the kernel programs take, by name.
pub(super) fn lacking() -> Vec<&'static str> {
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    missing(held)
}

fn missing(held: CapabilitySet) -> Vec<&'static str> {
    let needed = launch::NEEDED.iter().chain([&GATE]);
    needed.filter(|(one, _)| !held.contains(*one)).map(|(_, name)| *name).collect()
}

/// Whether a cgroup of version 2 can be made for a run.
pub(super) fn cgroup() -> Item {
    const NAME: &str = "cgroup v2";
    match Trial::make() {
        Ok(trial) => Item::good(NAME, format!("writable at {}", trial.parent().display())),
        Err(why) => Item::failure(NAME, why, next_for_cgroup()),
    }
}

/// Only root can make a cgroup where nobody delegated one.
fn next_for_cgroup() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "mount -t cgroup2 none /sys/fs/cgroup"
    } else {
        "sudo tollgate check"
    }
}

/// Whether the kernel programs load and attach.
pub(super) fn programs() -> Item {
    const NAME: &str = "kernel programs";
    let trial = match Trial::make() {
        Ok(trial) => trial,
        Err(why) => {
            return Item::failure(NAME, format!("cannot be tried: {why}"), next_for_cgroup());
        }
    };
    let next = "sudo tollgate check";
    match Enforcement::attach(trial.folder.as_fd()) {
        Ok(_enforcement) => Item::good(NAME, "load and attach"),
        Err(error @ EbpfError::Kernel { .. }) => {
            Item::failure(NAME, error.to_string(), "upgrade the kernel, then: tollgate check")
        }
        Err(error) => Item::failure(NAME, error.to_string(), next),
    }
}

/// A cgroup made to see whether one can be made. Named as those of runs are, so that what a crash
/// leaves behind the next run sweeps away.
struct Trial {
    path: PathBuf,
    folder: OwnedFd,
}

impl Trial {
    fn make() -> Result<Self, String> {
        let mut why = "no cgroup2 mount".to_owned();
        for parent in launch::own_cgroup_folders().map_err(|error| error.to_string())? {
            match Self::make_in(&parent) {
                Ok(trial) => return Ok(trial),
                Err(error) => why = format!("{}: {error}", parent.display()),
            }
        }
        Err(why)
    }

    fn make_in(parent: &Path) -> std::io::Result<Self> {
        let path = parent.join(format!("tollgate-{}-0", std::process::id()));
        fs::create_dir(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, folder })
    }

    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // The next run sweeps away what cannot be removed now.
        fs::remove_dir(&self.path).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, level) in [
            ("6.18.44-fc-v595", Level::Good),
            ("5.12.0", Level::Good),
            ("5.9.0", Level::Failure),
            ("4.19", Level::Failure),
            ("unknown", Level::Warning),
        ] {
            assert_eq!(judge_version(release).level, level, "{release}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(CapabilitySet::all()), Vec::<&str>::new());
        assert_eq!(missing(CapabilitySet::all() - CapabilitySet::BPF), ["CAP_BPF"]);
    }
}
