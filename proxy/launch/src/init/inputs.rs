//! Narrows the files that stand for the command's streams to what it may do with them by their names.
//!
//! A descriptor keeps the mount through which it was opened, and `/proc/self/fd` opens its file anew through that one:
//! a file that is read-only inside could be written by way of a stream that somebody outside opened to be read.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, Stat, StatVfsMountFlags};

use crate::{identity::Identity, plan::Plan, sys};

const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// A stream that is a file opened to be read, and where that lies.
#[derive(Debug)]
pub(super) struct Input {
    number: i32,
    name: &'static str,
    path: PathBuf,
    stat: Stat,
}

/// Finds them; while the `/proc` of the outside is there, and before anything is mounted.
pub(super) fn find(plan: &Plan) -> io::Result<Vec<Input>> {
    let mut found = Vec::new();
    for ((number, name), terminal) in (0..).zip(NAMES).zip(plan.terminal) {
        if terminal {
            continue;
        }
        let fd = sys::borrow(number)?;
        let stat = rustix::fs::fstat(fd)?;
        let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let reads = rustix::fs::fcntl_getfl(fd)? & OFlags::RWMODE == OFlags::RDONLY;
        // What has no name any more is not to be found by one, and nobody else's.
        if file && reads && stat.st_nlink > 0 {
            let path = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
            found.push(Input { number, name, path, stat });
        }
    }
    Ok(found)
}

/// Opens anew what is read-only inside. What can be written by its name stays as it is.
pub(super) fn narrow(inputs: &[Input], identity: &Identity) -> Result<(), String> {
    for input in inputs {
        let failed = |error: io::Error| format!("opening {} again: {error}", input.name);
        match again(&input.path, &input.stat) {
            Ok(Again::Writable) => {}
            Ok(Again::ReadOnly(file)) => input.replace(file).map_err(failed)?,
            Ok(Again::Another) | Err(_) if !input.could_be_written_by(identity) => {}
            Ok(Again::Another) => return Err(input.refused()),
            Err(error) if hidden(&error) => return Err(input.refused()),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// What is found by the name of a file.
enum Again {
    /// It, where it can be written as far as its mount goes.
    Writable,
    /// It, where it cannot.
    ReadOnly(File),
    /// Something else.
    Another,
}

fn again(path: &Path, stat: &Stat) -> io::Result<Again> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    if (found.st_dev, found.st_ino) != (stat.st_dev, stat.st_ino) {
        return Ok(Again::Another);
    }
    let mounted = rustix::fs::fstatvfs(&file)?;
    Ok(if mounted.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Again::ReadOnly(file.into())
    } else {
        Again::Writable
    })
}

fn hidden(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

impl Input {
    /// By its owner, who can also give others the right to, or by whoever has it.
    fn could_be_written_by(&self, identity: &Identity) -> bool {
        const BY_OTHERS: u32 = 0o022;
        self.stat.st_uid == identity.uid || self.stat.st_mode & BY_OTHERS != 0
    }

    /// Goes on where the stream stood.
    fn replace(&self, mut file: File) -> io::Result<()> {
        let outside: BorrowedFd<'_> = sys::borrow(self.number)?;
        let at = rustix::fs::seek(outside, rustix::fs::SeekFrom::Current(0))?;
        file.seek(SeekFrom::Start(at))?;
        sys::put_at(file.as_fd(), self.number)
    }

    fn refused(&self) -> String {
        format!(
            "{} is {}, which is not there inside, and could be written by way of it: pass it through a pipe, as in \
             `cat {1} | tollgate exec …`",
            self.name,
            self.path.display()
        )
    }
}
