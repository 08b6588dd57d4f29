//! Which files may widen what a run is allowed: the ones whose bytes the user has vouched for.
//!
//! A file that a flag names is the user's word, and its digest is remembered. If it has changed
//! since, and lies where a governed command could have written, it is no longer the user's word
//! until they say so again. A file that was only found in the working folder is nobody's word.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use launch::Identity;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::folder::StateFolder;

/// What is remembered, in the state folder.
const TRUSTED: &str = "trusted.json";
/// The most bytes of it.
const LONGEST: u64 = 16 << 20;
/// Folders that a command of uid 0 finds read-only (attacks 2).
const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot", "/opt", "/var/lib", "/var/spool"];

/// What a file may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The user's word: it may widen.
    MayWiden,
    /// Only found, but vouched for: it may narrow, and nothing else.
    MayNarrow,
    /// It changed since it was vouched for, where a governed command could have written.
    Changed,
    /// Only found, and nobody vouched for it.
    NotTrusted,
}

/// Why it cannot be said what a file may do.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// What was remembered cannot be read, so nothing is trusted.
    #[error(
        "{0}/{TRUSTED} cannot be read ({1}): move it away, then `tollgate trust FILE` for each file that you use"
    )]
    Spoilt(String, serde_json::Error),
    /// The system refused something.
    #[error("cannot {doing} {at}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        at: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Digests by absolute path, as typed: a link that is made to lead elsewhere keeps its name.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Trusted {
    files: BTreeMap<String, String>,
}

/// Judges a file whose bytes have this digest, and remembers one that is the user's word.
///
/// `found` says that nobody named it: it was found in the working folder.
///
/// # Errors
///
/// What was remembered cannot be read or written; nothing may be allowed then.
pub fn check(
    state: &StateFolder,
    file: &Path,
    digest: &[u8; 32],
    found: bool,
) -> Result<Verdict, TrustError> {
    let writable = could_be_written(file).map_err(failed("look at", file))?;
    check_where(state, file, digest, found, writable)
}

fn check_where(
    state: &StateFolder,
    file: &Path,
    digest: &[u8; 32],
    found: bool,
    writable: bool,
) -> Result<Verdict, TrustError> {
    let name = name(file)?;
    let _lock = lock(state)?;
    let mut trusted = read(state)?;
    let remembered = trusted.files.get(&name).map(|known| *known == hex(digest));
    let verdict = match (found, remembered) {
        (true, Some(true)) => Verdict::MayNarrow,
        (true, None) => Verdict::NotTrusted,
        (true, Some(false)) => Verdict::Changed,
        (false, Some(false)) if writable => Verdict::Changed,
        (false, Some(_) | None) => Verdict::MayWiden,
    };
    if verdict == Verdict::MayWiden && remembered != Some(true) {
        trusted.files.insert(name, hex(digest));
        write(state, &trusted)?;
    }
    Ok(verdict)
}

/// The user vouches for a file whose bytes have this digest.
///
/// # Errors
///
/// It cannot be remembered.
pub fn remember(state: &StateFolder, file: &Path, digest: &[u8; 32]) -> Result<(), TrustError> {
    let _lock = lock(state)?;
    let mut trusted = read(state)?;
    trusted.files.insert(name(file)?, hex(digest));
    write(state, &trusted)
}

fn name(file: &Path) -> Result<String, TrustError> {
    let path = std::path::absolute(file).map_err(failed("name", file))?;
    // Two names that differ in bytes that are no text must not be one.
    Ok(path.to_str().map_or_else(|| escaped(&path), str::to_owned))
}

