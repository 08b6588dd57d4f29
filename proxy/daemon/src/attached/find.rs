//! Finds the cgroup that an operator means, without asking systemd.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use launch::CgroupMount;
use rustix::fs::{Mode, OFlags};

use super::{AttachError, Target};

/// The most folders that are read in one search; what lies beyond is not found.
pub(super) const MOST_FOLDERS: usize = 65_536;

/// The type of a cgroup v2 file system (linux/magic.h).
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What ends the name of a unit that has a cgroup (systemd.unit(5)).
const SUFFIXES: [&str; 3] = [".service", ".scope", ".slice"];

/// A cgroup, held open.
#[derive(Debug)]
pub(super) struct Found {
    /// As `/proc/PID/cgroup` writes it.
    pub(super) cgroup: String,
    /// Its id.
    pub(super) id: u64,
    folder: PathBuf,
    fd: OwnedFd,
}

impl Found {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The cgroup below this one with this id.
    pub(super) fn below(&self, id: u64) -> Option<String> {
        let mut found = None;
        each_folder(&self.folder, &mut |folder, inode| {
            if inode == id {
                found = Some(folder.to_owned());
            }
            found.is_none()
        });
        let below = found?.strip_prefix(&self.folder).ok()?.to_str()?.to_owned();
        Some(format!("{}/{below}", self.cgroup))
    }
}

/// Finds and opens it.
pub(super) fn find(target: &Target) -> Result<Found, AttachError> {
    let mounts = launch::cgroup_mounts()?;
    if mounts.is_empty() {
        return Err(AttachError::NoHierarchy);
    }
    match target {
        Target::Cgroup(path) => by_path(&mounts, path),
        Target::Unit(unit) => by_unit(&mounts, &full_name(unit)),
    }
}

/// Refuses the root and whatever the gate itself is in.
pub(super) fn may_be_attached(cgroup: &str) -> Result<(), AttachError> {
    let own = launch::own_cgroup()?.ok_or(AttachError::OwnUnknown)?;
    allow(cgroup, &own)
}

fn allow(cgroup: &str, own: &Path) -> Result<(), AttachError> {
    if cgroup == "/" {
        return Err(AttachError::Root);
    }
    if own.starts_with(cgroup) {
        let own = own.display().to_string();
        return Err(AttachError::Own { asked: cgroup.to_owned(), own });
    }
    Ok(())
}

fn by_path(mounts: &[CgroupMount], path: &Path) -> Result<Found, AttachError> {
    let absent = || AttachError::Absent {
        what: path.display().to_string(),
        hint: "name the path of a cgroup, as in /proc/PID/cgroup, or of its folder",
    };
    let folder = folders(mounts, path).find(|folder| folder.is_dir()).ok_or_else(absent)?;
    // Links and `..` are followed before anything is judged by name.
    let folder = fs::canonicalize(folder)?;
    open(mounts, folder)
}

/// Where the folder may be: `path` itself where it is below a mount, else below each mount.
fn folders<'a>(mounts: &'a [CgroupMount], path: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let itself = path.is_absolute() && mounts.iter().any(|mount| path.starts_with(&mount.point));
    let below = mounts.iter().filter_map(|mount| mount.folder_of(path));
    itself.then(|| path.to_owned()).into_iter().chain(below)
}

fn by_unit(mounts: &[CgroupMount], unit: &str) -> Result<Found, AttachError> {
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for mount in mounts {
        each_folder(&mount.point, &mut |folder, inode| {
            if folder.file_name() == Some(OsStr::new(unit)) && !seen.contains(&inode) {
                seen.push(inode);
                found.push(folder.to_owned());
            }
            true
        });
    }
    match found.as_slice() {
        [] => Err(AttachError::Absent {
            what: unit.to_owned(),
            hint: "only a unit that runs has a cgroup: systemctl start it, or attach its slice",
        }),
        [one] => open(mounts, one.clone()),
        several => {
            let name = |folder: &PathBuf| cgroup_of(mounts, folder).unwrap_or_default();
            let found = several.iter().map(name).collect();
            Err(AttachError::Ambiguous { unit: unit.to_owned(), found })
        }
    }
}

