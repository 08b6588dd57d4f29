//! Masks the sockets of programs outside, one by one.

use std::{io, os::fd::OwnedFd};

use rustix::fs::{FileType, Stat};

use super::{at, attach, bind, open_target};
use crate::{plan::Text, sockets::Sockets};

/// Mounts `/dev/null` over each: a connect is refused then, and the name cannot be taken away by unlinking it.
pub(super) fn mask(sockets: &Sockets) -> Result<(), String> {
    if sockets.masked.is_empty() {
        return Ok(());
    }
    let null = open_target("/dev/null").map_err(super::told("opening /dev/null"))?;
    for path in &sockets.masked {
        mask_one(path, &null, sockets).map_err(at("masking the socket", path.as_path()))?;
    }
    Ok(())
}

fn mask_one(path: &Text, null: &OwnedFd, sockets: &Sockets) -> io::Result<()> {
    let Some((target, stat)) = reachable(path)? else { return Ok(()) };
    let shared = sockets.shared.iter().any(|shared| shared.inode == (stat.st_dev, stat.st_ino));
    if shared {
        return Ok(());
    }
    match attach(&bind(null, false)?, &target) {
        // It was removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Nothing where there is no socket any more, and where this process, and so the command, may not go.
fn reachable(path: &Text) -> io::Result<Option<(OwnedFd, Stat)>> {
    let target = match open_target(path.as_path()) {
        Ok(target) => target,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&target)?;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    Ok(is_socket.then_some((target, stat)))
}
