//! The processes of a network, and which of them are its gate's.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{NodeError, failed};
use crate::place;

#[cfg(test)]
mod tests;

/// How the gate's processes are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Those that share the PID namespace of this one: its container.
    Process(u32),
    /// Containers of which every process runs as this user, and none was in the pod's folder before: who begins there
    /// can become the user, and make what looks like a container.
    User(u32),
}

/// Processes by whose they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) gate: Vec<u32>,
    pub(super) others: Vec<u32>,
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// The inode of its PID namespace, which is its container's.
    container: u64,
    /// Whether all its user ids are one, and which.
    user: Option<u32>,
}

/// The processes of the network with this inode; those in the folder `pod` already are never taken for the gate's user.
pub(super) fn sort(proc: &Path, network: u64, gate: Known, pod: &Path) -> io::Result<Sorted> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let at = entry.path();
        let inode = |name: &str| fs::metadata(at.join(name)).map(|at| at.ino());
        // One that ends while it is looked at is nobody's.
        if let (Ok(net), Ok(container)) = (inode("ns/net"), inode("ns/pid"))
            && net == network
        {
            found.push(Process { pid, container, user: user(&at) });
        }
    }
    // After the rest was listed: whom somebody in the pod has started meanwhile is in its folder from the beginning.
    let known = place::all_members(pod)?;
    Ok(by(gate, found, &known))
}

fn by(gate: Known, found: Vec<Process>, known: &[u32]) -> Sorted {
    let mut containers: BTreeMap<u64, Vec<Process>> = BTreeMap::new();
    for process in found {
        containers.entry(process.container).or_default().push(process);
    }
    let mut sorted = Sorted::default();
    for all in containers.into_values() {
        let is_gate = match gate {
            Known::Process(pid) => all.iter().any(|process| process.pid == pid),
            Known::User(user) => all
                .iter()
                .all(|process| process.user == Some(user) && !known.contains(&process.pid)),
        };
        let to = if is_gate { &mut sorted.gate } else { &mut sorted.others };
        to.extend(all.into_iter().map(|process| process.pid));
    }
    sorted
}

/// The one user of a process, by the line `Uid:` of its status: real, effective, saved, of files.
fn user(at: &Path) -> Option<u32> {
    let status = fs::read_to_string(at.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut ids = line.split_whitespace().map(str::parse);
    let first = ids.next()?.ok()?;
    ids.all(|id| id == Ok(first)).then_some(first)
}

/// Moves those that are not there yet; which those were.
pub(super) fn transfer(processes: &[u32], folder: &Path) -> Result<Vec<u32>, NodeError> {
    let there = place::members(folder).map_err(failed("read", folder))?;
    let list: PathBuf = folder.join("cgroup.procs");
    let mut moved = Vec::new();
    for pid in processes.iter().filter(|pid| !there.contains(pid)) {
        match fs::write(&list, pid.to_string()) {
            Ok(()) => moved.push(*pid),
            // ESRCH: it has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(3) => {}
            Err(error) => return Err(failed("move a process into", folder)(error)),
        }
    }
    Ok(moved)
}

/// The inode of an open namespace.
pub(super) fn inode(namespace: &File) -> io::Result<u64> {
    Ok(namespace.metadata()?.ino())
}
