//! The state folder, opened once by descriptor: no path is looked up again after that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use launch::LaunchError;
use launch::state::StateDir;
use rustix::fs::{CWD, Mode, OFlags};
use zeroize::Zeroizing;

/// Root's state folder.
const ROOT_STATE: &str = "/var/lib/tollgate";

/// An open state folder.
#[derive(Debug, Clone)]
pub struct StateFolder {
    fd: Arc<OwnedFd>,
    shown: PathBuf,
    identity: (u64, u64),
    key: Option<Arc<Zeroizing<[u8; 32]>>>,
}

/// Whether a folder that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// For its owner alone, with what is missing above it.
    IfAbsent,
    /// Not.
    Never,
}

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is none.
    #[error("{} is not there", .0.display())]
    Absent(PathBuf),
    /// Somebody else could put another in its place, or it cannot be opened.
    #[error(transparent)]
    Unsafe(#[from] LaunchError),
    /// It is not clear where state would lie.
    #[error(
        "neither XDG_STATE_HOME nor HOME is an absolute path: say where state lies, `--state DIR`"
    )]
    NoHome,
    /// The system refused something.
    #[error("cannot open {}: {source}", at.display())]
    Io {
        /// The folder.
        at: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StateFolder {
    /// Where state lies when no `--state` says otherwise.
    ///
    /// # Errors
    ///
    /// The environment does not name a home.
    pub fn default_path() -> Result<PathBuf, FolderError> {
        let root = rustix::process::geteuid().is_root();
        let of = |name| std::env::var_os(name).map(PathBuf::from);
        default_path(root, of("XDG_STATE_HOME"), of("HOME"))
    }

    /// Opens the folder at `path` for this user, by the rules of [`launch::state::open`]. Where
    /// `outside` is given, the folder may not be that or lie below it.
    ///
    /// # Errors
    ///
    /// It is not there and not to be made, or it is not safe.
    pub fn open(path: &Path, make: Make, outside: Option<&Path>) -> Result<Self, FolderError> {
        let missing =
            || path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if make == Make::Never && missing() {
            return Err(FolderError::Absent(path.to_owned()));
        }
        Self::of(&launch::state::open(path, rustix::process::geteuid().as_raw(), outside)?)
    }

    /// A second handle on a folder that is open already.
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub fn of(dir: &StateDir) -> Result<Self, FolderError> {
        let io = |source| FolderError::Io { at: dir.name().to_owned(), source };
        let fd = dir.as_fd().try_clone_to_owned().map_err(io)?;
        Ok(Self {
            fd: Arc::new(fd),
            shown: dir.name().to_owned(),
            identity: dir.inode(),
            key: None,
        })
    }

    /// Opens again the folder that this process was started with as descriptor `number`.
    ///
    /// # Errors
    ///
    /// It is not a folder.
    pub fn from_number(number: i32) -> io::Result<Self> {
        let link = format!("/proc/self/fd/{number}");
        let shown = std::fs::read_link(&link)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &link, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self { fd: Arc::new(fd), shown, identity: (stat.st_dev, stat.st_ino), key: None })
    }

    /// The same folder, whose key does not lie in it but is this one.
    #[must_use]
    pub fn under(self, key: Zeroizing<[u8; 32]>) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    /// The key that is kept elsewhere; `None` where it is the folder's own.
    #[must_use]
    pub fn key(&self) -> Option<&Zeroizing<[u8; 32]>> {
        self.key.as_deref()
    }

    /// The folder.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A path to this very folder, whatever was renamed since: for what opens by path. It holds
    /// within this process, for as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// Where it lay when it was opened, for people.
    #[must_use]
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Device and inode.
    #[must_use]
    pub const fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

fn default_path(
    root: bool,
    state: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Result<PathBuf, FolderError> {
    if root {
        return Ok(PathBuf::from(ROOT_STATE));
    }
    // The specification of these folders: what is not absolute is ignored.
    let absolute = |path: &PathBuf| path.is_absolute();
    state
        .filter(absolute)
        .or_else(|| home.filter(absolute).map(|home| home.join(".local/state")))
        .map(|folder| folder.join("tollgate"))
        .ok_or(FolderError::NoHome)
}

#[cfg(test)]
pub(crate) mod testkit {
    use super::{Make, StateFolder};

    /// A state folder of its own, for as long as the first part lives.
    pub(crate) fn folder() -> (tempfile::TempDir, StateFolder) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&dir.path().join("state"), Make::IfAbsent, None).unwrap();
        (dir, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_default_is_per_user_and_ignores_relative_folders() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (root, state, home, expected) in [
            (true, path("/s"), path("/h"), Some("/var/lib/tollgate")),
            (false, path("/s"), path("/h"), Some("/s/tollgate")),
            (false, path("s"), path("/h"), Some("/h/.local/state/tollgate")),
            (false, None, path("/h"), Some("/h/.local/state/tollgate")),
            (false, None, path("h"), None),
        ] {
            assert_eq!(default_path(root, state, home).ok(), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn what_is_not_there_is_not_made_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let error = StateFolder::open(&path, Make::Never, None).unwrap_err();
        assert!(matches!(error, FolderError::Absent(_)), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_link_is_refused_and_not_taken_for_absent() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("state")).unwrap();
        let error = StateFolder::open(&dir.path().join("state"), Make::Never, None).unwrap_err();
        assert!(matches!(error, FolderError::Unsafe(_)), "{error}");
    }

    #[test]
    fn an_open_folder_stays_the_same_when_its_path_is_made_anew() {
        let (dir, state) = testkit::folder();
        fs::rename(state.shown(), dir.path().join("away")).unwrap();
        fs::create_dir(state.shown()).unwrap();
        fs::write(dir.path().join("away/here"), "").unwrap();
        assert!(state.path().join("here").exists());
    }

    #[test]
    fn a_descriptor_names_the_folder_it_was_opened_on() {
        let (_dir, state) = testkit::folder();
        let again = StateFolder::from_number(state.fd().as_raw_fd()).unwrap();
        assert_eq!((again.identity(), again.shown()), (state.identity(), state.shown()));
    }
}
