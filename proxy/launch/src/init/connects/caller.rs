//! Reads of a caller what its call needs: the address, the socket, and whose eyes look up a path.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Gid, Pid, PidfdFlags, PidfdGetfdFlags, Uid},
};

use super::notification::Call;

/// `PIDFD_THREAD` (linux/pidfd.h, kernel 6.9): a thread may have a descriptor table of its own.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(OFlags::EXCL.bits());

/// The longest address that the kernel takes (`struct sockaddr_storage`).
const LONGEST: usize = 128;

/// An address as the caller gave it, copied once.
#[derive(Debug)]
pub(super) struct Address {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Address {
    /// Copies it from the caller's memory.
    pub(super) fn copy(call: &Call) -> Result<Self, Errno> {
        let length = usize::try_from(call.length).map_err(|_negative| Errno::INVAL)?;
        let mut bytes = [0; LONGEST];
        let part = bytes.get_mut(..length).ok_or(Errno::INVAL)?;
        if !part.is_empty() && read_memory(call, part)? != length {
            return Err(Errno::FAULT);
        }
        Ok(Self { bytes, length })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Of the family of Unix sockets.
    pub(super) fn is_unix(&self) -> bool {
        let [first, second, ..] = self.bytes;
        self.length >= 2 && i32::from(u16::from_ne_bytes([first, second])) == libc::AF_UNIX
    }

    /// The path that it names, up to its first zero; nothing for an abstract name and for other families.
    pub(super) fn path(&self) -> Option<&[u8]> {
        let path = self.bytes().get(2..).filter(|_| self.is_unix())?;
        let path = path.split(|&byte| byte == 0).next()?;
        (!path.is_empty()).then_some(path)
    }
}

fn read_memory(call: &Call, into: &mut [u8]) -> Result<usize, Errno> {
    let remote = libc::iovec { iov_base: call.address as *mut libc::c_void, iov_len: into.len() };
    let mut local = [IoSliceMut::new(into)];
    // SAFETY: `IoSliceMut` has the layout of `iovec`, and the kernel writes no more than it is long; the remote
    // address is checked by the kernel.
    let read = unsafe {
        libc::process_vm_readv(call.thread, local.as_mut_ptr().cast(), 1, &raw const remote, 1, 0)
    };
    usize::try_from(read).map_err(|_negative| last_errno())
}

fn last_errno() -> Errno {
    io::Error::last_os_error().raw_os_error().map_or(Errno::ACCESS, Errno::from_raw_os_error)
}

/// A second descriptor of the caller's socket.
pub(super) fn socket(call: &Call) -> Result<OwnedFd, Errno> {
    let process = match pid(call.thread).and_then(|pid| rustix::process::pidfd_open(pid, THREAD)) {
        Ok(thread) => thread,
        // An older kernel opens processes only; their threads share one table, but for those that left it.
        Err(Errno::INVAL) => {
            let process = pid(Caller::read(call)?.process)?;
            rustix::process::pidfd_open(process, PidfdFlags::empty())?
        }
        Err(error) => return Err(error),
    };
    if call.socket < 0 {
        return Err(Errno::BADF);
    }
    rustix::process::pidfd_getfd(&process, call.socket, PidfdGetfdFlags::empty())
}

fn pid(number: i32) -> Result<Pid, Errno> {
    Pid::from_raw(number).ok_or(Errno::SRCH)
}

/// Gives this thread the caller's name, which is what the kernel programs report of a refused connect.
pub(super) fn take_name(call: &Call) {
    if let Ok(mut name) = fs::read(format!("/proc/{}/comm", call.thread)) {
        name.truncate(name.trim_ascii_end().len());
        if let Ok(name) = std::ffi::CString::new(name) {
            // A name that cannot be taken is only less telling.
            crate::sys::tolerate(rustix::thread::set_name(&name));
        }
    }
}

/// Who calls, as the kernel lists it.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) process: i32,
    pub(super) thread: i32,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
    /// Process and thread as the innermost PID namespace numbers them.
    pub(super) innermost: (i32, i32),
}

impl Caller {
    pub(super) fn read(call: &Call) -> Result<Self, Errno> {
        let failed = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::ACCESS);
        let status = fs::read_to_string(format!("/proc/{}/status", call.thread)).map_err(failed)?;
        Self::parse(&status, call.thread).ok_or(Errno::ACCESS)
    }

