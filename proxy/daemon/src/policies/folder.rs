//! The policy folder: which of its files are contracts, and what tells that one has changed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::policy_file::PolicyFile;
use crate::yaml::Fault;

/// All contracts of `folder`, by name, and what is wrong with the folder or with reading them.
pub(super) fn files(folder: &Path) -> (Vec<PolicyFile>, Vec<Fault>) {
    let fault = |path: &Path, message: String| Fault {
        file: path.display().to_string(),
        at: None,
        path: None,
        message,
    };
    let names = match names(folder) {
        Ok(names) => names,
        Err(error) => return (Vec::new(), vec![fault(folder, format!("cannot be read: {error}"))]),
    };
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for path in names {
        // It would be believed to hold, and would not.
        if path.extension() == Some(OsStr::new("yml")) {
            let message = "is not read: contracts are called NAME.yaml; rename it or move it away";
            faults.push(fault(&path, message.to_owned()));
            continue;
        }
        match PolicyFile::read(&path) {
            Ok(file) => files.push(file),
            Err(fault) => faults.push(fault),
        }
    }
    if files.is_empty() && faults.is_empty() {
        let message =
            "has no contract (NAME.yaml), so nothing could be sent: tollgate init".to_owned();
        faults.push(fault(folder, message));
    }
    (files, faults)
}

/// The files that are contracts by name. Hidden ones are those of editors and of Kubernetes.
fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let contract = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        if contract && !hidden {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

/// What the folder looks like from outside. Two that are equal were not told apart by anything that
/// changes when a file is written, replaced, renamed or swapped by a link, directly or as one of the
/// folders above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look(Result<BTreeMap<OsString, Trace>, io::ErrorKind>);

/// What is told of one file, through all links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trace {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last write and of the last change of any kind.
    times: [i64; 4],
}

impl Look {
    /// What nobody could see.
    pub(super) const fn unknown() -> Self {
        Self(Err(io::ErrorKind::Other))
    }

    /// Looks at `folder`.
    pub(super) fn at(folder: &Path) -> Self {
        Self(names(folder).map_err(|error| error.kind()).map(|names| {
            names
                .into_iter()
                .map(|path| {
                    let trace = fs::metadata(&path).map_or(Trace::GONE, |meta| Trace::of(&meta));
                    (path.into_os_string(), trace)
                })
                .collect()
        }))
    }
}

impl Trace {
    /// A link that leads nowhere.
    const GONE: Self = Self { device: 0, inode: 0, size: 0, times: [0; 4] };

    fn of(meta: &fs::Metadata) -> Self {
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Self { device: meta.dev(), inode: meta.ino(), size: meta.size(), times }
    }
}
