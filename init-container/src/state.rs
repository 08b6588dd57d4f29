//! Prepares the folder of the gate's state, which the gate takes only if nobody else could replace what lies in it: a
//! volume is everybody's when it is new.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown},
    path::Path,
};

use rustix::fs::{Dir, Mode, OFlags};

#[cfg(test)]
mod tests;

/// What the gate asks of it: its user's alone.
const OWN: u32 = 0o700;
/// What a file system puts into its top folder by itself.
const OF_THE_FILE_SYSTEM: [&[u8]; 3] = [b".", b"..", b"lost+found"];

/// Why there is no folder for the gate's state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is somebody's.
    #[error(
        "{path} belongs to user {owner} and is not empty: --state takes a new folder, or the one of this gate; if it is \
         the gate's, give it to its user (chown -R {user} {path})"
    )]
    Foreign {
        /// The folder.
        path: String,
        /// Whose it is.
        owner: u32,
        /// The gate's user.
        user: u32,
    },
    /// Something of the kernel.
    #[error("cannot {act} {path}, which is to hold the gate's state: {source}{hint}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: String,
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
}

/// Makes the folder at `path` be `user`'s and `group`'s alone. It is made where only it is missing; one that is theirs
/// already is left as it is.
///
/// # Errors
/// When it is no folder, holds what is another's, or cannot be given away.
pub fn prepare(path: &Path, user: u32, group: u32) -> Result<(), StateError> {
    match DirBuilder::new().mode(OWN).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", path)(error));
        }
        Ok(()) | Err(_) => {}
    }
    // A link would lead elsewhere than the gate is told.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
    let folder = File::from(folder.map_err(failed("open", path))?);
    let now = folder.metadata().map_err(failed("look at", path))?;
    let is_its = (now.uid(), now.gid()) == (user, group);
    if is_its && now.mode() & 0o7777 == OWN {
        return Ok(());
    }
    if now.uid() != user && !is_empty(&folder).map_err(failed("read", path))? {
        let path = path.display().to_string();
        return Err(StateError::Foreign { path, owner: now.uid(), user });
    }
    // The mode first: what was given away is changed only with another capability.
    let mode = Mode::from_raw_mode(OWN);
    rustix::fs::fchmod(&folder, mode)
        .map_err(io::Error::from)
        .map_err(failed("change the mode of", path))?;
    if is_its {
        return Ok(());
    }
    fchown(&folder, Some(user), Some(group)).map_err(failed("give away", path))
}

fn is_empty(folder: &File) -> io::Result<bool> {
    for entry in Dir::read_from(folder)? {
        if !OF_THE_FILE_SYSTEM.contains(&entry?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.display().to_string();
    move |source| {
        const HINTS: [(io::ErrorKind, &str); 3] = [
            (
                io::ErrorKind::PermissionDenied,
                ": capability CHOWN is needed, and a folder that is root's",
            ),
            (io::ErrorKind::NotFound, ": mount the volume that is to hold it"),
            (io::ErrorKind::NotADirectory, ": name a folder, and no link to one"),
        ];
        let known = HINTS.iter().find(|(kind, _)| *kind == source.kind());
        let hint = known.map_or("", |(_, hint)| hint);
        StateError::Io { act, path, source, hint }
    }
}