/// What is no text by its number, and a backslash by two.
fn escaped(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// Whether a command that runs as this user could have written the file or put another in its
/// place. Where that is not clear, it could.
fn could_be_written(file: &Path) -> io::Result<bool> {
    let who = Identity::current()?;
    if who.is_root() {
        let real = file.canonicalize()?;
        return Ok(!SYSTEM.iter().any(|folder| real.starts_with(folder)));
    }
    Ok(launch::state::writable_by(file, &who)?.is_some())
}

/// Held while the file is read and written, so that no digest of another run is lost.
fn lock(state: &StateFolder) -> Result<File, TrustError> {
    let at = state.path();
    let fd = rustix::fs::openat(
        state.fd(),
        "trusted.lock",
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    );
    let file = File::from(fd.map_err(|error| failed("open", &at)(error.into()))?);
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", &at)(error.into()))?;
    Ok(file)
}

fn read(state: &StateFolder) -> Result<Trusted, TrustError> {
    let at = state.shown().join(TRUSTED);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(state.fd(), TRUSTED, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(Trusted::default()),
        Err(error) => return Err(failed("open", &at)(error.into())),
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed("read", &at))?;
    serde_json::from_str(&text)
        .map_err(|error| TrustError::Spoilt(state.shown().display().to_string(), error))
}

/// Puts the new file in the place of the old one once it is whole on disk.
fn write(state: &StateFolder, trusted: &Trusted) -> Result<(), TrustError> {
    let at = state.shown().join(TRUSTED);
    let fail = |error: rustix::io::Errno| failed("write", &at)(error.into());
    let suffix = u64::from_be_bytes(clock::random().map_err(failed("write", &at))?);
    let fresh = format!("{TRUSTED}.{suffix:016x}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(state.fd(), &fresh, flags, Mode::RUSR | Mode::WUSR).map_err(fail)?;
    let mut file = File::from(fd);
    let written = serde_json::to_vec_pretty(trusted)
        .map_err(io::Error::from)
        .and_then(|text| file.write_all(&text))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(rustix::fs::renameat(state.fd(), &fresh, state.fd(), TRUSTED)?));
    if let Err(error) = written {
        // What is left is not read by anybody.
        rustix::fs::unlinkat(state.fd(), &fresh, rustix::fs::AtFlags::empty()).unwrap_or_default();
        return Err(failed("write", &at)(error));
    }
    rustix::fs::fsync(state.fd()).map_err(fail)
}

fn failed(doing: &'static str, at: &Path) -> impl FnOnce(io::Error) -> TrustError + use<> {
    let at: PathBuf = at.to_owned();
    move |source| TrustError::Io { doing, at: at.display().to_string(), source }
}

/// A digest as people compare it.
#[must_use]
pub fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::testkit::folder;

    const A: [u8; 32] = [0xa; 32];
    const B: [u8; 32] = [0xb; 32];
    const FILE: &str = "/work/project/policy.yaml";

    fn named(state: &StateFolder, digest: &[u8; 32], writable: bool) -> Verdict {
        check_where(state, Path::new(FILE), digest, false, writable).unwrap()
    }

    fn found(state: &StateFolder, digest: &[u8; 32]) -> Verdict {
        check_where(state, Path::new(FILE), digest, true, true).unwrap()
    }

    #[test]
    fn a_named_file_is_the_users_word_until_it_changes_where_a_command_could_write() {
        let (_dir, state) = folder();
        assert_eq!(named(&state, &A, true), Verdict::MayWiden);
        assert_eq!(named(&state, &A, true), Verdict::MayWiden);
        assert_eq!(named(&state, &B, true), Verdict::Changed);
        assert_eq!(
            named(&state, &B, true),
            Verdict::Changed,
            "asking twice does not make it trusted"
        );
        remember(&state, Path::new(FILE), &B).unwrap();
        assert_eq!(named(&state, &B, true), Verdict::MayWiden);
    }

    #[test]
    fn a_named_file_that_no_command_can_write_may_change() {
        let (_dir, state) = folder();
        assert_eq!(named(&state, &A, false), Verdict::MayWiden);
        assert_eq!(named(&state, &B, false), Verdict::MayWiden);
        assert_eq!(named(&state, &A, true), Verdict::Changed, "the newest is what was remembered");
    }

    #[test]
    fn a_found_file_needs_a_word_and_only_narrows() {
        let (_dir, state) = folder();
        assert_eq!(found(&state, &A), Verdict::NotTrusted);
        assert_eq!(found(&state, &A), Verdict::NotTrusted);
        remember(&state, Path::new(FILE), &A).unwrap();
        assert_eq!(found(&state, &A), Verdict::MayNarrow);
        assert_eq!(found(&state, &B), Verdict::Changed);
    }

    #[test]
    fn spoilt_memory_trusts_nothing() {
        let (_dir, state) = folder();
        std::fs::write(state.path().join(TRUSTED), "{\"files\":").unwrap();
        assert!(check_where(&state, Path::new(FILE), &A, false, true).is_err());
    }

    #[test]
    fn what_is_remembered_is_whole_and_private_and_nothing_else_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, state) = folder();
        std::thread::scope(|scope| {
            for i in 0..8_u8 {
                let state = &state;
                scope.spawn(move || {
                    remember(state, Path::new(&format!("/f{i}")), &[i; 32]).unwrap();
                });
            }
        });
        assert_eq!(read(&state).unwrap().files.len(), 8, "no writer loses another's");
        let mode = std::fs::metadata(state.path().join(TRUSTED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 2, "the file and its lock");
    }
}
