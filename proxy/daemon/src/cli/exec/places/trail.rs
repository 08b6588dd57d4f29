//! Follows a path link by link: each link and folder on the way decides what the path means.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// What lies on the way of a path. All paths are real but for their last part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trail {
    /// Folders that are walked through, outermost first, without `/`.
    pub(super) folders: Vec<PathBuf>,
    /// Links that are followed.
    pub(super) links: Vec<PathBuf>,
    /// What is there in the end; `None` where nothing is, or more links than can be followed.
    pub(super) end: Option<PathBuf>,
}

/// Follows an absolute path.
pub(super) fn follow(path: &Path) -> Trail {
    let mut trail = Trail::default();
    let mut left: VecDeque<OsString> =
        path.components().map(|part| part.as_os_str().to_owned()).collect();
    let mut real = PathBuf::from("/");
    while let Some(part) = left.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => real = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(real.pop()),
            Some(Component::Normal(name)) => {
                let next = real.join(name);
                let Ok(found) = next.symlink_metadata() else { return trail };
                if found.is_symlink() {
                    let Ok(target) = next.read_link() else { return trail };
                    trail.links.push(next);
                    if trail.links.len() > MOST_LINKS {
                        return trail;
                    }
                    for part in target.components().rev() {
                        left.push_front(part.as_os_str().to_owned());
                    }
                } else if left.is_empty() {
                    real = next;
                } else if found.is_dir() {
                    trail.folders.push(next.clone());
                    real = next;
                } else {
                    return trail;
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    trail.end = Some(real);
    trail
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_and_folder_on_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("data/config/fish")).unwrap();
        symlink("data/config", top.join(".config")).unwrap();
        symlink(top.join("data/config/fish"), top.join("data/config/fosh")).unwrap();
        let trail = follow(&top.join(".config/fosh/../fish"));
        assert_eq!(trail.end, Some(top.join("data/config/fish")));
        assert_eq!(trail.links, [top.join(".config"), top.join("data/config/fosh")]);
        assert!(trail.folders.contains(&top.join("data/config")));
    }

    #[test]
    fn a_circle_and_a_missing_part_end_nowhere_and_keep_what_was_passed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        symlink("circle", top.join("circle")).unwrap();
        assert_eq!(follow(&top.join("circle/x")).end, None);
        symlink("nothing", top.join("dangling")).unwrap();
        let trail = follow(&top.join("dangling"));
        assert_eq!((trail.end, trail.links), (None, vec![top.join("dangling")]));
    }
}
