//! Fixes the files that others execute later, and the folders above them (attacks 8).
//!
//! A mount on a file, a link or a folder can be neither renamed, removed nor replaced, also not from a mount
//! namespace that the command makes: there it is locked. So a folder is held by a mount of itself.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};

use super::{at, attach, attributes, bind, if_there, open_target};
use crate::{plan::Plan, sys};

/// Holds and fixes what the plan names, outer places first, so that none covers an inner one.
pub(super) fn keep(plan: &Plan) -> Result<(), String> {
    let aside = set_aside(plan)?;
    let held = plan.held.iter().map(|path| (path.as_path(), false));
    let fixed = plan.fixed.iter().map(|path| (path.as_path(), true));
    let mut places: Vec<(&Path, bool)> = held.chain(fixed).collect();
    places.sort_unstable();
    places.dedup();
    for (path, fixed) in places {
        keep_one(path, fixed).map_err(at("keeping as it is", path))?;
    }
    for (path, tree) in aside {
        open_target(&path)
            .and_then(|target| attach(&tree, &target))
            .map_err(at("keeping writable", &path))?;
    }
    Ok(())
}

/// What is named as writable below a fixed folder, outer folders first.
fn set_aside(plan: &Plan) -> Result<Vec<(PathBuf, OwnedFd)>, String> {
    let below = |path: &PathBuf| plan.fixed.iter().any(|fixed| path.starts_with(fixed.as_path()));
    let named = plan.write.iter().filter_map(|text| text.as_path().canonicalize().ok());
    let mut aside = Vec::new();
    for path in named.filter(below) {
        let tree = open_target(&path)
            .and_then(|target| bind(&target, true))
            .map_err(at("setting aside", &path))?;
        aside.push((path, tree));
    }
    aside.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(aside)
}

/// Keeps a folder, or a link, where it is. One that is a mount already stays as it is.
pub(super) fn hold(path: &Path) -> io::Result<()> {
    let Some(target) = if_there(open_itself(path))? else { return Ok(()) };
    let stat = rustix::fs::statx(&target, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(());
    }
    match bind(&target, true).and_then(|tree| attach(&tree, &target)) {
        // It was removed meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn keep_one(path: &Path, fixed: bool) -> io::Result<()> {
    let Some(target) = if_there(open_itself(path))? else { return Ok(()) };
    let tree = bind(&target, true)?;
    if fixed {
        sys::set_mount_attributes(tree.as_fd(), attributes::READ_ONLY, true)?;
    }
    attach(&tree, &target)
}

/// The place of this very path: a folder on the way that has become a link is an error.
fn open_itself(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}
