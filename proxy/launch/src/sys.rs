//! Wraps the system calls that no library offers in a safe form.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::signal::SigSet;

/// What `clone3` returned.
#[derive(Debug)]
pub(crate) enum Cloned {
    /// In the parent: a descriptor of the child.
    Parent(OwnedFd),
    /// In the child.
    Child,
}

/// The argument of `clone3` (linux/sched.h, version 2, kernel 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks into new PID, mount and IPC namespaces, and into `cgroup`.
///
/// # Safety
/// The process must have one thread: the child is a copy of this thread alone.
pub(crate) unsafe fn clone_into(cgroup: BorrowedFd<'_>) -> io::Result<Cloned> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        cgroup: u64::from(cgroup.as_raw_fd().cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: by this function's contract there is one thread.
    unsafe { clone(args) }
}

/// Forks into new PID, mount and IPC namespaces, as a child of this process's parent, which gets the signal.
///
/// # Safety
/// As [`clone_into`].
pub(crate) unsafe fn clone_beside() -> io::Result<Cloned> {
    let beside = u64::from(libc::CLONE_PARENT.cast_unsigned());
    // SAFETY: by this function's contract there is one thread.
    unsafe { clone(CloneArgs { flags: beside, ..CloneArgs::default() }) }
}

/// # Safety
/// As [`clone_into`].
unsafe fn clone(mut args: CloneArgs) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_PIDFD;
    args.flags |= u64::from(flags.cast_unsigned());
    args.pidfd = (&raw mut pidfd) as u64;
    // SAFETY: the arguments are valid for the call, no stack is shared, and the caller has one thread.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
    Ok(Cloned::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// The argument of `sched_setattr` (linux/sched/types.h, version 0, kernel 3.14).
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// How this thread is scheduled.
fn scheduling() -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    // SAFETY: the structure is valid for the call and as large as is said.
    check(unsafe {
        libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size_of::<SchedAttr>(), 0)
    })?;
    Ok(attr)
}

/// The length of this thread's turns in nanoseconds; 0 where the kernel does not know it.
#[cfg(test)]
pub(crate) fn turn() -> io::Result<u64> {
    Ok(scheduling()?.runtime)
}

/// Gives this thread turns of so many nanoseconds, where it is scheduled in the usual way.
pub(crate) fn set_turn(nanoseconds: u64) -> io::Result<()> {
    let usual = scheduling()?;
    if usual.policy != libc::SCHED_OTHER.cast_unsigned() {
        return Ok(());
    }
    let attr = SchedAttr { runtime: nanoseconds, ..usual };
    // SAFETY: the structure is valid for the call, which names no other thread than this one.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Marks every descriptor from `first` on as closed at exec.
pub(crate) fn close_all_at_exec(first: u32) -> io::Result<()> {
    // SAFETY: no memory is involved; descriptors stay open until exec.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
    .map(drop)
}

/// Sets attributes (`MOUNT_ATTR_*`) on the mount at `mount`, and on all below it where `recursive`.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: u64,
    recursive: bool,
) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path and the structure are valid for the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Replaces the session keyring by a new and empty one; a kernel without keyrings has none to replace.
pub(crate) fn empty_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    match check(unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>())
    }) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other.map(drop),
    }
}

/// Installs a seccomp filter for this thread and all it starts, and returns the listener that is told of the calls
/// which it holds back; `no_new_privs` must be set. Fails with EBUSY below another filter that has a listener.
///
/// Where the kernel can (5.19), a call that was told of is interrupted by fatal signals only: it would be carried
/// out twice otherwise.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let len = u16::try_from(program.len())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies the program during the call and does not write to it.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog)
        })
    };
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match install(listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(listener)?,
        other => other?,
    };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets what happens at a signal back to the default.
pub(crate) fn default_action(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no handler is installed.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Forks.
///
/// # Safety
/// The process must have one thread.
pub(crate) unsafe fn fork() -> io::Result<Option<rustix::process::Pid>> {
    // SAFETY: the caller has one thread, so no lock is held by another that the child lacks.
    let pid = unsafe { libc::fork() };
    if pid == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rustix::process::Pid::from_raw(pid))
    }
}

/// Ends the process at once, without running anything that was registered for its end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always sound.
    unsafe { libc::_exit(code) }
}

/// Puts `from` at number `to`, where it stays open at exec.
pub(crate) fn put_at(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        return keep_at_exec(from);
    }
    // SAFETY: `to` is one of the standard streams, which nothing in this process owns as a value.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Leaves a descriptor open at exec.
pub(crate) fn keep_at_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?)
}

/// Borrows a descriptor by its number, if it is open.
pub(crate) fn borrow<'a>(number: RawFd) -> io::Result<BorrowedFd<'a>> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only used to ask whether the number is open, and then while it stays open: standard streams and
    // descriptors that the caller of `exec` shares are never closed by this crate.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_getfd(fd)?;
    Ok(fd)
}

/// Takes over a descriptor that this process was started with.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    borrow(number)?;
    // SAFETY: it is open, and the number was handed to this process as its own.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// The signals that are blocked, as numbers.
pub(crate) fn blocked_signals() -> io::Result<Vec<i32>> {
    Ok(SigSet::thread_get_mask()?.iter().map(|signal| signal as i32).collect())
}

/// Lets a failure pass where the comment beside it says why that is right.
pub(crate) fn tolerate<T, E>(_: Result<T, E>) {}
