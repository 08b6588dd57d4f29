//! Takes from a command of uid 0 what its owner could still do without capabilities (attacks 2).

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use super::{absent, at, attach, bind, if_there, open_target, places::hold, read_only};
use crate::{
    mountinfo,
    plan::{Plan, Text},
};

/// Programs and configuration of the system, which others execute or read.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/boot",
    "/opt",
    "/var/lib",
    "/var/spool",
    // Rules and units that udev, systemd and others read while they run.
    "/run",
    // Whose entries, homes of others, belong to them, and can be renamed by uid 0 all the same.
    "/home",
    "/var/home",
    // Stores of packages.
    "/nix",
    "/gnu",
    "/snap",
];

/// Of those, what every program may write to: locks, and the runtime folder of uid 0.
const IMPLIED: &[&str] = &["/run/lock", "/run/shm", "/run/user/0"];

/// Folders of uid 0 whose entries are the system's, but stay writable themselves.
const HELD: &[&str] = &["/", "/var"];

/// Below these even the working folder stays read-only unless `--write` names it.
const NEVER_IMPLIED: &[&str] =
    &["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/boot"];

/// Files by which the kernel is steered or read.
const STEERING: &[&str] = &[
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/sys",
];

/// The kernel's memory.
const MEMORY: &[&str] = &["/proc/kcore", "/proc/kmem", "/proc/kpagecount", "/proc/kpageflags"];

/// File systems by which programs outside are steered.
const KERNEL_KINDS: &[&str] = &[
    "bpf",
    "debugfs",
    "tracefs",
    "cgroup",
    "cgroup2",
    "securityfs",
    "configfs",
    "efivarfs",
    "pstore",
];

/// Where the outside has mounted such file systems.
pub(super) fn kernel_file_systems() -> io::Result<Vec<PathBuf>> {
    Ok(mountinfo::mounts()?
        .into_iter()
        .filter(|mounted| KERNEL_KINDS.contains(&mounted.kind.as_str()))
        .map(|mounted| mounted.point)
        .collect())
}

/// Makes the system folders read-only, but for what is named, the working folder and the home folder.
pub(super) fn system_read_only(plan: &Plan) -> Result<(), String> {
    let system = canonical(SYSTEM);
    let never = canonical(NEVER_IMPLIED);
    let implied = std::iter::once(&plan.folder).chain(&plan.home).map(Text::as_path);
    let implied = implied
        .chain(IMPLIED.iter().map(Path::new))
        .filter_map(|path| path.canonicalize().ok())
        .filter(|path| !is_below(path, &never));
    let named = plan.write.iter().filter_map(|text| text.as_path().canonicalize().ok());
    let mut kept: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for path in named.chain(implied.filter(|path| !system.contains(path))) {
        if is_below(&path, &system) {
            let aside = open_target(&path)
                .and_then(|target| bind(&target, true))
                .map_err(at("setting aside", &path))?;
            kept.push((path, aside));
        }
    }
    for path in &system {
        read_only(path).map_err(at("making read-only", path))?;
    }
    // Outer folders first, so that none covers an inner one.
    kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (path, aside) in kept {
        open_target(&path)
            .and_then(|target| attach(&aside, &target))
            .map_err(at("keeping writable", &path))?;
    }
    Ok(())
}

/// Keeps each folder and link of [`HELD`] where it is: `/bin` is a link on most systems, and `/home` a folder, and both
/// could be put aside for others of their name.
pub(super) fn system_held() -> Result<(), String> {
    for folder in HELD.iter().map(Path::new) {
        let failed = |error| at("looking through", folder)(error);
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() || kind.is_symlink() {
                hold(&entry.path()).map_err(at("holding", &entry.path()))?;
            }
        }
    }
    Ok(())
}

/// Closes what steers the kernel, or programs outside by way of the kernel.
pub(super) fn kernel_closed(file_systems: &[PathBuf]) -> Result<(), String> {
    for path in STEERING.iter().map(Path::new) {
        read_only(path).map_err(at("making read-only", path))?;
    }
    for path in MEMORY.iter().map(Path::new).chain(file_systems.iter().map(PathBuf::as_path)) {
        // What lies below another of them is gone already.
        if if_there(open_target(path)).map_err(at("opening", path))?.is_some() {
            absent(path).map_err(at("hiding", path))?;
        }
    }
    // On a hybrid system this holds the mount points, and nothing else.
    let cgroups = Path::new("/sys/fs/cgroup");
    absent(cgroups).map_err(at("hiding", cgroups))
}

/// The folders that exist, links resolved, without repetition.
fn canonical(paths: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        paths.iter().filter_map(|path| Path::new(path).canonicalize().ok()).collect();
    found.sort();
    found.dedup();
    found
}

fn is_below(path: &Path, folders: &[PathBuf]) -> bool {
    folders.iter().any(|folder| path.starts_with(folder))
}
