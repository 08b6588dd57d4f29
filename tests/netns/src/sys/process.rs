//! Who a process is and where: namespaces, users, capabilities, processors.
#![expect(clippy::cast_possible_truncation, reason = "small numbers of the kernel's interface")]

use std::ffi::CString;
use std::io::{self, Error};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_long};

use super::{checked, owned};

/// Enters the namespace that a descriptor stands for, with the calling thread only.
///
/// # Errors
/// As `setns(2)`.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), 0) }).map(drop)
}

/// `unshare(2)` of the calling thread.
///
/// # Errors
/// As the system call.
pub fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: takes numbers only; descriptors stay shared, as nobody asks otherwise.
    checked(unsafe { libc::unshare(flags) }).map(drop)
}

/// Mounts of this thread and what it starts are its own from now on.
///
/// # Errors
/// As `unshare(2)` and `mount(2)`.
pub fn share_nothing() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE)
}

/// `mount(2)` without data.
///
/// # Errors
/// As the system call.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let (source, target, kind) =
        (CString::new(source)?, CString::new(target)?, CString::new(kind)?);
    let (from, to, kind) = (source.as_ptr(), target.as_ptr(), kind.as_ptr());
    // SAFETY: terminated strings that live during the call.
    checked(unsafe { libc::mount(from, to, kind, flags, ptr::null()) }).map(drop)
}

/// Takes a mount and all below it away from this path.
///
/// # Errors
/// As `umount2(2)`.
pub fn unmount(target: &str) -> io::Result<()> {
    let target = CString::new(target)?;
    // SAFETY: a terminated string that lives during the call.
    checked(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Becomes this user and group with no other groups. Not for 0: capabilities are gone after it.
///
/// # Errors
/// As `setresuid(2)`.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // The C library's own would change all threads; between fork and execution there is one.
    // SAFETY: an empty list.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()) } as c_int)?;
    let (uid, gid) = (c_long::from(uid), c_long::from(gid));
    // SAFETY: takes numbers only.
    checked(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) } as c_int)?;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } as c_int).map(drop)
}

/// Files and sockets that the calling thread opens from now on belong to this user; what it may do stays the same.
pub fn files_as(uid: u32) {
    // SAFETY: takes numbers only. It tells no error, but the user before.
    let _before = unsafe { libc::syscall(libc::SYS_setfsuid, c_long::from(uid)) };
}

/// Takes every capability but these out of the bounding set: a root that is executed next has no other.
///
/// # Errors
/// As `prctl(2)`.
pub fn bound_capabilities(kept: &[u32]) -> io::Result<()> {
    for capability in 0..64_u32 {
        // SAFETY: takes numbers only.
        let known = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if known < 0 {
            break;
        }
        if known == 1 && !kept.contains(&capability) {
            // SAFETY: takes numbers only.
            checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
        }
    }
    Ok(())
}

/// What is executed from now on gains nothing by it.
///
/// # Errors
/// As `prctl(2)`.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// `fork(2)`: none in the child. Only for a process with one thread.
///
/// # Errors
/// As the system call.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the callers are programs with one thread, so that the child's memory is in order.
    let child = checked(unsafe { libc::fork() })?;
    Ok((child != 0).then_some(child))
}

/// Whether a child has ended within so many milliseconds; it still has to be waited for.
///
/// # Errors
/// As `pidfd_open(2)`.
pub fn watch(child: i32, milliseconds: c_int) -> io::Result<bool> {
    // SAFETY: takes numbers only.
    let watched =
        owned(unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(child), 0) } as c_int)?;
    super::wait(std::os::fd::AsFd::as_fd(&watched), libc::POLLIN, milliseconds)
}

/// Waits for a child, at most so many milliseconds, and kills it after them: then false.
///
/// # Errors
/// As `pidfd_open(2)` and `waitpid(2)`.
pub fn wait_for(child: i32, milliseconds: c_int) -> io::Result<bool> {
    let ended = watch(child, milliseconds)?;
    if !ended {
        // SAFETY: a child of this process that was not waited for, so the number is still its own.
        checked(unsafe { libc::kill(child, libc::SIGKILL) })?;
    }
    let mut status = 0;
    // SAFETY: the status lives during the call.
    checked(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    Ok(ended)
}

/// How many processors there are.
#[must_use]
pub fn processors() -> usize {
    // SAFETY: takes numbers only.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(count).unwrap_or(1).max(1)
}

/// Runs the calling thread on one processor only.
///
/// # Errors
/// As `sched_setaffinity(2)`: that processor may be none of this thread's.
pub fn pin_to_processor(number: usize) -> io::Result<()> {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the macro checks the number against the set's size.
    unsafe { libc::CPU_SET(number, &mut set) };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: the set lives during the call.
    checked(unsafe { libc::sched_setaffinity(0, size, &raw const set) }).map(drop)
}

/// A second descriptor at this number, open over execution.
///
/// # Errors
/// As `dup2(2)`.
pub fn duplicate(fd: BorrowedFd<'_>, at: c_int) -> io::Result<()> {
    if fd.as_raw_fd() == at {
        // SAFETY: takes numbers only.
        return checked(unsafe { libc::fcntl(at, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: called between fork and execution, where nothing else uses that number.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), at) }).map(drop)
}

/// Takes over descriptor `number`, which whoever started this process left open, and closes it on execution.
///
/// # Errors
/// When there is none.
pub fn close_on_exec(number: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: it is open, and by the contract of the two programs nobody else takes it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
