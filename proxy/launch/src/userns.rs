//! Makes the user namespace of a run without root, and works inside it by way of a child process.
//!
//! The caller's user and group stand for themselves in it and nobody else has a number there, so the command sees the
//! ids it always had. Whoever makes such a namespace holds every capability over what belongs to it, and none over
//! the host. A process cannot come back out of one, so front never enters it: a child does, and sends what it opened.

use std::{
    fs,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid, WaitOptions},
    thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags},
};

use crate::{
    error::LaunchError,
    fds,
    sys::{self, Cloned},
};

/// The namespaces that belong to a run of this form, as front holds them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    pub(crate) user: OwnedFd,
    pub(crate) network: OwnedFd,
}

/// How a child says that it is done, followed by its descriptors; anything else is why it is not.
const DONE: &[u8] = b"\0";

/// Does `work` in a child of this process, which then ends, and takes the descriptors that it sends.
///
/// # Errors
/// The words with which `work` failed.
pub(crate) fn aside<F>(work: F) -> Result<Vec<OwnedFd>, LaunchError>
where
    F: FnOnce() -> Result<Vec<OwnedFd>, String>,
{
    let step = |error: io::Error| LaunchError::setup("working in a child process", error);
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| step(error.into()))?;
    // SAFETY: `front` and `Form::rehearse` have made sure that there is one thread.
    let Some(child) = unsafe { sys::fork() }.map_err(step)? else {
        // However the work ends, nothing of what this process was a copy of goes on in it.
        let _ends = EndsHere;
        tell(theirs.as_fd(), work());
        sys::exit_now(0);
    };
    drop(theirs);
    let mut said = [0; 1024];
    let heard = fds::recv(ours.as_fd(), &mut said);
    reap(child).map_err(step)?;
    let (length, came) = heard.map_err(step)?;
    match said.get(..length) {
        Some(DONE) => Ok(came),
        Some([]) | None => Err(step(io::Error::other("it ended without a word"))),
        Some(why) => {
            Err(LaunchError::UserNamespace { why: String::from_utf8_lossy(why).into_owned() })
        }
    }
}

/// Ends the process when dropped, also by a panic.
struct EndsHere;

impl Drop for EndsHere {
    fn drop(&mut self) {
        sys::exit_now(crate::OWN_FAILURE);
    }
}

fn tell(to: BorrowedFd<'_>, done: Result<Vec<OwnedFd>, String>) {
    /// What fits in the parent's buffer.
    const MOST: usize = 1024;
    // A parent that is gone hears nothing; a message that does not fit arrives as none, which is a failure.
    match done {
        Ok(opened) => {
            let opened: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
            sys::tolerate(fds::send(to, DONE, &opened));
        }
        Err(why) => {
            let why = if why.is_empty() { "it failed without a word" } else { &why };
            let cut: Vec<u8> = why.bytes().take(MOST).collect();
            sys::tolerate(fds::send(to, &cut, &[]));
        }
    }
}

fn reap(child: Pid) -> io::Result<()> {
    rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(Some(child), WaitOptions::empty()).map(drop)
    })?;
    Ok(())
}

/// In a child: moves into a new user namespace that maps the caller to itself, and a new network namespace in it.
pub(crate) fn enter_new() -> Result<Namespaces, String> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: this process has one thread, and shares no memory or descriptors with another.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }
        .map_err(|error| refused("making a user namespace", &error.into()))?;
    // A user may only map a group once groups cannot be left any more: leaving one opens what its members are refused.
    for (file, line) in [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("{gid} {gid} 1")),
        ("uid_map", format!("{uid} {uid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        write(&path, &line).map_err(|error| match uid {
            // Since 5.12 (user_namespaces(7)): root's files could otherwise be given capabilities by who has none.
            0 => format!("writing {path}: {error}; uid 0 needs CAP_SETFCAP for it, others nothing"),
            _ => refused(&format!("writing {path}"), &error),
        })?;
    }
    Ok(Namespaces { user: namespace("user")?, network: namespace("net")? })
}

/// In one call and without making the file: the kernel takes nothing else.
fn write(path: &str, line: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(line.as_bytes())
}

fn namespace(kind: &str) -> Result<OwnedFd, String> {
    let path = format!("/proc/self/ns/{kind}");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("opening {path}: {error}"))
}

/// A step that the kernel or a security module refused to a user, with what to do about it.
pub(crate) fn refused(step: &str, error: &io::Error) -> String {
    let (found, next) = obstacle(|path| fs::read_to_string(path).ok());
    format!("{step}: {error}{found}; {next}, or use sudo")
}

