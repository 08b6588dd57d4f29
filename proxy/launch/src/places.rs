//! Names what of the file system a run leaves as it is.

use std::path::PathBuf;

/// Places of the file system that a run may not change, replace or see. Links are not followed: a path's folders must
/// be real ones, and a link that is named is meant itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Files, links, and folders with all below them, that are read-only inside. What [`crate::Spec::write`] names
    /// below such a folder stays writable.
    pub fixed: Vec<PathBuf>,
    /// Folders that can be neither renamed nor replaced inside. What is in them can be written.
    pub held: Vec<PathBuf>,
    /// What is not there inside: FIFOs, mounts. A file reads as empty.
    pub absent: Vec<PathBuf>,
}
