//! The gate's socket: where it lies, who may bind it, and who may speak on it.
//!
//! It is named after the state folder's device and inode, so that renaming the folder, or making
//! another one in its place, never leads a client to the wrong gate. Its own folder belongs to this
//! user alone. Even so nothing is said on it before both ends have proved that they hold the
//! state's key.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};
use serde::{Deserialize, Serialize};

pub use super::master_key::{KeyError, MASTER_KEY, load_master_key, load_or_make_master_key};
pub use super::proof::{ProofError, StateKey};

use super::proof;
use super::protocol;
use crate::folder::{FolderError, Make, StateFolder};

/// Where root's sockets lie.
const ROOT_SOCKETS: &str = "/run/tollgate";

/// Where the socket of a state folder lies: an open folder of this user's, and a name in it.
#[derive(Debug)]
pub struct Place {
    folder: StateFolder,
    name: String,
}

impl Place {
    /// The place for `state`: `/run/tollgate` for root, `$XDG_RUNTIME_DIR/tollgate` for others, and
    /// the state folder itself where there is no such folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, or somebody else could replace it.
    pub fn of(state: &StateFolder) -> Result<Self, FolderError> {
        let root = rustix::process::geteuid().is_root();
        Self::within(state, sockets(root, std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)))
    }

    /// The place for `state` in the folder `sockets`.
    ///
    /// # Errors
    ///
    /// As [`Place::of`].
    pub fn within(state: &StateFolder, sockets: Option<PathBuf>) -> Result<Self, FolderError> {
        let folder = match sockets {
            Some(path) => StateFolder::open(&path, Make::IfAbsent, None)?,
            None => state.clone(),
        };
        let (device, inode) = state.identity();
        Ok(Self { folder, name: format!("{device:x}-{inode:x}.sock") })
    }

    /// The folder of the sockets, where it is not the state folder itself.
    #[must_use]
    pub fn folder(&self, state: &StateFolder) -> Option<PathBuf> {
        (self.folder.identity() != state.identity()).then(|| self.folder.shown().to_owned())
    }

    /// The path, for people.
    #[must_use]
    pub fn shown(&self) -> PathBuf {
        self.folder.shown().join(&self.name)
    }

    /// The path by descriptor: short enough for a socket's address however long the folder's own
    /// is, and not to be led elsewhere by renaming a folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Connects, if anything listens there. Nothing is proved yet.
    pub(crate) fn connect(&self) -> io::Result<Option<UnixStream>> {
        const NOBODY: [io::ErrorKind; 2] =
            [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        match UnixStream::connect(self.path(&self.name)) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if NOBODY.contains(&error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn sockets(root: bool, runtime: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from(ROOT_SOCKETS));
    }
    runtime.filter(|path| path.is_absolute() && path.is_dir()).map(|path| path.join("tollgate"))
}

/// The gate's end of the socket. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    place: Place,
    bound: (u64, u64),
}

impl Listener {
    /// Listens for the gate of one state folder.
    ///
    /// The caller holds the ledger's lock, so whatever listens there now is left over from a gate
    /// that is gone, and is replaced without a moment in which there is no socket.
    ///
    /// # Errors
    ///
    /// The folder does not take a socket.
    pub fn bind(place: Place) -> io::Result<Self> {
        let fresh = format!("{}.{}", place.name, std::process::id());
        remove(&place.path(&fresh))?;
        let socket = UnixListener::bind(place.path(&fresh))?;
        let stat = rustix::fs::statat(place.folder.fd(), &fresh, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::renameat(place.folder.fd(), &fresh, place.folder.fd(), &place.name)?;
        Ok(Self { socket, bound: (stat.st_dev, stat.st_ino), place })
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// The system has no descriptors left, or the socket broke.
    pub fn accept(&self) -> io::Result<Incoming> {
        let (stream, _) = self.socket.accept()?;
        Ok(Incoming(stream))
    }

    /// Where it listens, for people.
    #[must_use]
    pub fn shown(&self) -> PathBuf {
        self.place.shown()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    /// A later gate may have put its own socket there.
    fn drop(&mut self) {
        let (folder, name) = (self.place.folder.fd(), &self.place.name);
        let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.bound) {
            // What stays behind is replaced by the next gate.
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).unwrap_or_default();
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A connection whose other end has proved nothing yet.
#[derive(Debug)]
pub struct Incoming(UnixStream);

impl Incoming {
    /// Waits, five seconds for each word, for both ends to prove themselves. For a thread of the
    /// connection's own: a silent client must not hold up the next one.
    ///
    /// # Errors
    ///
    /// The client did not prove itself. The connection is closed.
    pub fn prove(mut self, key: &StateKey) -> Result<Conn, ProofError> {
        proof::as_gate(&mut self.0, key)?;
        Ok(Conn(self.0))
    }
}

/// A connection between two holders of the state's key.
#[derive(Debug)]
pub struct Conn(UnixStream);

impl Conn {
    /// Proves the client's side of a connection and checks the gate's.
    pub(crate) fn prove(mut stream: UnixStream, key: &StateKey) -> Result<Self, ProofError> {
        proof::as_client(&mut stream, key)?;
        Ok(Self(stream))
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// As [`protocol::write_frame`].
    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        protocol::write_frame(&mut self.0, message)
    }

    /// Waits for one frame; `None` when the other end has closed.
    ///
    /// # Errors
    ///
    /// As [`protocol::read_frame`].
    pub fn receive<T: for<'de> Deserialize<'de>>(&mut self) -> io::Result<Option<T>> {
        protocol::read_frame(&mut self.0)
    }

    /// The socket itself, for descriptors that follow a frame.
    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// A second handle, so that one thread can send while another waits.
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::testkit::folder;

    #[test]
    fn root_has_one_place_and_others_their_own_or_the_state_folder() {
        assert_eq!(sockets(true, Some("/tmp".into())), Some(ROOT_SOCKETS.into()));
        assert_eq!(sockets(false, Some("/tmp".into())), Some("/tmp/tollgate".into()));
        assert_eq!(sockets(false, Some("relative".into())), None);
        assert_eq!(sockets(false, Some("/no/such/folder".into())), None);
        assert_eq!(sockets(false, None), None);
    }

    #[test]
    fn the_socket_follows_the_folder_and_not_its_path() {
        let (dir, state) = folder();
        let listener = Listener::bind(Place::within(&state, None).unwrap()).unwrap();
        let moved = dir.path().join("moved");
        std::fs::rename(state.shown(), &moved).unwrap();
        std::fs::create_dir(state.shown()).unwrap();
        let again = StateFolder::open(&moved, Make::Never, None).unwrap();
        assert!(Place::within(&again, None).unwrap().connect().unwrap().is_some());
        drop(listener);
        assert!(Place::within(&again, None).unwrap().connect().unwrap().is_none());
    }

    #[test]
    fn a_socket_left_by_a_gate_that_died_is_replaced_and_its_ghost_removes_nothing() {
        let (_dir, state) = folder();
        let dead = Listener::bind(Place::within(&state, None).unwrap()).unwrap();
        let alive = Listener::bind(Place::within(&state, None).unwrap()).unwrap();
        drop(dead);
        assert!(Place::within(&state, None).unwrap().connect().unwrap().is_some());
        drop(alive);
    }
}
