//! Looks a path up as its caller would: from the caller's root and working folder, its own process in `/proc`.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags},
    io::Errno,
};

use super::caller::Caller;

/// Links that the kernel follows in one path (`MAXSYMLINKS`, linux/namei.h).
const MOST_LINKS: u32 = 40;
/// `PROC_SUPER_MAGIC` (linux/magic.h).
const PROC: u64 = 0x9fa0;
/// The inode of the top folder of each `/proc` (`PROC_ROOT_INO`, `linux/proc_fs.h`).
const PROC_ROOT: u64 = 1;

const NAMED: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Where the caller's paths begin.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) root: OwnedFd,
    /// For a relative path.
    pub(super) folder: Option<OwnedFd>,
}

impl Start {
    /// Opens what `path` needs.
    pub(super) fn of(caller: &Caller, path: &[u8]) -> Result<Self, Errno> {
        let relative = !path.starts_with(b"/");
        Ok(Self {
            root: caller.folder("root")?,
            folder: relative.then(|| caller.folder("cwd")).transpose()?,
        })
    }

    /// Names the file that `path` names for the caller, without opening it.
    pub(super) fn find(&self, path: &[u8], caller: &Caller) -> Result<OwnedFd, Errno> {
        match self.without_links(path) {
            // Not all paths can be looked up that way, nor on all kernels.
            Err(Errno::LOOP | Errno::NOSYS | Errno::INVAL | Errno::AGAIN) => {
                Walk::new(self, path, caller)?.finish()
            }
            other => other,
        }
    }

    fn without_links(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let (start, bound) = match &self.folder {
            None => (&self.root, ResolveFlags::IN_ROOT),
            Some(_) if path.split(|&byte| byte == b'/').any(|part| part == b"..") => {
                return Err(Errno::LOOP);
            }
            Some(folder) => (folder, ResolveFlags::empty()),
        };
        rustix::fs::openat2(start, path, NAMED, Mode::empty(), bound | ResolveFlags::NO_SYMLINKS)
    }
}

/// A look-up, part by part.
struct Walk<'a> {
    start: &'a Start,
    caller: &'a Caller,
    at: OwnedFd,
    ahead: VecDeque<Vec<u8>>,
    links: u32,
}

impl<'a> Walk<'a> {
    fn new(start: &'a Start, path: &[u8], caller: &'a Caller) -> Result<Self, Errno> {
        let first = start.folder.as_ref().unwrap_or(&start.root);
        let mut walk = Self { start, caller, at: again(first)?, ahead: VecDeque::new(), links: 0 };
        walk.go(path)?;
        Ok(walk)
    }

    /// Puts the parts of a path before those that are ahead.
    fn go(&mut self, path: &[u8]) -> Result<(), Errno> {
        if path.starts_with(b"/") {
            self.at = again(&self.start.root)?;
        }
        for part in path.split(|&byte| byte == b'/').rev() {
            self.ahead.push_front(part.to_vec());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<OwnedFd, Errno> {
        while let Some(part) = self.ahead.pop_front() {
            match part.as_slice() {
                b"" if !self.ahead.is_empty() => {}
                // A path that ends in a slash names a folder.
                b"" | b"." => self.at = open(&self.at, b".", OFlags::empty())?,
                b".." if self.is_at_root()? => {}
                b".." => self.at = open(&self.at, b"..", OFlags::empty())?,
                name => self.enter(name)?,
            }
        }
        Ok(self.at)
    }

    fn enter(&mut self, name: &[u8]) -> Result<(), Errno> {
        let next = open(&self.at, name, OFlags::NOFOLLOW)?;
        let stat = rustix::fs::fstat(&next)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            self.at = next;
            return Ok(());
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        if rustix::fs::fstatfs(&next)?.f_type.cast_unsigned() == PROC {
            return self.follow_in_proc(name);
        }
        let link = rustix::fs::readlinkat(&next, "", Vec::new())?;
        self.go(link.as_bytes())
    }

    /// In `/proc` a link leads to what a process has there, whatever its text says; but for two that mean whoever
    /// looks, and those that begin with them.
    fn follow_in_proc(&mut self, name: &[u8]) -> Result<(), Errno> {
        if rustix::fs::fstat(&self.at)?.st_ino != PROC_ROOT {
            self.at = open(&self.at, name, OFlags::empty())?;
            return Ok(());
        }
        let (process, thread) = self.numbers()?;
        match name {
            b"self" => self.go(process.to_string().as_bytes()),
            b"thread-self" => self.go(format!("{process}/task/{thread}").as_bytes()),
            // "net", "mounts": "self/net", "self/mounts".
            _ => {
                let link = rustix::fs::readlinkat(&self.at, name, Vec::new())?;
                self.go(link.as_bytes())
            }
        }
    }

    /// The caller's numbers in the `/proc` that the walk is in. It is this process's, or one of a PID namespace
    /// below, where this process has no number.
    fn numbers(&self) -> Result<(i32, i32), Errno> {
        match rustix::fs::readlinkat(&self.at, "self", Vec::new()) {
            Ok(_) => Ok((self.caller.process, self.caller.thread)),
            Err(Errno::NOENT) => Ok(self.caller.innermost),
            Err(error) => Err(error),
        }
    }

    fn is_at_root(&self) -> Result<bool, Errno> {
        Ok(place(&self.at)? == place(&self.start.root)?)
    }
}

fn again(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(folder, 0)
}

fn open(folder: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(folder.as_fd(), name, NAMED | flags, Mode::empty())
}

/// A folder and the mount through which it is seen.
fn place(folder: &OwnedFd) -> Result<(u64, u32, u32, u64), Errno> {
    let what = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(folder, "", AtFlags::EMPTY_PATH, what)?;
    Ok((stat.stx_mnt_id, stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}
