//! Walks the working tree, shallow folders first and no more than a bounded part of it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::lists::{ENDINGS_OF_TREE, NOT_WALKED, OF_TREE, WATCHED};

/// Files and folders that are looked at: 30 ms, and more than most projects have.
const MOST_ENTRIES: usize = 30_000;

/// What a folder holds that git takes for a repository by itself.
const OF_BARE: [&str; 3] = ["HEAD", "objects", "refs"];

/// What a walk came upon.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// `.git`, folder or file.
    pub(super) repositories: Vec<PathBuf>,
    /// Repositories without a working tree.
    pub(super) bare: Vec<PathBuf>,
    /// Of [`OF_TREE`].
    pub(super) fixed: Vec<PathBuf>,
    /// Of [`WATCHED`].
    pub(super) watched: Vec<PathBuf>,
    /// FIFOs.
    pub(super) fifos: Vec<PathBuf>,
    /// There was more than was looked at.
    pub(super) cut: bool,
}

/// Walks below `root`, without following links and without what `skipped` says.
pub(super) fn walk(root: &Path, skipped: impl Fn(&Path) -> bool) -> Walked {
    within(root, usize::MAX, MOST_ENTRIES, skipped)
}

/// The FIFOs in `folder` and `depth` levels of folders below it.
pub(super) fn fifos(folder: &Path, depth: usize, skipped: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    const MOST: usize = 4096;
    within(folder, depth, MOST, skipped).fifos
}

fn within(root: &Path, depth: usize, most: usize, skipped: impl Fn(&Path) -> bool) -> Walked {
    let mut walked = Walked::default();
    let mut left = VecDeque::from([(root.to_owned(), 0)]);
    let mut looked = 0;
    while let Some((folder, level)) = left.pop_front() {
        // One that cannot be read by this user is none that a program of theirs executes from.
        let Ok(entries) = folder.read_dir() else { continue };
        let mut marks = 0;
        for entry in entries.flatten() {
            looked += 1;
            if looked > most {
                walked.cut = true;
                return walked;
            }
            let Ok(kind) = entry.file_type() else { continue };
            let (name, path) = (entry.file_name(), entry.path());
            if kind.is_fifo() {
                walked.fifos.push(path);
                continue;
            }
            marks += usize::from(is(&name, &OF_BARE));
            note(&mut walked, &name, &path);
            if kind.is_dir() && level < depth && !is(&name, NOT_WALKED) && !skipped(&path) {
                left.push_back((path, level + 1));
            }
        }
        if marks == OF_BARE.len() {
            walked.bare.push(folder);
        }
    }
    walked
}

fn note(walked: &mut Walked, name: &OsStr, path: &Path) {
    if name == ".git" {
        walked.repositories.push(path.to_owned());
    } else if is(name, OF_TREE) || ends_with(name, ENDINGS_OF_TREE) {
        walked.fixed.push(path.to_owned());
    } else if is(name, WATCHED) {
        walked.watched.push(path.to_owned());
    }
}

fn is(name: &OsStr, of: &[&str]) -> bool {
    of.iter().any(|one| name == OsStr::new(one))
}

fn ends_with(name: &OsStr, one_of: &[&str]) -> bool {
    one_of.iter().any(|end| name.as_bytes().ends_with(end.as_bytes()))
}
