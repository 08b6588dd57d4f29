//! Small files of the state folder, by its descriptor: no link is followed, no path is walked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, geteuid, unlinkat};
use zeroize::Zeroizing;

use super::VaultError;

/// The state folder, held open.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// The folder behind a descriptor.
    #[must_use]
    pub(super) const fn new(state: OwnedFd) -> Self {
        Self(state)
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    ///
    /// It is there and cannot be opened.
    pub(super) fn has(&self, file: &'static str) -> Result<bool, VaultError> {
        self.open(file).map(|found| found.is_some())
    }

    /// The whole of a file that nobody else can read; `None` where there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read, is longer than `largest`, can be read by others, or belongs to another.
    pub(super) fn read(
        &self,
        file: &'static str,
        largest: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(open) = self.open(file)? else { return Ok(None) };
        let about = open.metadata().map_err(VaultError::io(file))?;
        if about.uid() != geteuid().as_raw() || about.mode() & 0o077 != 0 {
            return Err(VaultError::Exposed { file });
        }
        if !about.is_file() || about.len() > largest {
            let cause = io::Error::from(io::ErrorKind::InvalidData);
            return Err(VaultError::Io { file, cause });
        }
        // Sized once: growing would leave copies behind that nothing wipes.
        let capacity = usize::try_from(largest.min(about.len() + 1)).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        open.take(about.len()).read_to_end(&mut bytes).map_err(VaultError::io(file))?;
        Ok(Some(bytes))
    }

    /// Puts a file in place of another, or of none: after a crash there is the old one or the new one.
    ///
    /// # Errors
    ///
    /// It cannot be written; the old one is still there.
    pub(super) fn replace(&self, file: &'static str, bytes: &[u8]) -> Result<(), VaultError> {
        let fresh = format!("{file}.new");
        let write = || -> io::Result<()> {
            // What an interrupted write left is not written over: it could be somebody's link.
            match unlinkat(self.0.as_fd(), fresh.as_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(cause) => return Err(cause.into()),
            }
            let flags = OFlag::O_WRONLY
                | OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            let mut new = File::from(openat(self.0.as_fd(), fresh.as_str(), flags, mode)?);
            new.write_all(bytes)?;
            new.sync_all()?;
            renameat(self.0.as_fd(), fresh.as_str(), self.0.as_fd(), file)?;
            fsync(self.0.as_fd())?;
            Ok(())
        };
        write().map_err(VaultError::io(file))
    }

    fn open(&self, file: &'static str) -> Result<Option<File>, VaultError> {
        // Not blocking, so that a pipe planted under the name cannot hold the gate up.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        match openat(self.0.as_fd(), file, flags, Mode::empty()) {
            Ok(open) => Ok(Some(File::from(open))),
            Err(Errno::ENOENT) => Ok(None),
            Err(cause) => Err(VaultError::Io { file, cause: cause.into() }),
        }
    }
}
