//! Tells the first process inside what to do; passed in a sealed memory file, never in arguments.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::{form::Form, identity::Identity, sockets::Sockets};

/// A string of the system: any bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    pub(crate) fn as_os(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(self.as_os())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<OsString> for Text {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

impl From<PathBuf> for Text {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string().into_vec())
    }
}

/// A file to be mounted over; its bytes follow the plan.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overlaid {
    pub(crate) path: Text,
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) len: usize,
}

/// A place to be made absent, and which file it must be.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hidden {
    pub(crate) path: Text,
    pub(crate) inode: Option<(u64, u64)>,
}

/// Everything that the first process inside needs to know.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) program: Text,
    pub(crate) arguments: Vec<Text>,
    pub(crate) folder: Text,
    pub(crate) folder_inode: (u64, u64),
    pub(crate) home: Option<Text>,
    pub(crate) form: Form,
    pub(crate) identity: Identity,
    pub(crate) files: Vec<Overlaid>,
    pub(crate) read_only: Vec<Text>,
    pub(crate) hidden: Vec<Hidden>,
    pub(crate) write: Vec<Text>,
    pub(crate) fixed: Vec<Text>,
    pub(crate) held: Vec<Text>,
    pub(crate) share: Vec<i32>,
    pub(crate) sockets: Sockets,
    /// Which of the standard streams are the pseudo terminal.
    pub(crate) terminal: [bool; 3],
    /// Signals that were blocked when `exec` was called.
    pub(crate) blocked: Vec<i32>,
}

/// Writes the plan and the files' bytes into a memory file that nobody can change any more.
pub(crate) fn seal(plan: &Plan, contents: &[&[u8]]) -> io::Result<OwnedFd> {
    let fd =
        rustix::fs::memfd_create("tollgate-plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    let text = serde_json::to_vec(plan)?;
    let length = u64::try_from(text.len()).map_err(io::Error::other)?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&text)?;
    for bytes in contents {
        file.write_all(bytes)?;
    }
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

/// Reads what [`seal`] wrote.
pub(crate) fn unseal(fd: OwnedFd) -> io::Result<(Plan, Vec<Vec<u8>>)> {
    let seals = rustix::fs::fcntl_get_seals(fd.as_fd())?;
    if !seals.contains(SealFlags::WRITE) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the plan is not sealed"));
    }
    let mut file = File::from(fd);
    file.rewind()?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut text = vec![0; usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?];
    file.read_exact(&mut text)?;
    let plan: Plan = serde_json::from_slice(&text)?;
    let mut contents = Vec::with_capacity(plan.files.len());
    for overlaid in &plan.files {
        let mut bytes = vec![0; overlaid.len];
        file.read_exact(&mut bytes)?;
        contents.push(bytes);
    }
    Ok((plan, contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            program: Text(b"\xff/prog".to_vec()),
            arguments: vec![Text(b"a\nb".to_vec())],
            folder: Text(b"/".to_vec()),
            folder_inode: (1, 2),
            home: None,
            form: Form::UserNamespace,
            identity: Identity { uid: 1, gid: 2, groups: vec![3] },
            files: vec![Overlaid {
                path: Text(b"/etc/x".to_vec()),
                mode: 0o644,
                owner: None,
                len: 3,
            }],
            read_only: Vec::new(),
            hidden: vec![Hidden { path: Text(b"/s".to_vec()), inode: Some((9, 9)) }],
            write: Vec::new(),
            fixed: vec![Text(b"/h/.ssh".to_vec())],
            held: vec![Text(b"/h".to_vec())],
            share: vec![7],
            sockets: Sockets { masked: vec![Text(b"/a".to_vec())], ..Sockets::default() },
            terminal: [true, false, true],
            blocked: vec![2],
        }
    }

    #[test]
    fn a_sealed_plan_reads_back_as_it_was() {
        let fd = seal(&plan(), &[b"abc"]).unwrap();
        assert_eq!(unseal(fd).unwrap(), (plan(), vec![b"abc".to_vec()]));
    }

    #[test]
    fn a_sealed_plan_cannot_be_changed() {
        let fd = seal(&plan(), &[b"abc"]).unwrap();
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(rustix::io::Errno::PERM));
    }

    #[test]
    fn a_plan_without_seals_is_refused() {
        let fd = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .unwrap();
        assert!(unseal(fd).is_err());
    }
}
