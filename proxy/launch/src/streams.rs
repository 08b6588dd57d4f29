//! Sorts the standard streams: what is passed as it is, what the pseudo terminal stands for, what is relayed.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{FileType, OFlags};

use crate::{error::LaunchError, sys};

/// What becomes of a standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// A file, a pipe, `/dev/null` and its like: the command has the same.
    Passed,
    /// A terminal: the command has a pseudo terminal of its own.
    Terminal,
    /// A socket: the command has a pipe, and front copies.
    Relayed,
}

const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

/// Sorts descriptors 0, 1 and 2.
pub(crate) fn sort() -> Result<[Stream; 3], LaunchError> {
    let mut sorted = [Stream::Passed; 3];
    for (number, (slot, name)) in (0..).zip(sorted.iter_mut().zip(NAMES)) {
        let fd = sys::borrow(number)
            .map_err(|error| LaunchError::setup("looking at the standard streams", error))?;
        *slot = sort_one(fd).map_err(|kind| LaunchError::Stream { stream: name, kind })?;
    }
    Ok(sorted)
}

fn sort_one(fd: BorrowedFd<'_>) -> Result<Stream, &'static str> {
    let unknown = "something that cannot be examined";
    let flags = rustix::fs::fcntl_getfl(fd).map_err(|_unseen| unknown)?;
    if flags.contains(OFlags::PATH) {
        return Err("a path without its file (O_PATH)");
    }
    let stat = rustix::fs::fstat(fd).map_err(|_unseen| unknown)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Fifo => Ok(Stream::Passed),
        FileType::Socket => Ok(Stream::Relayed),
        FileType::CharacterDevice if rustix::termios::isatty(fd) => Ok(Stream::Terminal),
        FileType::CharacterDevice if is_plain_device(stat.st_rdev) => Ok(Stream::Passed),
        FileType::CharacterDevice | FileType::BlockDevice => Err("a device"),
        FileType::Directory => Err("a directory"),
        FileType::Symlink | FileType::Unknown => {
            Err("a kernel object that is no file (such as an event or a namespace)")
        }
    }
}

/// `/dev/null`, `zero`, `full`, `random` and `urandom` (Documentation/admin-guide/devices.txt).
fn is_plain_device(device: u64) -> bool {
    rustix::fs::major(device) == 1 && matches!(rustix::fs::minor(device), 3 | 5 | 7 | 8 | 9)
}

/// A descriptor named by `--share-fd` is open and not one that the run uses itself.
pub(crate) fn check_shared(numbers: &[i32]) -> Result<(), LaunchError> {
    for &number in numbers {
        if number <= 2 {
            return Err(LaunchError::Share { number, why: "0, 1 and 2 are always passed" });
        }
        let open = sys::borrow(number).is_ok_and(|fd| fd.as_raw_fd() == number);
        if !open {
            return Err(LaunchError::Share {
                number,
                why: "not open; open it before `exec`, as in `3<file`",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    fn sort_path(path: &str) -> Result<Stream, &'static str> {
        sort_one(File::open(path).unwrap().as_fd())
    }

    #[test]
    fn files_pipes_and_plain_devices_are_passed() {
        assert_eq!(sort_path("/proc/self/status"), Ok(Stream::Passed));
        assert_eq!(sort_path("/dev/null"), Ok(Stream::Passed));
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(sort_one(reader.as_fd()), Ok(Stream::Passed));
    }

    #[test]
    fn a_socket_is_relayed() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(sort_one(one.as_fd()), Ok(Stream::Relayed));
    }

    #[test]
    fn a_directory_an_odd_device_a_path_and_an_event_are_refused() {
        assert_eq!(sort_path("/"), Err("a directory"));
        if rustix::process::geteuid().is_root() {
            assert_eq!(sort_path("/dev/kmsg"), Err("a device"));
        }
        let path =
            rustix::fs::open("/etc/passwd", OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        assert!(sort_one(path.as_fd()).is_err());
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        assert!(sort_one(event.as_fd()).is_err());
    }
}
