//! The key of a state folder: everything in the folder is sealed under it, and who holds it is who
//! the folder belongs to.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::fs::{AtFlags, Mode, OFlags};
use zeroize::Zeroizing;

use crate::clock;
use crate::folder::StateFolder;

/// The key's file in the state folder: 32 raw bytes, 0600.
pub const MASTER_KEY: &str = "master.key";
/// Bytes of a key.
const LENGTH: usize = 32;

/// Why the key of a state folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none yet.
    #[error("{0} has no {MASTER_KEY}: nothing was ever recorded there")]
    Absent(String),
    /// There is none, but something was sealed under one.
    #[error(
        "{folder} has a {found} but no {MASTER_KEY}: what is there cannot be read without it; put the key back from \
         your backup, or move the folder away to begin a new one"
    )]
    Lost {
        /// The state folder.
        folder: String,
        /// What was sealed.
        found: &'static str,
    },
    /// The file is not what the gate made.
    #[error("{folder}/{MASTER_KEY} {what}")]
    NotAKey {
        /// The state folder.
        folder: String,
        /// What is wrong with it, and what to do.
        what: &'static str,
    },
    /// The system refused something.
    #[error("cannot {doing} {folder}/{MASTER_KEY}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The state folder.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The key, made now if the folder is new. Whoever comes first makes it; everybody gets that one.
///
/// # Errors
///
/// The key is lost, spoilt, or cannot be read or made.
pub fn load_or_make_master_key(state: &StateFolder) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    match load_master_key(state) {
        Err(KeyError::Absent(_)) => {
            make(state)?;
            load_master_key(state)
        }
        loaded => loaded,
    }
}

/// The key of a folder that has one.
///
/// # Errors
///
/// As [`load_or_make_master_key`], and where there is none.
pub fn load_master_key(state: &StateFolder) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    if let Some(key) = state.key() {
        return Ok(key.clone());
    }
    let folder = || state.shown().display().to_string();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(state.fd(), MASTER_KEY, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Err(none(state)),
        Err(rustix::io::Errno::LOOP) => {
            let what = "is a link: remove it and put the key itself there";
            return Err(KeyError::NotAKey { folder: folder(), what });
        }
        Err(error) => return Err(failed("open", state)(error.into())),
    };
    if let Some(what) = fault(&file).map_err(failed("look at", state))? {
        return Err(KeyError::NotAKey { folder: folder(), what });
    }
    let mut key = Zeroizing::new([0; LENGTH]);
    (&file).read_exact(key.as_mut()).map_err(failed("read", state))?;
    Ok(key)
}

/// What makes this file something else than a key of ours.
fn fault(file: &File) -> io::Result<Option<&'static str>> {
    let stat = rustix::fs::fstat(file)?;
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    Ok(if !regular {
        Some("is not a file: move it away")
    } else if stat.st_uid != rustix::process::geteuid().as_raw() {
        Some("belongs to another user: run this command as that user")
    } else if stat.st_mode & 0o077 != 0 {
        Some("can be read by other users: `chmod 600` it, and think of the key as known to them")
    } else if u64::try_from(stat.st_size).ok() != Some(LENGTH as u64) {
        Some("does not have 32 bytes: put the key back from your backup")
    } else {
        None
    })
}

/// A folder without a key is new, unless something in it was sealed.
fn none(state: &StateFolder) -> KeyError {
    let folder = state.shown().display().to_string();
    let there = |name: &&'static str| {
        rustix::fs::statat(state.fd(), *name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    };
    match ["ledger", "vault", "checkpoint"].into_iter().find(there) {
        Some(found) => KeyError::Lost { folder, found },
        None => KeyError::Absent(folder),
    }
}

/// Writes a new key under a name of its own and links it to the name, so that nobody ever sees a
/// part of a key and the first one stays.
fn make(state: &StateFolder) -> Result<(), KeyError> {
    let key = Zeroizing::new(clock::random::<LENGTH>().map_err(failed("make", state))?);
    let suffix = u64::from_be_bytes(clock::random().map_err(failed("make", state))?);
    let name = format!("{MASTER_KEY}.{suffix:016x}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(state.fd(), &name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| failed("make", state)(error.into()))?;
    let written = write(&mut File::from(fd), &key).and_then(|()| {
        match rustix::fs::linkat(state.fd(), &name, state.fd(), MASTER_KEY, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    });
    let removed = rustix::fs::unlinkat(state.fd(), &name, AtFlags::empty());
    written.map_err(failed("write", state))?;
    removed.map_err(|error| failed("write", state)(error.into()))?;
    rustix::fs::fsync(state.fd()).map_err(|error| failed("write", state)(error.into()))
}

fn write(file: &mut File, key: &[u8; LENGTH]) -> io::Result<()> {
    file.write_all(key)?;
    file.sync_all()
}

fn failed(doing: &'static str, state: &StateFolder) -> impl FnOnce(io::Error) -> KeyError {
    let folder = state.shown().display().to_string();
    move |source| KeyError::Io { doing, folder, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::testkit::folder;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn everybody_who_makes_the_key_at_once_gets_the_same() {
        let (_dir, state) = folder();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| *load_or_make_master_key(&state).unwrap()))
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && *key != [0; 32]));
        let left = std::fs::read_dir(state.path()).unwrap().count();
        assert_eq!(left, 1, "only the key is left");
    }

    #[test]
    fn a_lost_key_is_not_replaced_where_something_was_sealed() {
        let (_dir, state) = folder();
        std::fs::create_dir(state.path().join("ledger")).unwrap();
        let lost = load_or_make_master_key(&state).unwrap_err();
        assert!(matches!(lost, KeyError::Lost { found: "ledger", .. }), "{lost}");
    }

    #[test]
    fn what_is_not_a_private_key_file_is_refused() {
        for spoil in [
            (|at: &std::path::Path| std::fs::write(at, [1; 31]).unwrap()) as fn(&std::path::Path),
            |at| {
                std::fs::write(at, [1; 32]).unwrap();
                std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o644)).unwrap();
            },
            |at| std::os::unix::fs::symlink("/etc/hostname", at).unwrap(),
            |at| std::fs::create_dir(at).unwrap(),
        ] {
            let (_dir, state) = folder();
            let at = state.path().join(MASTER_KEY);
            spoil(&at);
            let error = load_or_make_master_key(&state).unwrap_err();
            assert!(matches!(error, KeyError::NotAKey { .. }), "{error}");
        }
    }

    #[test]
    fn the_key_is_for_its_owner_only() {
        let (_dir, state) = folder();
        load_or_make_master_key(&state).unwrap();
        let mode = std::fs::metadata(state.path().join(MASTER_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