/// What of this system's settings keeps a user from a namespace of its own, and the command that changes it.
fn obstacle(read: impl Fn(&str) -> Option<String>) -> (String, String) {
    for (name, bad) in [
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
        ("user/max_net_namespaces", "0"),
    ] {
        if read(&format!("/proc/sys/{name}")).is_some_and(|value| value.trim() == bad) {
            let key = name.replace('/', ".");
            let good = if bad == "1" { "0" } else { "1000" };
            let good = if key.ends_with("clone") { "1" } else { good };
            return (format!(" ({key} is {bad})"), format!("sysctl -w {key}={good}"));
        }
    }
    let next =
        "a container's own system call filter or AppArmor profile may forbid it: allow it there";
    (String::new(), next.to_owned())
}

/// Forks from within the run's namespaces into new PID, mount and IPC namespaces that belong to its user namespace.
///
/// The child is this process's own child. It has every capability over those namespaces, and keeps them at exec.
///
/// # Safety
/// The process must have one thread: the child is a copy of this thread alone.
pub(crate) unsafe fn clone_into(namespaces: &Namespaces) -> Result<Cloned, LaunchError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| LaunchError::setup("making a socket pair", error.into()))?;
    let fork = |error| LaunchError::setup("forking", error);
    // SAFETY: by this function's contract there is one thread.
    let Some(between) = unsafe { sys::fork() }.map_err(fork)? else {
        // SAFETY: a fork has one thread.
        match unsafe { step_inside(namespaces) } {
            Ok(Cloned::Child) => return Ok(Cloned::Child),
            Ok(Cloned::Parent(process)) => tell(theirs.as_fd(), Ok(vec![process])),
            Err(why) => tell(theirs.as_fd(), Err(why)),
        }
        sys::exit_now(0);
    };
    drop(theirs);
    let mut said = [0; 1024];
    let heard = fds::recv(ours.as_fd(), &mut said);
    reap(between).map_err(fork)?;
    let (length, mut came) = heard.map_err(fork)?;
    match (said.get(..length), came.pop()) {
        (Some(DONE), Some(process)) => Ok(Cloned::Parent(process)),
        (other, _) => {
            let why = String::from_utf8_lossy(other.unwrap_or_default()).into_owned();
            Err(LaunchError::UserNamespace { why })
        }
    }
}

/// In the process between: joins, and clones a child that front is the parent of.
///
/// # Safety
/// As [`clone_into`].
unsafe fn step_inside(namespaces: &Namespaces) -> Result<Cloned, String> {
    for (fd, kind, what) in [
        (&namespaces.user, LinkNameSpaceType::User, "joining the user namespace"),
        (&namespaces.network, LinkNameSpaceType::Network, "joining the network namespace"),
    ] {
        rustix::thread::move_into_link_name_space(fd.as_fd(), Some(kind))
            .map_err(|error| format!("{what}: {error}"))?;
    }
    // SAFETY: by this function's contract there is one thread.
    let cloned = unsafe { sys::clone_beside() }
        .map_err(|error| refused("making PID, mount and IPC namespaces", &error))?;
    if matches!(cloned, Cloned::Child) {
        keep_capabilities(CapabilitySet::all())
            .map_err(|error| format!("keeping capabilities: {error}"))?;
    }
    Ok(cloned)
}

/// Lets those of `wanted` that this process has, over its own user namespace only, survive an exec by a user that is
/// not uid 0.
pub(crate) fn keep_capabilities(wanted: CapabilitySet) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let wanted = wanted & held.permitted;
    rustix::thread::set_capabilities(None, CapabilitySets { inheritable: wanted, ..held })?;
    for one in wanted.iter() {
        rustix::thread::configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(setting: &'static str, value: &'static str) -> (String, String) {
        obstacle(|path| (path == format!("/proc/sys/{setting}")).then(|| format!("{value}\n")))
    }

    #[test]
    fn the_setting_in_the_way_is_named_with_the_command_that_changes_it() {
        for (setting, bad, command) in [
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (
                "kernel/unprivileged_userns_clone",
                "0",
                "sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=1000"),
        ] {
            let (found, next) = with(setting, bad);
            assert!(found.contains(&format!("is {bad}")), "{found}");
            assert_eq!(next, command);
        }
    }

    #[test]
    fn a_setting_that_allows_it_is_not_blamed() {
        for (setting, good) in [
            ("kernel/apparmor_restrict_unprivileged_userns", "0"),
            ("kernel/unprivileged_userns_clone", "1"),
            ("user/max_user_namespaces", "96365"),
        ] {
            assert_eq!(with(setting, good).0, "");
        }
    }

    #[test]
    fn what_a_child_opens_arrives_and_why_it_failed_too() {
        // The test's own process has threads, but this child only sends.
        let opened = aside(|| Ok(vec![rustix::pipe::pipe().unwrap().0])).unwrap();
        assert_eq!(opened.len(), 1);
        let error = aside(|| Err("no luck".to_owned())).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
    }
}