    fn parse(status: &str, thread: i32) -> Option<Self> {
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let numbers = |name: &str| field(name).map(str::split_ascii_whitespace);
        // Real, effective, saved, file system.
        let effective = |name: &str| numbers(name)?.nth(1)?.parse().ok();
        let groups = numbers("Groups")?.map(|group| group.parse().map(Gid::from_raw));
        let last = |name: &str| numbers(name)?.last()?.parse().ok();
        Some(Self {
            process: field("Tgid")?.trim().parse().ok()?,
            thread,
            uid: Uid::from_raw(effective("Uid")?),
            gid: Gid::from_raw(effective("Gid")?),
            groups: groups.collect::<Result<_, _>>().ok()?,
            innermost: (last("NStgid")?, last("NSpid")?),
        })
    }

    /// The caller's root folder, or its working folder.
    pub(super) fn folder(&self, which: &str) -> Result<OwnedFd, Errno> {
        let path = format!("/proc/{}/{which}", self.thread);
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }
}

/// The network namespaces of everything that runs inside, but for this process's own.
pub(super) fn other_networks() -> io::Result<Vec<OwnedFd>> {
    let own = fs::metadata("/proc/thread-self/ns/net")?;
    let mut seen = vec![(own.dev(), own.ino())];
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        if name.to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        // Whoever ended meanwhile has none.
        let Ok(network) = fs::File::open(entry.path().join("ns/net")) else { continue };
        let stat = network.metadata()?;
        if !seen.contains(&(stat.dev(), stat.ino())) {
            seen.push((stat.dev(), stat.ino()));
            found.push(network.into());
        }
    }
    Ok(found)
}

/// Connects as `connect(2)` does: the address may be of any family, and of any length.
pub(super) fn connect(socket: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_too_long| Errno::INVAL)?;
    // SAFETY: the address is valid for the call, which reads as many bytes as it is told.
    let connected = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    if connected == -1 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\ta b\nUmask:\t0022\nTgid:\t12\nNgid:\t0\nPid:\t13\nPPid:\t1\n\
        Uid:\t1000\t1001\t1002\t1003\nGid:\t2000\t2001\t2002\t2003\nFDSize:\t64\nGroups:\t4 24 \n\
        NStgid:\t12\t2\nNSpid:\t13\t3\n";

    #[test]
    fn a_callers_effective_ids_and_innermost_numbers_are_read() {
        let caller = Caller::parse(STATUS, 13).unwrap();
        assert_eq!((caller.process, caller.thread, caller.innermost), (12, 13, (2, 3)));
        assert_eq!((caller.uid.as_raw(), caller.gid.as_raw()), (1001, 2001));
        assert_eq!(caller.groups, [Gid::from_raw(4), Gid::from_raw(24)]);
    }

    #[test]
    fn a_status_that_lacks_something_is_nobodys() {
        assert!(Caller::parse(&STATUS.replace("Groups", "Grupps"), 13).is_none());
        assert!(Caller::parse(&STATUS.replace("Uid", "Uod"), 13).is_none());
    }

    fn address(bytes: &[u8]) -> Address {
        let mut address = Address { bytes: [0; LONGEST], length: bytes.len() };
        address.bytes[..bytes.len()].copy_from_slice(bytes);
        address
    }

    #[test]
    fn only_a_unix_address_with_a_path_names_one() {
        assert_eq!(address(b"\x01\0/a/b\0rest").path(), Some(&b"/a/b"[..]));
        assert_eq!(address(b"\x01\0a").path(), Some(&b"a"[..]));
        assert_eq!(address(b"\x01\0\0abstract").path(), None);
        assert_eq!(address(b"\x01\0").path(), None);
        assert_eq!(address(b"\x01").path(), None);
        assert_eq!(address(b"\x02\0/a").path(), None);
        assert!(address(b"\x01\0\0abstract").is_unix() && !address(b"").is_unix());
    }
}
