//! Folders and files by descriptor, without following links, and the three calls that a failing
//! disk answers with an error.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// What the ledger asks of a disk where the answer decides whether an entry is acknowledged.
pub(crate) trait Disk: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Writes zeros from the start to `length`, so that later writes allocate nothing, durably.
    fn fill(&self, file: &File, length: u64) -> io::Result<()>;
}

/// The disk there is.
#[derive(Debug)]
pub(crate) struct RealDisk;

const ZEROS: &[u8; 256 * 1024] = &[0; 256 * 1024];

impl Disk for RealDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn fill(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)?;
        zero(file, 0, length)?;
        file.sync_all()
    }
}

/// Writes zeros from `from` to `to`.
pub(crate) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(ZEROS.get(..length).unwrap_or(ZEROS), at)?;
        at += length as u64;
    }
    Ok(())
}

/// A folder, held by descriptor: what is at its path may change, what is meant does not.
#[derive(Debug)]
pub(crate) struct Folder {
    file: File,
    /// For messages only.
    path: PathBuf,
}

impl Folder {
    /// Opens `path`, which must be a folder and not a link to one. `/proc/self/fd/N` is the
    /// kernel's name for a folder that this process has open already, and nobody else can point it
    /// elsewhere.
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        let descriptor = path.parent() == Some(Path::new("/proc/self/fd"));
        let follow = if descriptor { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let flags = (OFlag::O_DIRECTORY | follow).bits();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        Ok(Folder { file, path: path.to_owned() })
    }

    /// Opens the folder that the caller gave, which may be a link: callers that hold it by descriptor
    /// name it as `/proc/self/fd/N`.
    pub(crate) fn given(path: &Path) -> io::Result<Folder> {
        let flags = OFlag::O_DIRECTORY.bits();
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        Ok(Folder { file, path: path.to_owned() })
    }

    /// Opens `path`, made first where it is missing, for the owner only.
    pub(crate) fn create(path: &Path) -> io::Result<Folder> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Folder::given(path)
    }

    /// Opens the folder `name` in this one.
    pub(crate) fn enter(&self, name: &str) -> io::Result<Folder> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        Ok(Folder { file: self.at(name, flags)?, path: self.path.join(name) })
    }

    /// Opens the folder `name` in this one, made first where it is missing.
    pub(crate) fn make(&self, name: &str) -> io::Result<Folder> {
        match mkdirat(&self.file, name, Mode::S_IRWXU) {
            Ok(()) => self.sync()?,
            Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.enter(name)
    }

    fn at(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let owned: OwnedFd = openat(&self.file, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(File::from(owned))
    }

    /// Opens `name` for reading.
    pub(crate) fn read(&self, name: &str) -> io::Result<File> {
        self.at(name, OFlag::O_RDONLY)
    }

    /// Opens `name` for reading and writing.
    pub(crate) fn write(&self, name: &str) -> io::Result<File> {
        self.at(name, OFlag::O_RDWR)
    }

    /// Makes `name` anew, empty.
    pub(crate) fn make_file(&self, name: &str) -> io::Result<File> {
        self.at(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC)
    }

    /// All of `name`, or `None` where it is missing.
    pub(crate) fn contents(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut file = match self.read(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Puts `bytes` at `name`, durably, whole or not at all.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let aside = format!("{name}.part");
        let written = self.make_file(&aside).and_then(|file| {
            file.write_all_at(bytes, 0)?;
            file.sync_all()
        });
        match written.and_then(|()| self.rename(&aside, name)) {
            Ok(()) => self.sync(),
            Err(error) => {
                // What is left over would hold space on a disk that may be full.
                drop(self.remove(&aside));
                Err(error)
            }
        }
    }

    /// Gives `from` the name `to`; durable after [`Folder::sync`].
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.file, from, &self.file, to)?)
    }

    /// Moves `name` into the folder `other`.
    pub(crate) fn hand_over(&self, name: &str, other: &Folder, to: &str) -> io::Result<()> {
        Ok(renameat(&self.file, name, &other.file, to)?)
    }

    /// Removes `name`.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.file, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The numbers of the files in it that are called twenty digits and `ending`, in order.
    pub(crate) fn numbered(&self, ending: &str) -> io::Result<Vec<u64>> {
        let mut folder = nix::dir::Dir::openat(
            &self.file,
            ".",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut numbers = Vec::new();
        for entry in folder.iter() {
            let entry = entry?;
            let digits = entry.file_name().to_str().ok().and_then(|name| name.strip_suffix(ending));
            let number = digits.filter(|digits| {
                digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())
            });
            numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Takes the one writer's lock, or says that somebody else holds it.
    pub(crate) fn lock(&self) -> Result<(), std::fs::TryLockError> {
        self.file.try_lock()
    }

    /// Where it was opened, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A file's name from its number: twenty digits, so that names sort as numbers do.
pub(crate) fn numbered(number: u64, ending: &str) -> String {
    format!("{number:020}{ending}")
}