fn open(mounts: &[CgroupMount], folder: PathBuf) -> Result<Found, AttachError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&folder, flags, Mode::empty()).map_err(io::Error::from)?;
    let kind = rustix::fs::fstatfs(&fd).map_err(io::Error::from)?.f_type;
    let cgroup = cgroup_of(mounts, &folder);
    let (CGROUP2_MAGIC, Some(cgroup)) = (kind, cgroup) else {
        let below =
            mounts.iter().map(|mount| mount.point.display().to_string()).collect::<Vec<_>>();
        return Err(AttachError::NoCgroup(folder.display().to_string(), below.join(" or ")));
    };
    // What is shown with a character that stands for others could not be found again after a restart.
    if cgroup.contains(char::REPLACEMENT_CHARACTER) {
        return Err(AttachError::Name(cgroup));
    }
    let id = rustix::fs::fstat(&fd).map_err(io::Error::from)?.st_ino;
    Ok(Found { cgroup, id, folder, fd })
}

fn cgroup_of(mounts: &[CgroupMount], folder: &Path) -> Option<String> {
    // The longest: a mount may lie below another.
    let mount = mounts
        .iter()
        .filter(|mount| folder.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())?;
    Some(mount.cgroup_at(folder)?.to_string_lossy().into_owned())
}

/// Reads the folders below `top`, the nearer first, until `more` says to stop.
fn each_folder(top: &Path, more: &mut dyn FnMut(&Path, u64) -> bool) {
    let mut open = std::collections::VecDeque::from([top.to_owned()]);
    let mut read = 0_usize;
    while let Some(folder) = open.pop_front() {
        // A folder that is gone meanwhile holds nothing.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            read += 1;
            let path = entry.path();
            if read > MOST_FOLDERS || !more(&path, entry.ino()) {
                return;
            }
            open.push_back(path);
        }
    }
}

fn full_name(unit: &str) -> String {
    if SUFFIXES.iter().any(|suffix| unit.ends_with(suffix)) {
        unit.to_owned()
    } else {
        format!("{unit}.service")
    }
}

/// What an attachment may be called by `target`, whether or not its folder is there.
pub(super) struct Names {
    cgroups: Vec<PathBuf>,
    unit: Option<String>,
    shown: String,
}

pub(super) fn names(target: &Target) -> Names {
    match target {
        Target::Unit(unit) => {
            let unit = full_name(unit);
            Names { cgroups: Vec::new(), shown: unit.clone(), unit: Some(unit) }
        }
        Target::Cgroup(path) => {
            // Where mounts cannot be read the cgroup's own path still means it.
            let mounts = launch::cgroup_mounts().unwrap_or_default();
            let at = mounts.iter().filter_map(|mount| mount.cgroup_at(path));
            let cgroups = at.chain([path.components().collect()]).collect();
            Names { cgroups, unit: None, shown: path.display().to_string() }
        }
    }
}

impl Names {
    pub(super) fn mean(&self, cgroup: &str) -> bool {
        let cgroup = Path::new(cgroup);
        self.cgroups.iter().any(|named| named == cgroup)
            || self.unit.as_ref().is_some_and(|unit| cgroup.file_name() == Some(OsStr::new(unit)))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_the_gate_is_refused_and_what_lies_beside_it_is_not() {
        let own = Path::new("/system.slice/tollgate.service");
        for holds in ["/system.slice", "/system.slice/tollgate.service"] {
            assert!(matches!(allow(holds, own), Err(AttachError::Own { .. })), "{holds}");
        }
        assert!(matches!(allow("/", own), Err(AttachError::Root)));
        for beside in
            ["/system.slic", "/system.slice/bot.service", "/system.slice/tollgate.service/x"]
        {
            assert!(allow(beside, own).is_ok(), "{beside}");
        }
    }

    #[test]
    fn a_unit_without_a_suffix_is_a_service() {
        for (said, meant) in
            [("bot", "bot.service"), ("a.b", "a.b.service"), ("agents.slice", "agents.slice")]
        {
            assert_eq!(full_name(said), meant);
        }
    }
}
