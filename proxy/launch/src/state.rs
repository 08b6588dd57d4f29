//! Opens the state folder so that nobody but its user can put another in its place.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};

use crate::{error::LaunchError, identity::Identity};

const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;
const STICKY: u32 = 0o1000;
const OTHERS_ANY: u32 = 0o077;

/// An open state folder: what is held is this folder, whatever happens to its name.
#[derive(Debug)]
pub struct StateDir {
    folder: OwnedFd,
    device: u64,
    inode: u64,
    path: PathBuf,
}

impl StateDir {
    /// Its device and inode: what the gate's socket is named after, and what [`crate::Absent`] checks.
    #[must_use]
    pub fn inode(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// A path that leads to this very folder as long as this is open, in this process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }

    /// The name by which it was opened: for messages, and to make it absent inside.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.path
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// Opens the folder at `path` for the user `uid`; makes it, and what is missing above it, with mode 0700.
///
/// Where `outside` is given (the working folder, for a `--state` that somebody named), the folder may not be that
/// or lie below it: a governed command writes there.
///
/// # Errors
/// When a part of the path is a link, or another user could replace it or a folder above it. Sticky folders of
/// root's, such as `/tmp`, do not count. The message says which, and what to do.
pub fn open(path: &Path, uid: u32, outside: Option<&Path>) -> Result<StateDir, LaunchError> {
    let path = std::path::absolute(path).map_err(|error| refused(path, error))?;
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refused(&path, "the path contains `..`: name the folder directly"));
    }
    let mut walked = PathBuf::from("/");
    let mut folder = open_folder(CWD, OsStr::new("/")).map_err(|error| refused(&path, error))?;
    let mut stat = rustix::fs::fstat(&folder).map_err(|error| refused(&path, error))?;
    let working =
        outside.map(rustix::fs::stat).transpose().map_err(|error| refused(&path, error))?;
    let apart = |stat: &Stat| match &working {
        Some(working) if (working.st_dev, working.st_ino) == (stat.st_dev, stat.st_ino) => {
            Err(refused(
                &path,
                "it lies in the working folder, which the governed command writes to: name one outside of it",
            ))
        }
        Some(_) | None => Ok(()),
    };
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        check(&walked, &stat, uid).map_err(|why| refused(&path, why))?;
        apart(&stat)?;
        walked.push(name);
        folder =
            enter(&folder, name, uid).map_err(|error| refused(&path, explain(&walked, error)))?;
        stat = rustix::fs::fstat(&folder).map_err(|error| refused(&path, error))?;
    }
    apart(&stat)?;
    if stat.st_uid != uid {
        return Err(refused(&path, format!("it belongs to user {}, not to {uid}", stat.st_uid)));
    }
    if stat.st_mode & OTHERS_ANY != 0 {
        return Err(refused(&path, format!("others may enter it: `chmod 700 {}`", path.display())));
    }
    Ok(StateDir { folder, device: stat.st_dev, inode: stat.st_ino, path })
}

/// The part of `path`, itself or a folder above it, that `who` could write to or replace, if there is one.
///
/// A file of which this names a part could have been changed by any program that runs as `who` (attacks 1).
///
/// # Errors
/// When the path cannot be examined.
pub fn writable_by(path: &Path, who: &Identity) -> std::io::Result<Option<PathBuf>> {
    let real = path.canonicalize()?;
    for part in real.ancestors() {
        let stat = rustix::fs::stat(part)?;
        let sticky = stat.st_mode & STICKY != 0 && part != real;
        let in_group = stat.st_gid == who.gid || who.groups.contains(&stat.st_gid);
        let writable = stat.st_uid == who.uid
            || (!sticky
                && (stat.st_mode & OTHERS_WRITE != 0
                    || (in_group && stat.st_mode & GROUP_WRITE != 0)));
        if writable {
            return Ok(Some(part.to_owned()));
        }
    }
    Ok(None)
}

/// Whoever can write to a folder can replace what lies in it.
fn check(folder: &Path, stat: &Stat, uid: u32) -> Result<(), String> {
    if stat.st_uid != 0 && stat.st_uid != uid {
        return Err(format!("user {} owns {} and could replace it", stat.st_uid, folder.display()));
    }
    if stat.st_mode & STICKY != 0 && stat.st_uid == 0 {
        return Ok(());
    }
    // A group with the user's own number is by custom the user's alone.
    let shared_group = stat.st_gid != 0 && stat.st_gid != uid;
    if stat.st_mode & OTHERS_WRITE != 0 || (stat.st_mode & GROUP_WRITE != 0 && shared_group) {
        return Err(format!(
            "others may write to {0} and could replace it: `chmod go-w {0}`, or choose another folder",
            folder.display()
        ));
    }
    Ok(())
}

/// The folder `name`, made if it is missing.
fn enter(above: &OwnedFd, name: &OsStr, uid: u32) -> Result<OwnedFd, Errno> {
    match open_folder(above.as_fd(), name) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(above, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let made = open_folder(above.as_fd(), name)?;
    if rustix::process::geteuid().as_raw() != uid {
        rustix::fs::fchown(&made, Some(Uid::from_raw(uid)), None::<Gid>)?;
    }
    Ok(made)
}

fn open_folder(above: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(above, name, flags, Mode::empty());
    // A link is reported as "not a folder".
    if matches!(opened, Err(Errno::NOTDIR))
        && rustix::fs::statat(above, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    {
        return Err(Errno::LOOP);
    }
    opened
}

fn explain(part: &Path, error: Errno) -> String {
    match error {
        Errno::LOOP => format!("{} is a symbolic link: name the real folder", part.display()),
        Errno::NOTDIR => format!("{} is not a folder", part.display()),
        other => format!("{}: {other}", part.display()),
    }
}

fn refused(path: &Path, why: impl std::fmt::Display) -> LaunchError {
    LaunchError::State { path: path.to_owned(), why: format!("{why}") }
}

#[cfg(test)]
mod tests;
