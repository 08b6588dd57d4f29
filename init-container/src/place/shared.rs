//! Whether a cgroup folder is one pod's alone, and what shows that it is not.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::PlaceError;

/// What shows that a folder is not one pod's alone, or why it cannot be shown to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shared {
    /// It is the top of the tree: everything is in it.
    Top,
    /// A process in it is in another network.
    Process {
        /// Its id in the `/proc` that was looked at.
        pid: u32,
        /// The folder it is in.
        folder: PathBuf,
    },
    /// Some of its processes are not to be seen from here, and its name does not hold the pod's id.
    Unproven {
        /// How many.
        unseen: usize,
    },
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => f.write_str("it is the top of the tree"),
            Self::Process { pid, folder } => {
                write!(f, "process {pid} in {} is in another network", folder.display())
            }
            Self::Unproven { unseen } => write!(
                f,
                "{unseen} of its processes cannot be seen from here, and its name does not hold the pod's id: \
                 give --pod the pod's uid (downward API, metadata.uid)"
            ),
        }
    }
}

/// What is known of a process's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Ours,
    Another,
    /// Of another PID namespace, or hidden.
    Unseen,
    /// It has ended.
    Gone,
}

/// Looks at every process in `folder` and below. Nothing is the answer where all are in the network `ours`; `named`
/// is whether somebody named this very folder, which settles those that are not seen.
pub(super) fn check(
    folder: &Path,
    processes: &Path,
    ours: u64,
    named: bool,
) -> Result<Option<Shared>, PlaceError> {
    let mut unseen = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error| PlaceError::io(folder.display().to_string())(error);
        let Some((listed, below)) = found(look(&folder)).map_err(failed)? else { continue };
        for pid in listed {
            match network_of(processes, pid, ours) {
                Network::Another => return Ok(Some(Shared::Process { pid, folder })),
                Network::Unseen => unseen += 1,
                Network::Ours | Network::Gone => {}
            }
        }
        folders.extend(below);
    }
    Ok((unseen > 0 && !named).then_some(Shared::Unproven { unseen }))
}

/// The processes of a folder and of all below it; none if it is not there.
pub(crate) fn all_members(folder: &Path) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some((listed, below)) = found(look(&folder))? else { continue };
        all.extend(listed);
        folders.extend(below);
    }
    Ok(all)
}

/// The processes of one folder, and the folders in it.
fn look(folder: &Path) -> io::Result<(Vec<u32>, Vec<PathBuf>)> {
    let listed = members(folder)?;
    let entries = fs::read_dir(folder)?.flatten();
    let below = entries.filter(|at| at.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok((listed, below.map(|at| at.path()).collect()))
}

/// Nothing of what went meanwhile.
fn found<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map(Some),
    }
}

/// The processes of one folder; those of other PID namespaces are 0.
pub(crate) fn members(folder: &Path) -> io::Result<Vec<u32>> {
    let listed = match fs::read_to_string(folder.join("cgroup.procs")) {
        // A threaded folder lists threads only; its processes are listed above it.
        Err(error) if error.raw_os_error() == Some(EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    Ok(listed.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// What the kernel says to who reads the processes of a threaded folder (errno.h).
const EOPNOTSUPP: i32 = 95;

fn network_of(processes: &Path, pid: u32, ours: u64) -> Network {
    if pid == 0 {
        return Network::Unseen;
    }
    match fs::metadata(processes.join(pid.to_string()).join("ns/net")) {
        Ok(at) if at.ino() == ours => Network::Ours,
        Ok(_) => Network::Another,
        // A process that has ended, and one that waits to be collected, have no network.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Network::Gone,
        Err(_) => Network::Unseen,
    }
}
