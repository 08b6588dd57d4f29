//! Arranges what the command sees of the file system.
//!
//! Everything is opened first and mounted by descriptor, so that nothing can be swapped between a look and a mount.
//! The order matters: what stays writable is set aside before the system folders are made read-only; what is
//! kept as it is and single files come after folders, what is absent after that, and `/proc` last, because it is the workbench until then.

mod places;
mod root;
mod sockets;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, Gid, Mode, OFlags, Uid},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
        OpenTreeFlags, UnmountFlags,
    },
};

use super::{dev, told};
use crate::{
    form::Form,
    mountinfo,
    plan::{Hidden, Overlaid, Plan, Text},
    sys,
};

/// Attributes of a mount (`MOUNT_ATTR_*` of linux/mount.h).
pub(super) mod attributes {
    pub(in crate::init) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    pub(in crate::init) const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
    pub(in crate::init) const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
    pub(in crate::init) const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
}

/// Where the name-service cache of the outside listens: it would look names up for the command.
const NAME_CACHE: &str = "/run/nscd";

const RESOLV_CONF: &[u8] = b"# Written by tollgate: every name is asked of the gate.\nnameserver 127.0.0.1\noptions ndots:1\n";

/// Sets up the mount namespace of the calling process, which must be a new one.
pub(super) fn arrange(plan: &Plan, contents: &[Vec<u8>]) -> Result<(), String> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(told("making mounts private"))?;
    let as_root = plan.identity.is_root();
    // The list is read while the old /proc is still there.
    let kernel_files = if as_root {
        root::kernel_file_systems().map_err(told("reading the mounts"))?
    } else {
        Vec::new()
    };
    if as_root {
        root::system_read_only(plan)?;
        root::system_held()?;
    }
    places::keep(plan)?;
    for path in plan.read_only.iter().map(Text::as_path) {
        if let Some(target) = in_reach(path, plan.form).map_err(at("looking at", path))? {
            make_read_only(&target).map_err(at("making read-only", path))?;
        }
    }
    overlay(plan, contents)?;
    for hidden in &plan.hidden {
        hide(hidden)?;
    }
    sockets::mask(&plan.sockets)?;
    absent(Path::new(NAME_CACHE)).map_err(at("hiding", Path::new(NAME_CACHE)))?;
    dev::private_queues().map_err(told("mounting message queues"))?;
    dev::fresh(plan).map_err(told("making /dev"))?;
    if !as_root {
        cgroups_read_only().map_err(told("making control groups read-only"))?;
    }
    dev::private_terminals(plan.form).map_err(told("mounting /dev/pts"))?;
    fresh_proc().map_err(|error| match plan.form {
        Form::KernelPrograms => format!("mounting /proc: {error}"),
        Form::UserNamespace => format!(
            "mounting /proc: {error}; the kernel gives a user a fresh one only where nothing of the old one is \
             covered, as containers do: unmask it there, or use sudo"
        ),
    })?;
    if as_root {
        root::kernel_closed(&kernel_files)?;
    }
    Ok(())
}

/// Mounts the given files over what is there, read-only. What is not there is left out: a file that no program
/// can open needs no cover, and nothing is created in the user's folders.
fn overlay(plan: &Plan, contents: &[Vec<u8>]) -> Result<(), String> {
    let bench = detached("tmpfs", &[("mode", "0700")], attributes::NO_SUID | attributes::NO_DEV)
        .map_err(told("making a place for files"))?;
    let proc = open_target("/proc").map_err(told("opening /proc"))?;
    attach(&bench, &proc).map_err(told("mounting a place for files"))?;
    let nsswitch = std::fs::read_to_string("/etc/nsswitch.conf").map(|text| hosts_by_dns(&text));
    let own = [
        ("/etc/resolv.conf", Some(RESOLV_CONF.to_vec())),
        ("/etc/nsswitch.conf", nsswitch.ok().map(String::into_bytes)),
    ];
    let mut number = 0_u32;
    let mut lay =
        |path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>| -> io::Result<()> {
            let Some(target) = if_there(open_target(path))? else { return Ok(()) };
            number += 1;
            let name = number.to_string();
            write_at(&bench, &name, bytes, mode, owner)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let file = rustix::mount::open_tree(&bench, name.as_str(), flags)?;
            let fixed = attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV;
            sys::set_mount_attributes(file.as_fd(), fixed, false)?;
            attach(&file, &target)
        };
    for (path, bytes) in own {
        if let Some(bytes) = bytes {
            lay(Path::new(path), &bytes, 0o644, None).map_err(at("covering", Path::new(path)))?;
        }
    }
    for (Overlaid { path, mode, owner, .. }, bytes) in plan.files.iter().zip(contents) {
        lay(path.as_path(), bytes, *mode, *owner).map_err(at("covering", path.as_path()))?;
    }
    rustix::mount::unmount("/proc", UnmountFlags::DETACH)
        .map_err(told("putting the place for files away"))
}

