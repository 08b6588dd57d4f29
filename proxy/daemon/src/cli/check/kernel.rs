//! What the kernel offers, and what this process may ask of it.

use std::os::fd::AsFd;
use std::process::Command;

use ebpf::{EbpfError, Enforcement};
use launch::Cgroup;
use rustix::thread::CapabilitySet;

use super::{Item, Level};

/// Where pins are kept.
const BPFFS: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` (linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
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
    match Cgroup::create() {
        Ok(made) => {
            let parent = made.path().parent().unwrap_or(made.path());
            Item::good(NAME, format!("writable at {}", parent.display()))
        }
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
    let made = match Cgroup::create() {
        Ok(made) => made,
        Err(why) => {
            return Item::failure(NAME, format!("cannot be tried: {why}"), next_for_cgroup());
        }
    };
    let next = "sudo tollgate check";
    match Enforcement::attach(made.as_fd()) {
        Ok(_enforcement) => Item::good(NAME, "load and attach"),
        Err(error @ EbpfError::Kernel { .. }) => {
            Item::failure(NAME, error.to_string(), "upgrade the kernel, then: tollgate check")
        }
        Err(error) => Item::failure(NAME, error.to_string(), next),
    }
}

/// In which modes a pod of this machine can be shut in.
pub(super) fn pod(cgroup: &Item, programs: &Item) -> Item {
    let nft = Command::new("nft").args(["list", "tables"]).output();
    let nft = match nft {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(
            String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or_default().to_owned(),
        ),
        Err(error) => Some(error.to_string()),
    };
    let bpffs =
        rustix::fs::statfs(BPFFS).is_ok_and(|at| u64::try_from(at.f_type) == Ok(BPF_FS_MAGIC));
    judge_pod(nft.as_deref(), bpffs, cgroup, programs)
}

/// `nft` is what is wrong with it.
fn judge_pod(nft: Option<&str>, bpffs: bool, cgroup: &Item, programs: &Item) -> Item {
    const NAME: &str = "pods";
    let lacks = |item: &Item| (item.level != Level::Good).then(|| item.found.clone());
    if let Some(why) = nft {
        let found = format!("cannot be shut in here: nftables: {why}");
        return Item::warning(NAME, found, "apt-get install nftables, and as root: tollgate check");
    }
    let no_bpffs = (!bpffs).then(|| format!("{BPFFS} is no bpffs"));
    let Some(why) = lacks(programs).or(no_bpffs) else {
        return Item::good(NAME, "mode kernel: programs lead and identify, nftables drops");
    };
    let next = if bpffs { "tollgate-init check" } else { "mount -t bpf bpf /sys/fs/bpf" };
    let mode = match lacks(cgroup) {
        None => "nft-cgroup".to_owned(),
        Some(no_cgroup) => {
            format!("nft-user (only where admission takes the capabilities; {no_cgroup})")
        }
    };
    Item::warning(NAME, format!("mode {mode} at most; not kernel: {why}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn the_strongest_mode_that_a_pod_can_have_is_said_with_what_the_stronger_ones_lack() {
        let (good, bad) = (Item::good("x", "fine"), Item::failure("x", "it lacks", "next"));
        let said = |nft, bpffs, cgroup: &Item, programs: &Item| {
            let item = judge_pod(nft, bpffs, cgroup, programs);
            (item.level, item.found)
        };
        assert_eq!(said(None, true, &good, &good).0, Level::Good);
        for (nft, bpffs, cgroup, programs, has) in [
            (
                None,
                false,
                &good,
                &good,
                "mode nft-cgroup at most; not kernel: /sys/fs/bpf is no bpffs",
            ),
            (None, true, &good, &bad, "mode nft-cgroup at most; not kernel: it lacks"),
            (None, true, &bad, &bad, "mode nft-user (only where admission takes"),
            (Some("not there"), true, &good, &good, "nftables: not there"),
        ] {
            let (level, found) = said(nft, bpffs, cgroup, programs);
            assert!(level == Level::Warning && found.contains(has), "{found}");
        }
    }
}
