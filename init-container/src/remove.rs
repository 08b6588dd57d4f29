//! Takes away what was installed: of one pod, or of all whose cgroups are gone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ebpf::EbpfError;
use serde::Serialize;

use crate::{
    floor::Floor,
    nft::{Nft, NftError},
    node,
};

/// What was taken away from one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uninstalled {
    /// The pod file, if there was one.
    pub pod_file: Option<PathBuf>,
    /// The folder of pins, if there was one.
    pub pins: Option<PathBuf>,
    /// Whether there was a floor.
    pub floor: bool,
}

/// What was taken away of pods that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Folders of pins.
    pub pins: Vec<PathBuf>,
    /// Cgroups that the node's agent had made.
    pub cgroups: Vec<PathBuf>,
}

/// Why something is left.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The pins.
    #[error(transparent)]
    Programs(#[from] EbpfError),
    /// The floor.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// A file or folder.
    #[error("cannot remove {path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Takes everything of one pod away: first the file, so that no gate starts any more, then programs and floor. From
/// then on the pod's traffic goes where it wants.
///
/// # Errors
/// When something cannot be removed; what comes after it is still there.
pub fn uninstall(pod_file: &Path, pins: &Path) -> Result<Uninstalled, RemoveError> {
    let file = match fs::remove_file(pod_file) {
        Ok(()) => Some(pod_file.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => {
            return Err(RemoveError::Io { path: pod_file.display().to_string(), source });
        }
    };
    let pinned = pins.exists();
    ebpf::uninstall(pins)?;
    let nft = Nft::find()?;
    let floor = !nft.counters()?.is_empty();
    nft.apply(&Floor::remove())?;
    Ok(Uninstalled { pod_file: file, pins: pinned.then(|| pins.to_owned()), floor })
}

/// Takes away the pins below `root` of pods whose cgroups are gone, and the empty cgroups that the node's agent made
/// below `tree`.
///
/// # Errors
/// When a folder cannot be read, or a pin not be removed.
pub fn collect(root: &Path, tree: Option<&Path>) -> Result<Collected, RemoveError> {
    // The cgroups first: with the last of a pod's its pins are collected in the same pass.
    let cgroups = tree.map_or_else(Vec::new, node::sweep);
    let pins = if root.exists() { ebpf::collect(root)? } else { Vec::new() };
    Ok(Collected { pins, cgroups })
}