fn write_at(
    folder: &OwnedFd,
    name: &str,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// The same services, but host names by file and DNS only: other modules ask daemons outside.
fn hosts_by_dns(text: &str) -> String {
    let kept = text.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
    kept.chain(["hosts: files dns"]).flat_map(|line| [line, "\n"]).collect()
}

/// Hides a place, after a look that it is the very one that is meant.
fn hide(hidden: &Hidden) -> Result<(), String> {
    let path = hidden.path.as_path();
    if let Some((device, inode)) = hidden.inode {
        let stat = rustix::fs::stat(path).map_err(at("looking at", path))?;
        if (stat.st_dev, stat.st_ino) != (device, inode) {
            return Err(format!(
                "{} is no longer the folder that the gate holds: it was replaced",
                path.display()
            ));
        }
    }
    absent(path).map_err(at("hiding", path))
}

/// Covers a folder by an empty one that nobody may enter, and a file by `/dev/null`.
pub(super) fn absent(path: &Path) -> io::Result<()> {
    let Some(target) = if_there(open_target(path))? else { return Ok(()) };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
    if kind == FileType::Directory {
        let closed =
            attributes::READ_ONLY | attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
        attach(&detached("tmpfs", &[("mode", "0000"), ("size", "4k")], closed)?, &target)
    } else {
        attach(&bind(&open_target("/dev/null")?, false)?, &target)
    }
}

/// Makes a file, or a folder and all below it, read-only.
pub(super) fn read_only(path: &Path) -> io::Result<()> {
    let Some(target) = if_there(open_target(path))? else { return Ok(()) };
    make_read_only(&target)
}

fn make_read_only(target: &OwnedFd) -> io::Result<()> {
    let tree = bind(target, true)?;
    sys::set_mount_attributes(tree.as_fd(), attributes::READ_ONLY, true)?;
    attach(&tree, target)
}

/// For another user: by the control groups that a service manager gave a user, processes outside are stopped and
/// killed, and the run's own can leave the group of its kernel programs. They stay visible: nested sandboxes look there.
fn cgroups_read_only() -> io::Result<()> {
    let all = mountinfo::mounts()?.into_iter();
    for mounted in all.filter(|mounted| mounted.kind == "cgroup" || mounted.kind == "cgroup2") {
        read_only(&mounted.point)?;
    }
    Ok(())
}

/// A place, if it is there and the command could come to it at all: the gate's own program may lie where its user may
/// not go, as below another's home.
///
/// In a user namespace this process is the command's user, with every right over what that user owns, so a folder that
/// stops it stops the command, which has fewer. Without one it is root, whom a user's own file system may refuse what
/// it grants that user, so there nothing is taken to be out of reach.
fn in_reach(path: &Path, form: Form) -> io::Result<Option<OwnedFd>> {
    match open_target(path) {
        Err(error) if form == Form::UserNamespace && error.raw_os_error() == Some(libc::EACCES) => {
            Ok(None)
        }
        opened => if_there(opened),
    }
}

/// A `/proc` of this PID namespace; the old one is taken away where it can be.
fn fresh_proc() -> io::Result<()> {
    let harmless = attributes::NO_SUID | attributes::NO_DEV | attributes::NO_EXEC;
    let proc = detached("proc", &[], harmless)?;
    match rustix::mount::unmount("/proc", UnmountFlags::DETACH) {
        // A container's /proc may be locked in place; covering it is as good.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    attach(&proc, &open_target("/proc")?)
}

/// A new file system that is mounted nowhere yet.
pub(super) fn detached(
    kind: &str,
    options: &[(&str, &str)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let mount =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    // The bench is written to before it is fixed, so a read-only attribute is set by the caller's choice only.
    sys::set_mount_attributes(mount.as_fd(), attributes, false)?;
    Ok(mount)
}

/// A second mount of what `target` names, mounted nowhere yet.
pub(super) fn bind(target: &OwnedFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(target, "", flags)?)
}

/// Mounts on what `target` names.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Names a file or folder without opening it, links followed.
pub(super) fn open_target(path: impl AsRef<Path>) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Nothing where there is nothing.
pub(super) fn if_there(opened: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match opened {
        Ok(target) => Ok(Some(target)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Names the step and the path that failed.
pub(super) fn at<E: std::fmt::Display>(step: &'static str, path: &Path) -> impl Fn(E) -> String {
    move |error| format!("{step} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_line_of_the_name_service_changes() {
        let text = "passwd: files\nhosts: files mdns4 resolve dns\nservices: db\n";
        assert_eq!(hosts_by_dns(text), "passwd: files\nservices: db\nhosts: files dns\n");
    }
}
