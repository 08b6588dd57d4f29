//! Names what a run is asked to be, what the gate adds to it, and how it ended.

use std::{
    ffi::OsString,
    fmt, io,
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
};

use crate::{form::Form, identity::Identity, listeners::Listeners, places::Places, ports::Ports};

/// What the caller of `exec` asked for.
#[derive(Clone)]
pub struct Spec {
    /// The program, by path or as a name in PATH.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// Its environment before the gate's edits.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working folder.
    pub folder: PathBuf,
    /// Whom it runs as.
    pub identity: Identity,
    /// Paths that stay writable although they lie in system folders, which matters for uid 0 only, or in folders that
    /// are fixed (`--write`).
    pub write: Vec<PathBuf>,
    /// Descriptors beyond 0, 1 and 2 that it keeps (`--share-fd`).
    pub share: Vec<i32>,
    /// Ports that it shares with its host.
    pub ports: Ports,
    /// What it leaves as it is.
    pub places: Places,
    /// Sockets of programs outside that it may connect to (`--share-socket`).
    pub share_sockets: Vec<PathBuf>,
}

impl Spec {
    /// The program as the caller would run it: same environment, folder and user, nothing shared.
    ///
    /// # Errors
    /// When the working folder or the user's groups cannot be found out.
    pub fn here(program: OsString, arguments: Vec<OsString>) -> io::Result<Self> {
        Ok(Self {
            program,
            arguments,
            environment: std::env::vars_os().collect(),
            folder: std::env::current_dir()?,
            identity: Identity::current()?,
            write: Vec::new(),
            share: Vec::new(),
            ports: Ports::default(),
            places: Places::default(),
            share_sockets: Vec::new(),
        })
    }
}

/// The environment may hold real keys and is not shown.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("program", &self.program)
            .field("folder", &self.folder)
            .field("identity", &self.identity)
            .field("write", &self.write)
            .field("share", &self.share)
            .field("ports", &self.ports)
            .field("places", &self.places)
            .field("share_sockets", &self.share_sockets)
            .finish_non_exhaustive()
    }
}

/// What the gate gets when a run is registered.
#[derive(Debug)]
pub struct Registration<'a> {
    /// How the run is cut off.
    pub form: Form,
    /// The sockets inside, to be passed on and not used by front.
    pub listeners: &'a Listeners,
    /// The run's cgroup v2 folder, where the kernel programs are to be attached; nothing runs in it yet. There is none
    /// in the form of a user namespace, where [`crate::original_destination`] tells where a connection wanted to go.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// What goes inside a run, as the gate answered.
pub struct Prepared {
    /// Variables to set, or to remove where there is no value.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// Files to mount over.
    pub covers: Vec<Cover>,
    /// Files and folders to make read-only: configuration, policy, this program.
    pub read_only: Vec<PathBuf>,
    /// Files and folders to make absent: the state folder, the gate's sockets.
    pub absent: Vec<Absent>,
    /// Becomes readable or hung up when the gate has ended and at no other time: the read end of a pipe, or a
    /// descriptor of its process.
    pub gate_alive: Option<OwnedFd>,
}

/// What goes inside may be secret and is not shown.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("covers", &self.covers)
            .field("read_only", &self.read_only)
            .field("absent", &self.absent)
            .finish_non_exhaustive()
    }
}

/// A file that shows other bytes inside, read-only. Links are followed; where there is no file, nothing is done.
#[derive(Clone)]
pub struct Cover {
    /// Where.
    pub path: PathBuf,
    /// What is read there.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// User and group; root without.
    pub owner: Option<(u32, u32)>,
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cover")
            .field("path", &self.path)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A file or folder that is not there inside. What does not exist when the run starts is skipped.
#[derive(Debug, Clone)]
pub struct Absent {
    /// Where.
    pub path: PathBuf,
    /// Device and inode that it must have, or the run is refused: a name may have been given to something else.
    pub inode: Option<(u64, u64)>,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It was not found.
    NotFound,
    /// It was found and cannot be executed, for this reason (an error number).
    NotExecutable(i32),
}

impl Ended {
    /// The exit code of `exec`: the command's own, 128 and the signal, 126 or 127.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
            Self::NotExecutable(_) => crate::NOT_EXECUTABLE,
            Self::NotFound => crate::NOT_FOUND,
        }
    }
}
