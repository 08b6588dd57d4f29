//! Finds the Unix sockets of programs outside before a run starts: those to be masked, and those that are shared.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::{FileTypeExt as _, MetadataExt as _},
        },
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{error::LaunchError, plan::Text, run::Spec};

/// Sockets of engines, service managers, buses and name services, which may listen in another network namespace
/// than the one that `exec` is called in, and then are not in its list.
const KNOWN: &[&str] = &[
    "/run/docker.sock",
    "/run/docker/libnetwork",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/snapd.socket",
    "/run/snapd-snap.socket",
    "/run/systemd/private",
    "/run/systemd/notify",
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
    "/run/systemd/userdb/io.systemd.DynamicUser",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/run/dbus/system_bus_socket",
    "/run/nscd/socket",
    "/run/avahi-daemon/socket",
    "/run/acpid.socket",
    "/run/libvirt/libvirt-sock",
    "/run/lxd.socket",
    "/var/lib/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
    "/var/lib/sss/pipes/nss",
    "/var/lib/sss/pipes/pam",
    "/run/pcscd/pcscd.comm",
    "/run/cups/cups.sock",
    "/dev/log",
];

/// Folders in which programs put their sockets, with how many levels below belong to that; `~` is the home folder,
/// `%` the user's id.
const FOLDERS: &[(&str, u8)] = &[
    ("/tmp/.X11-unix", 1),
    ("/tmp/.ICE-unix", 1),
    ("/tmp/tmux-%", 1),
    ("/tmp/emacs%", 1),
    ("/run/user/%", 3),
    ("/run/screen/S-%", 1),
    ("~/.gnupg", 1),
    ("~/.ssh", 2),
    ("~/.docker/run", 1),
    ("~/.docker/desktop", 1),
    ("~/.1password", 1),
    ("~/.colima/default", 1),
];

/// At most so many entries of those folders are looked at: what else there is cannot be connected to either.
const MOST_ENTRIES: usize = 4096;

/// What init learns of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sockets {
    /// Paths of sockets to be masked.
    pub(crate) masked: Vec<Text>,
    /// Those that stay (`--share-socket`).
    pub(crate) shared: Vec<Shared>,
    /// The descriptor that lists the sockets of the network namespace which `exec` was called in.
    pub(crate) outside: i32,
}

/// A socket of a program outside that stays reachable, and which file it was when the run started.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) path: Text,
    pub(crate) inode: (u64, u64),
}

/// Looks around, in the namespaces of whoever calls `exec`.
pub(crate) fn look(spec: &Spec, outside: i32) -> Result<Sockets, LaunchError> {
    let shared = spec.share_sockets.iter().map(|path| shared(path)).collect::<Result<_, _>>()?;
    let listed = std::fs::read("/proc/net/unix")
        .map_err(|error| LaunchError::setup("listing the sockets of other programs", error))?;
    let mut found: BTreeSet<PathBuf> = paths(&listed).collect();
    found.extend(KNOWN.iter().map(PathBuf::from));
    found.extend(spec.environment.iter().filter_map(|(_, value)| named_by(value)));
    let home = spec.environment.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home);
    let mut left = MOST_ENTRIES;
    for (folder, levels) in FOLDERS {
        if let Some(folder) = place(folder, home, spec.identity.uid) {
            sockets_in(&folder, *levels, &mut left, &mut found);
        }
    }
    found.retain(|path| is_socket(path));
    Ok(Sockets { masked: found.into_iter().map(Text::from).collect(), shared, outside })
}

/// A descriptor for [`Sockets::outside`]: it lists for as long as it is open, wherever its holder goes.
pub(crate) fn lister() -> io::Result<OwnedFd> {
    /// `NETLINK_SOCK_DIAG` (linux/netlink.h).
    const SOCKET_DIAGNOSTICS: u32 = 4;
    let protocol =
        rustix::net::Protocol::from_raw(SOCKET_DIAGNOSTICS.try_into().map_err(io::Error::other)?);
    Ok(rustix::net::socket_with(
        rustix::net::AddressFamily::NETLINK,
        rustix::net::SocketType::RAW,
        rustix::net::SocketFlags::CLOEXEC,
        Some(protocol),
    )?)
}

fn shared(path: &Path) -> Result<Shared, LaunchError> {
    let failed = |why: String| LaunchError::ShareSocket { path: path.to_owned(), why };
    let absolute = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
    let found = std::fs::metadata(&absolute).map_err(|error| failed(error.to_string()))?;
    if !found.file_type().is_socket() {
        return Err(failed("it is no socket".to_owned()));
    }
    Ok(Shared { path: absolute.into(), inode: (found.dev(), found.ino()) })
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The paths in the kernel's list of Unix sockets; abstract names begin with `@`, relative ones cannot be found.
fn paths(listed: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    /// Columns before the path: Num, `RefCount`, Protocol, Flags, Type, St, Inode.
    const BEFORE: usize = 7;
    listed.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut rest = line;
        for _ in 0..BEFORE {
            let rest_of = rest.trim_ascii_start();
            let end = rest_of.iter().position(u8::is_ascii_whitespace)?;
            (_, rest) = rest_of.split_at_checked(end)?;
        }
        let path = rest.strip_prefix(b" ")?;
        path.starts_with(b"/").then(|| OsString::from_vec(path.to_vec()).into())
    })
}

/// What a variable's value names: a path, alone or in the forms of D-Bus, Docker and tmux.
fn named_by(value: &OsStr) -> Option<PathBuf> {
    let bytes = value.as_bytes();
    let path = ["unix://", "unix:path=", "unix:"]
        .iter()
        .find_map(|scheme| bytes.strip_prefix(scheme.as_bytes()))
        .unwrap_or(bytes);
    if !path.starts_with(b"/") {
        return None;
    }
    let whole = PathBuf::from(OsStr::from_bytes(path));
    if is_socket(&whole) {
        return Some(whole);
    }
    let end = path.iter().position(|byte| b",;".contains(byte))?;
    let (path, _) = path.split_at_checked(end)?;
    Some(OsStr::from_bytes(path).into())
}

fn place(folder: &str, home: Option<&OsString>, uid: u32) -> Option<PathBuf> {
    match folder.strip_prefix("~/") {
        Some(rest) => Some(Path::new(home?).join(rest)),
        None => Some(folder.replace('%', &uid.to_string()).into()),
    }
}

fn sockets_in(folder: &Path, levels: u8, left: &mut usize, found: &mut BTreeSet<PathBuf>) {
    // What cannot be read, the user's programs cannot reach by a name they find there.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_socket() {
            found.insert(entry.path());
        } else if kind.is_dir() && levels > 1 {
            sockets_in(&entry.path(), levels - 1, left, found);
        }
    }
}

#[cfg(test)]
mod tests;
