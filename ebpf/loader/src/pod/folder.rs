//! The folder of one pod in a bpffs, of which one process at a time changes what is pinned.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
};

use super::layout::{Layout, MAPS, WANTED};
use crate::{EbpfError, kernel, programs::HOOKS};

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPFFS: u64 = 0xcafe_4a11;

/// A pod's folder, locked until this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    at: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and says whether it was not.
    pub(super) fn make(at: &Path) -> Result<(Self, bool), EbpfError> {
        let existing = at.ancestors().find(|path| path.exists()).unwrap_or(at);
        let kind = rustix::fs::statfs(existing)
            .map_err(|error| failed("look at", existing)(error.into()))?;
        if u64::try_from(kind.f_type) != Ok(BPFFS) {
            return Err(EbpfError::NoBpffs(at.to_owned()));
        }
        let is_new = !at.join("links").exists();
        // Others may pass through to what is theirs, and see nothing.
        DirBuilder::new().recursive(true).mode(0o711).create(at).map_err(failed("make", at))?;
        let file = File::open(at).map_err(failed("open", at))?;
        file.lock().map_err(failed("lock", at))?;
        let folder = Self { at: at.to_owned(), _lock: file };
        for part in ["maps", "links"] {
            let path = at.join(part);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("make", &path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok((folder, is_new))
    }

    /// Opens the folder if it is there, when nobody else is at work in it.
    pub(super) fn open(at: &Path) -> Result<Option<Self>, EbpfError> {
        let Some(file) = found(File::open(at)).map_err(failed("open", at))? else {
            return Ok(None);
        };
        file.lock().map_err(failed("lock", at))?;
        Ok(Some(Self { at: at.to_owned(), _lock: file }))
    }

    /// As [`Folder::open`], but nothing while somebody is at work in it.
    pub(super) fn try_open(at: &Path) -> Result<Option<Self>, EbpfError> {
        let Some(file) = found(File::open(at)).map_err(failed("open", at))? else {
            return Ok(None);
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { at: at.to_owned(), _lock: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed("lock", at)(error)),
        }
    }

    /// Whether it is one that an installer made.
    pub(super) fn is_ours(&self) -> bool {
        self.at.join("links").is_dir() && self.at.join("maps").is_dir()
    }

    /// Each map and where it is pinned.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        self.layouts().map(|(layout, path)| (layout.name, path))
    }

    fn layouts(&self) -> impl Iterator<Item = (Layout, PathBuf)> {
        let maps = MAPS.map(|map| (map, self.at.join("maps").join(map.name)));
        maps.into_iter().chain([(WANTED, self.at.join(WANTED.name))])
    }

    /// Refuses maps that another version pinned and this one cannot use.
    pub(super) fn check(&self) -> Result<(), EbpfError> {
        for (layout, path) in self.layouts() {
            let Some(map) = found(kernel::open(&path)).map_err(failed("open", &path))? else {
                continue;
            };
            if !layout.is_of(map.as_fd()).map_err(failed("look at", &path))? {
                return Err(EbpfError::Layout(path));
            }
        }
        Ok(())
    }

    /// Gives the maps to the gate's user. What has the owner already is left alone, which takes no privilege.
    pub(super) fn give(&self, user: u32, group: u32) -> Result<(), EbpfError> {
        let folder = self.at.join("maps");
        let files = MAPS.map(|map| (folder.join(map.name), 0o600));
        for (path, mode) in files.into_iter().chain([(folder.clone(), 0o700)]) {
            let now = fs::metadata(&path).map_err(failed("look at", &path))?;
            if now.mode() & 0o7777 != mode {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(&path, mode).map_err(failed("change the mode of", &path))?;
            }
            if (now.uid(), now.gid()) != (user, group) {
                chown(&path, Some(user), Some(group)).map_err(failed("give away", &path))?;
            }
        }
        Ok(())
    }

    /// The names of all pinned links.
    pub(super) fn links(&self) -> Result<Vec<String>, EbpfError> {
        names(&self.at.join("links"))
    }

    /// A pinned link, if it is there.
    pub(super) fn link(&self, name: &str) -> Result<Option<OwnedFd>, EbpfError> {
        let path = self.path(name);
        found(kernel::open(&path)).map_err(failed("open", &path))
    }

    /// Pins a link.
    pub(super) fn pin(&self, link: BorrowedFd<'_>, name: &str) -> Result<(), EbpfError> {
        kernel::pin(link, &self.path(name)).map_err(self.failed("pin", name))
    }

    /// Removes a link, which detaches its program.
    pub(super) fn unlink(&self, name: &str) -> Result<(), EbpfError> {
        let path = self.path(name);
        found(fs::remove_file(&path)).map(drop).map_err(failed("remove", &path))
    }

    /// The ids of the cgroups at which the links are, each once.
    pub(super) fn cgroups(&self) -> Result<Vec<u64>, EbpfError> {
        let mut ids = Vec::new();
        for name in self.links()? {
            let Some(link) = self.link(&name)? else { continue };
            ids.push(kernel::cgroup_of(link.as_fd()).map_err(self.failed("ask about", &name))?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Removes all pins and the folder: first what redirects and last what publishes, the reverse of attaching.
    pub(super) fn remove(self) -> Result<(), EbpfError> {
        let mut links = self.links()?;
        let rank = |name: &String| {
            HOOKS.iter().position(|hook| name.starts_with(&format!("{}-", hook.program)))
        };
        links.sort_by_key(|name| std::cmp::Reverse(rank(name)));
        for name in links {
            self.unlink(&name)?;
        }
        for (_, path) in self.layouts() {
            found(fs::remove_file(&path)).map_err(failed("remove", &path))?;
        }
        for path in [self.at.join("maps"), self.at.join("links"), self.at.clone()] {
            found(fs::remove_dir(&path)).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    /// What an error at a link says.
    pub(super) fn failed(
        &self,
        act: &'static str,
        name: &str,
    ) -> impl FnOnce(io::Error) -> EbpfError {
        failed(act, &self.path(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join("links").join(name)
    }
}

/// The id of a cgroup: the inode of its folder.
pub(super) fn id(cgroup: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(cgroup)?.st_ino)
}

/// The folders right below `root`; none if it is not there.
pub(super) fn below(root: &Path) -> Result<Vec<PathBuf>, EbpfError> {
    let all = names(root)?.into_iter().map(|name| root.join(name));
    Ok(all.filter(|path| path.is_dir()).collect())
}

/// The names in a folder, in their order; none if it is not there.
fn names(folder: &Path) -> Result<Vec<String>, EbpfError> {
    let Some(entries) = found(fs::read_dir(folder)).map_err(failed("read", folder))? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("read", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Tells "not there" from what is wrong.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an error at a path says.
pub(super) fn failed(act: &'static str, at: &Path) -> impl FnOnce(io::Error) -> EbpfError + use<> {
    let at = at.to_owned();
    move |source| EbpfError::Pin { act, at, source }
}
