//! Makes the devices that the command sees: a fresh `/dev`, with shared memory and pseudo terminals of its own.

use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Gid, Mode, OFlags, Uid},
    pty::OpenptFlags,
};

use super::mounts::{attach, attributes, bind, detached, if_there, open_target};
use crate::{form::Form, mountinfo, plan::Plan};

/// Group `tty`, fixed in every distribution (systemd's basic.conf, Debian's base-passwd).
const TTY_GROUP: u32 = 5;

/// Devices that every command keeps.
const KEPT: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Those that a command of another user than uid 0 keeps besides: processors for graphics and the like, virtual
/// machines, and what file systems and networks of its own are made with.
const COMPUTING: &[&str] =
    &["dri", "accel", "kfd", "dxg", "nvhost-ctrl", "nvmap", "kvm", "fuse", "net/tun"];

/// What the names of such devices begin with where they have numbers.
const NUMBERED: &str = "nvidia";

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

/// Covers `/dev` by one that holds the harmless devices only, and what `--write` names. What else lies there, a user
/// may have been given because of sitting at this machine: keyboards to type with, terminals, ways to other machines.
pub(super) fn fresh(plan: &Plan) -> io::Result<()> {
    let mut devices = Vec::new();
    for name in kept(plan)? {
        if let Some(target) = if_there(open_target(Path::new("/dev").join(&name)))? {
            let folder = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
            devices.push((name, bind(&target, true)?, folder == FileType::Directory));
        }
    }
    let dev = detached(
        "tmpfs",
        &[("mode", "0755"), ("size", "64k")],
        attributes::NO_SUID | attributes::NO_EXEC,
    )?;
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev, *name)?;
    }
    for name in ["pts", "shm"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    attach(&dev, &open_target("/dev")?)?;
    for (name, device, is_folder) in &devices {
        let place = Path::new("/dev").join(name);
        let above = place.parent().unwrap_or(&place);
        std::fs::create_dir_all(if *is_folder { &place } else { above })?;
        if !is_folder {
            drop(std::fs::File::create(&place)?);
        }
        attach(device, &open_target(&place)?)?;
    }
    private_memory()
}

/// Names below `/dev`.
fn kept(plan: &Plan) -> io::Result<BTreeSet<PathBuf>> {
    let mut kept: BTreeSet<PathBuf> = KEPT.iter().map(PathBuf::from).collect();
    if !plan.identity.is_root() {
        kept.extend(COMPUTING.iter().map(PathBuf::from));
        let all = std::fs::read_dir("/dev")?.flatten().map(|entry| entry.file_name());
        let numbered = all.filter(|name| name.as_bytes().starts_with(NUMBERED.as_bytes()));
        kept.extend(numbered.map(PathBuf::from));
    }
    let named = plan.write.iter().filter_map(|text| text.as_path().strip_prefix("/dev").ok());
    let below = |name: &&Path| name.components().all(|part| matches!(part, Component::Normal(_)));
    kept.extend(
        named.filter(below).filter(|name| !name.as_os_str().is_empty()).map(Path::to_owned),
    );
    Ok(kept)
}

/// Shared memory of this run alone (attacks 9).
fn private_memory() -> io::Result<()> {
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
