//! The state folder, opened once by descriptor: no path is looked up again after that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

/// Root's state folder.
const ROOT_STATE: &str = "/var/lib/tollgate";

/// An open state folder.
#[derive(Debug, Clone)]
pub struct StateFolder {
    fd: Arc<OwnedFd>,
    shown: PathBuf,
    identity: (u64, u64),
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
    /// A link, which whoever owns it can point elsewhere.
    #[error("{} is a link, and links are not followed here: name the folder itself", .0.display())]
    Link(PathBuf),
    /// Somebody else can put another folder in its place.
    #[error("{}: {why}; use a folder below one that only you can write", at.display())]
    Replaceable {
        /// The folder, or one above it.
        at: PathBuf,
        /// Who can, and how.
        why: String,
    },
    /// It is not clear where state would lie.
    #[error("neither XDG_STATE_HOME nor HOME is an absolute path: say where state lies, `--state DIR`")]
    NoHome,
    /// The system refused something.
    #[error("cannot open {}: {source}", at.display())]
    Io {
        /// The folder, or one above it.
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

    /// Opens the folder at `path` without following a link, if nobody but its owner and root can
    /// put another in its place.
    ///
    /// # Errors
    ///
    /// It is not there and not to be made, or it is not safe.
    pub fn open(path: &Path, make: Make) -> Result<Self, FolderError> {
        let path = std::path::absolute(path).map_err(io_at(path))?;
        let mut at = PathBuf::from("/");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut fd = rustix::fs::openat(CWD, &at, flags, Mode::empty()).map_err(|e| io_at(&at)(e.into()))?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
                Component::ParentDir => Path::new("..").as_os_str(),
            };
            at.push(name);
            fd = step(&fd, name, &at, make)?;
            unreplaceable(&fd, &at, at == path)?;
        }
        Self::of(fd, path)
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
        Self::of(fd, shown).map_err(io::Error::other)
    }

    fn of(fd: OwnedFd, shown: PathBuf) -> Result<Self, FolderError> {
        let stat = rustix::fs::fstat(&fd).map_err(|error| io_at(&shown)(error.into()))?;
        Ok(Self { fd: Arc::new(fd), shown, identity: (stat.st_dev, stat.st_ino) })
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

fn default_path(root: bool, state: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, FolderError> {
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

fn step(above: &OwnedFd, name: &std::ffi::OsStr, at: &Path, make: Make) -> Result<OwnedFd, FolderError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(above, name, flags, Mode::empty());
    let opened = match open() {
        Err(rustix::io::Errno::NOENT) if make == Make::IfAbsent => {
            match rustix::fs::mkdirat(above, name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => open(),
                Err(error) => Err(error),
            }
        }
        opened => opened,
    };
    opened.map_err(|error| match error {
        rustix::io::Errno::NOENT => FolderError::Absent(at.to_owned()),
        rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP if at.is_symlink() => FolderError::Link(at.to_owned()),
        error => io_at(at)(error.into()),
    })
}

/// Refuses a folder that another user could put something else in the place of.
fn unreplaceable(fd: &OwnedFd, at: &Path, last: bool) -> Result<(), FolderError> {
    const STICKY: u32 = 0o1000;
    let stat = rustix::fs::fstat(fd).map_err(|error| io_at(at)(error.into()))?;
    let us = rustix::process::geteuid().as_raw();
    let shared = stat.st_mode & 0o022 != 0;
    let why = if stat.st_uid != us && (last || stat.st_uid != 0) {
        format!("it belongs to user {}, who could replace what is in it", stat.st_uid)
    } else if shared && (last || stat.st_mode & STICKY == 0 || stat.st_uid != 0) {
        format!("others can write to it (mode {:o}), and could replace what is in it", stat.st_mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(FolderError::Replaceable { at: at.to_owned(), why })
}

fn io_at(at: &Path) -> impl FnOnce(io::Error) -> FolderError + use<> {
    let at = at.to_owned();
    move |source| FolderError::Io { at, source }
}

#[cfg(test)]
pub(crate) mod testkit {
    use super::{Make, StateFolder};

    /// A state folder of its own, for as long as the first part lives.
    pub(crate) fn folder() -> (tempfile::TempDir, StateFolder) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&dir.path().join("state"), Make::IfAbsent).unwrap();
        (dir, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

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
    fn a_new_folder_is_for_its_owner_alone() {
        let (_dir, state) = testkit::folder();
        assert_eq!(fs::metadata(state.shown()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn links_are_not_followed_wherever_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/state")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        symlink("state", dir.path().join("real/link")).unwrap();
        for path in ["link/state", "real/link"] {
            let error = StateFolder::open(&dir.path().join(path), Make::IfAbsent).unwrap_err();
            assert!(matches!(error, FolderError::Link(_)), "{error}");
        }
    }

    #[test]
    fn a_folder_that_others_could_replace_is_refused_and_a_sticky_one_of_roots_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().join("above");
        fs::create_dir_all(above.join("state")).unwrap();
        fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
        let error = StateFolder::open(&above.join("state"), Make::Never).unwrap_err();
        assert!(matches!(error, FolderError::Replaceable { .. }), "{error}");
        // The folder of the test itself lies in such a one.
        StateFolder::open(dir.path(), Make::Never).unwrap();
    }

    #[test]
    fn what_is_not_there_is_not_made_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let error = StateFolder::open(&dir.path().join("state"), Make::Never).unwrap_err();
        assert!(matches!(error, FolderError::Absent(_)), "{error}");
    }

    #[test]
    fn an_open_folder_stays_the_same_when_its_path_is_made_anew() {
        let (dir, state) = testkit::folder();
        fs::rename(state.shown(), dir.path().join("away")).unwrap();
        fs::create_dir(state.shown()).unwrap();
        fs::write(dir.path().join("away/here"), "").unwrap();
        assert!(state.path().join("here").exists());
    }
}
