//! Tells whether a file is the one it was: by the kernel's numbers, of which no program sets the change time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that one watched folder is looked at for.
const MOST: usize = 2000;
/// Levels of folders below a watched one.
const DEEPEST: usize = 4;

/// A file at one time, and what it leads to where it is a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    own: Numbers,
    target: Option<Numbers>,
}

type Numbers = (u64, u64, u64, u32, i64, i64);

/// All watched files that are there.
pub(super) type Stamps = BTreeMap<PathBuf, Stamp>;

/// How a file is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Changed,
    New,
    Gone,
}

/// Stamps what is at these paths, and in folders all below.
pub(super) fn take(watched: &BTreeSet<PathBuf>) -> Stamps {
    let mut stamps = Stamps::new();
    for path in watched {
        let mut left = MOST;
        add(path, 0, &mut left, &mut stamps);
    }
    stamps
}

fn add(path: &Path, depth: usize, left: &mut usize, stamps: &mut Stamps) {
    let Ok(own) = path.symlink_metadata() else { return };
    if own.is_dir() {
        let Ok(entries) = path.read_dir() else { return };
        for entry in entries.flatten().filter(|_| depth < DEEPEST) {
            if *left == 0 {
                return;
            }
            *left -= 1;
            // Git's examples are not executed.
            if entry.path().extension().is_none_or(|end| end != "sample") {
                add(&entry.path(), depth + 1, left, stamps);
            }
        }
    } else if own.is_file() || own.is_symlink() {
        let target = own.is_symlink().then(|| path.metadata().ok().as_ref().map(numbers)).flatten();
        stamps.insert(path.to_owned(), Stamp { own: numbers(&own), target });
    }
}

/// Of a folder that a link leads to only which one it is: what is in it is watched by itself.
fn numbers(of: &Metadata) -> Numbers {
    if of.is_dir() {
        return (of.dev(), of.ino(), 0, 0, 0, 0);
    }
    (of.dev(), of.ino(), of.size(), of.mode(), of.ctime(), of.ctime_nsec())
}

/// What differs, by path.
pub(super) fn compare(before: &Stamps, after: &Stamps) -> Vec<(PathBuf, How)> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let mut found: Vec<_> = gone.map(|path| (path.clone(), How::Gone)).collect();
    for (path, stamp) in after {
        match before.get(path) {
            None => found.push((path.clone(), How::New)),
            Some(old) if old != stamp => found.push((path.clone(), How::Changed)),
            Some(_) => {}
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_replaced_made_or_removed_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["same", "written", "replaced", "removed", "target"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("target", at("link")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink("folder", at("to-folder")).unwrap();
        let watched: BTreeSet<_> =
            ["same", "written", "replaced", "removed", "made", "link", "folder", "to-folder"]
                .map(at)
                .into();
        let before = take(&watched);
        let old = std::fs::metadata(at("written")).unwrap().modified().unwrap();
        std::fs::write(at("written"), "y").unwrap();
        // A time that a program sets is not believed.
        std::fs::File::open(at("written")).unwrap().set_modified(old).unwrap();
        std::fs::write(at("new"), "x").unwrap();
        std::fs::rename(at("new"), at("replaced")).unwrap();
        std::fs::remove_file(at("removed")).unwrap();
        std::fs::write(at("made"), "x").unwrap();
        std::fs::write(at("target"), "longer").unwrap();
        std::fs::write(at("folder/inner"), "x").unwrap();
        std::fs::write(at("folder/pre-push.sample"), "x").unwrap();
        assert_eq!(
            compare(&before, &take(&watched)),
            [
                (at("folder/inner"), How::New),
                (at("link"), How::Changed),
                (at("made"), How::New),
                (at("removed"), How::Gone),
                (at("replaced"), How::Changed),
                (at("written"), How::Changed),
            ]
        );
    }
}
