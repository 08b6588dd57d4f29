//! Makes the devices that the command sees: a private set of pseudo terminals, and for uid 0 a fresh `/dev`.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Gid, Mode, OFlags, Uid},
    pty::OpenptFlags,
};

use super::mounts::{attach, attributes, bind, detached, if_there, open_target};
use crate::{form::Form, mountinfo, plan::Plan};

/// Group `tty`, fixed in every distribution (systemd's basic.conf, Debian's base-passwd).
const TTY_GROUP: u32 = 5;

/// Devices that a command of uid 0 keeps.
const KEPT: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Pseudo terminals of this run alone: those of others cannot be named.
pub(super) fn private_terminals(form: Form) -> io::Result<()> {
    let group = TTY_GROUP.to_string();
    let mut options = vec![("mode", "0620"), ("ptmxmode", "0666")];
    if has_tty_group(form) {
        options.push(("gid", group.as_str()));
    }
    let pts = detached("devpts", &options, attributes::NO_SUID | attributes::NO_EXEC)?;
    attach(&pts, &open_target("/dev/pts")?)
}

/// Covers `/dev` by one that holds the harmless devices only.
pub(super) fn fresh() -> io::Result<()> {
    let devices = KEPT
        .iter()
        .map(|name| Ok((*name, bind(&open_target(format!("/dev/{name}"))?, false)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let dev = detached(
        "tmpfs",
        &[("mode", "0755"), ("size", "64k")],
        attributes::NO_SUID | attributes::NO_EXEC,
    )?;
    for (name, _) in &devices {
        rustix::fs::openat(
            &dev,
            *name,
            OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o666),
        )?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev, *name)?;
    }
    for name in ["pts", "shm"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    attach(&dev, &open_target("/dev")?)?;
    for (name, device) in &devices {
        attach(device, &open_target(format!("/dev/{name}"))?)?;
    }
    private_memory()
}

/// Shared memory of this run alone (attacks 9).
pub(super) fn private_memory() -> io::Result<()> {
    let Some(target) = if_there(open_target("/dev/shm"))? else { return Ok(()) };
    attach(
        &detached("tmpfs", &[("mode", "1777")], attributes::NO_SUID | attributes::NO_DEV)?,
        &target,
    )
}

/// Message queues of this run alone, wherever those of the outside are mounted: a queue that is opened there is the
/// outside's, whatever namespace one is in.
pub(super) fn private_queues() -> io::Result<()> {
    let harmless = attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
    for mounted in mountinfo::mounts()?.into_iter().filter(|mounted| mounted.kind == "mqueue") {
        if let Some(target) = if_there(open_target(&mounted.point))? {
            attach(&detached("mqueue", &[], harmless)?, &target)?;
        }
    }
    Ok(())
}

/// A new pseudo terminal of this run: the command's end and front's.
pub(super) fn open_terminal(plan: &Plan) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(CWD, "/dev/pts/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if has_tty_group(plan.form) {
        let (owner, group) = (Uid::from_raw(plan.identity.uid), Gid::from_raw(TTY_GROUP));
        rustix::fs::fchown(terminal.as_fd(), Some(owner), Some(group))?;
    }
    Ok((terminal, master))
}

/// The group has a number. In a user namespace it has none, and the terminal is its user's from the start.
fn has_tty_group(form: Form) -> bool {
    form == Form::KernelPrograms
}
