//! Which files others execute later, and helpers that are no sockets (attacks 8 and 9): found before a run, guarded
//! in it, compared after it.

mod lists;
mod outside;
mod programs;
mod repository;
mod stamp;
mod trail;
mod walk;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use launch::{Identity, Places};
use sha2::{Digest, Sha256};

use self::outside::Helpers;
use self::stamp::{How, Stamps};
use crate::cli::failure::Failure;
use crate::record::Changed;
use crate::trust;

/// Lines that the summary has for them.
const LISTED: usize = 10;
/// Digests that the record has of them.
const DIGESTS: usize = 64;
/// The longest file of which there is one.
const DIGESTED: u64 = 1 << 20;

/// Places of the working tree that are fixed: each is a mount.
const MOST_FIXED: usize = 512;

/// Where a run is, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Around {
    home: Option<PathBuf>,
    /// Where the user's own programs look, whatever this one was told by its environment.
    account: Option<PathBuf>,
    here: PathBuf,
    identity: Identity,
    /// `--write`, real paths.
    write: Vec<PathBuf>,
}

/// Which folders above a place are held, so that they cannot be renamed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hold {
    /// None: each is a border that nothing is renamed across, and there are many.
    Nothing,
    /// Those below this one.
    Below(PathBuf),
    /// All.
    All,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    home: Option<PathBuf>,
    fixed: BTreeSet<PathBuf>,
    held: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
    repositories: BTreeSet<PathBuf>,
    fifos: BTreeSet<PathBuf>,
    helpers: Helpers,
    /// There was more than was looked at.
    cut: bool,
}

impl Found {
    /// A place that is read-only, by whatever links lead to it, if it is there; watched in any case.
    fn fix(&mut self, path: &Path, hold: &Hold) {
        let trail = trail::follow(path);
        self.watched.insert(path.to_owned());
        self.fixed.extend(trail.links);
        if let Some(end) = trail.end {
            self.watched.insert(end.clone());
            self.fixed.insert(end);
            let held = trail.folders.into_iter().filter(|folder| match hold {
                Hold::Nothing => false,
                Hold::Below(top) => folder.starts_with(top),
                Hold::All => true,
            });
            self.held.extend(held);
        }
    }

    /// A folder that stays where it is, with those above it.
    fn hold(&mut self, folder: &Path) {
        let trail = trail::follow(folder);
        self.fixed.extend(trail.links);
        self.held.extend(trail.folders);
        self.held.extend(trail.end);
    }
}

impl Around {
    /// Of this process, whose working folder is `here`.
    pub(super) fn of(here: &Path, identity: &Identity, write: &[PathBuf]) -> Self {
        // What is to be made is named by the folder that is there.
        let real = |path: &PathBuf| {
            let path = here.join(path);
            let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
            let made = folder.zip(path.file_name()).map(|(folder, name)| folder.join(name));
            path.canonicalize().ok().or(made).unwrap_or(path)
        };
        Self {
            home: std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()),
            account: account(identity.uid),
            here: here.canonicalize().unwrap_or_else(|_| here.to_owned()),
            identity: identity.clone(),
            write: write.iter().map(real).collect(),
        }
    }

    /// Looks for everything once.
    fn look(&self) -> Found {
        let mut found = Found { home: self.home.clone(), ..Found::default() };
        let mounts = launch::mounts().unwrap_or_default();
        let needed: Vec<PathBuf> =
            std::iter::once(self.here.clone()).chain(self.home.clone()).collect();
        found.helpers = outside::file_systems(&mounts, &needed, |point| {
            self.write.iter().any(|given| given.starts_with(point) || point.starts_with(given))
        });
        self.look_at_home(&mut found);
        self.look_at_tree(&mut found);
        let skip: Vec<PathBuf> =
            found.helpers.hidden.iter().map(|(path, _)| path.clone()).collect();
        let fifos = outside::fifos(self.home.as_deref(), |path| skip.iter().any(|one| one == path));
        found.fifos.extend(fifos);
        found
    }

    fn look_at_home(&self, found: &mut Found) {
        for path in lists::OF_SYSTEM {
            found.fix(Path::new(path), &Hold::Nothing);
        }
        let named = lists::NAMED_BY.iter().filter_map(std::env::var_os).map(PathBuf::from);
        for path in named.filter(|path| path.is_absolute()) {
            found.fix(&path, &Hold::All);
        }
        if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            for name in lists::OF_RUNTIME {
                found.fix(&runtime.join(name), &Hold::All);
            }
        }
        if let Some(account) =
            self.account.as_ref().filter(|home| Some(*home) != self.home.as_ref())
        {
            self.look_at_one_home(account, found);
        }
        let Some(home) = &self.home else { return };
        self.look_at_one_home(home, found);
        // Programs that are found by name, but for those that belong to the working tree, such as an environment's.
        let path = std::env::var_os("PATH").unwrap_or_default();
        for folder in std::env::split_paths(&path).filter(|folder| folder.starts_with(home)) {
            if !folder.starts_with(self.tree()) || self.tree() == home {
                found.fix(&folder, &Hold::All);
                programs::behind(&folder, home, self.tree(), found);
            }
        }
    }

    fn look_at_one_home(&self, home: &Path, found: &mut Found) {
        found.hold(home);
        let elsewhere = |variable| std::env::var_os(variable).map(PathBuf::from);
        let moved = [
            (".config/", elsewhere("XDG_CONFIG_HOME")),
            (".local/share/", elsewhere("XDG_DATA_HOME")),
        ];
        for name in lists::OF_HOME {
            found.fix(&home.join(name), &Hold::All);
            for (usual, other) in &moved {
                if let (Some(below), Some(other)) = (name.strip_prefix(usual), other) {
                    found.fix(&other.join(below), &Hold::All);
                }
            }
        }
        found.watched.extend(lists::OF_HOME_WATCHED.iter().map(|name| home.join(name)));
        for name in [".gitconfig", ".config/git/config"] {
            repository::settings(&home.join(name), None, found);
        }
        programs::installed(home, found);
        for folder in ["bin", ".local/bin"] {
            programs::behind(&home.join(folder), home, self.tree(), found);
        }
    }

    /// The repository that the working folder is in, or that folder itself.
    fn tree(&self) -> &Path {
        let above = self.here.ancestors().find(|folder| folder.join(".git").exists());
        above.unwrap_or(&self.here)
    }

    fn look_at_tree(&self, found: &mut Found) {
        found.hold(self.tree());
        for above in self.here.ancestors() {
            let git = above.join(".git");
            if git.symlink_metadata().is_ok() {
                repository::note(&git, found);
            }
        }
        let shared = |path: &Path| {
            let Helpers { hidden, kept } = &found.helpers;
            hidden.iter().chain(kept).any(|(point, _)| point == path)
        };
        let walked = walk::walk(self.tree(), shared);
        found.cut = walked.cut;
        found.fifos.extend(walked.fifos);
        for git in walked.repositories {
            repository::note(&git, found);
        }
        for git in walked.bare {
            repository::folder(&git, None, found, 0);
        }
        found.cut |= walked.fixed.len() > MOST_FIXED;
        for path in walked.fixed.into_iter().take(MOST_FIXED) {
            found.fix(&path, &Hold::Nothing);
        }
        // A coding agent's own folder below the home folder is where it works.
        let own = |path: &PathBuf| self.home.is_none() || path.parent() != self.home.as_deref();
        found.watched.extend(walked.watched.into_iter().filter(own));
    }

    fn is_given(&self, path: &Path) -> bool {
        self.write.iter().any(|given| path.starts_with(given))
    }

    /// Whether the command could give this folder another name.
    fn is_movable(&self, folder: &Path) -> bool {
        const STICKY: u32 = 0o1000;
        const WRITABLE: u32 = 0o022;
        let Some(Ok(above)) = folder.parent().map(Path::metadata) else { return false };
        let Ok(own) = folder.metadata() else { return false };
        let uid = self.identity.uid;
        let owner = above.uid() == uid || own.uid() == uid;
        // A list of further users shows as the group's right.
        uid == 0
            || above.uid() == uid
            || (above.mode() & WRITABLE != 0 && (above.mode() & STICKY == 0 || owner))
    }
}

/// The home folder that the system has for a user; none where that is the whole machine's.
fn account(uid: u32) -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
    Some(user.dir).filter(|home| home.is_absolute() && home.parent().is_some())
}

/// What a run leaves as it is, and how the rest stood before it.
#[derive(Debug)]
pub(super) struct Guarded {
    around: Around,
    before: Stamps,
    watched: BTreeSet<PathBuf>,
    said: Vec<String>,
    places: Places,
}

impl Guarded {
    /// Looks before a run.
    ///
    /// # Errors
    /// When `--write` names what is to be made in a folder that stays read-only.
    pub(super) fn find(around: Around) -> Result<Self, Failure> {
        let found = around.look();
        for path in around.write.iter().filter(|path| !path.exists()) {
            let inner = |fixed: &&PathBuf| path.starts_with(fixed) && !around.is_given(fixed);
            if let Some(fixed) = found.fixed.iter().find(inner) {
                let what = format!("--write {}: there is no such file", path.display());
                return Err(Failure::usage(what).then(format!("--write {}", fixed.display())));
            }
        }
        let kept = |path: &PathBuf| !around.is_given(path);
        let fifos = found.fifos.iter().filter(|path| kept(path));
        let hidden: Vec<(PathBuf, String)> = found
            .helpers
            .hidden
            .iter()
            .cloned()
            .chain(fifos.map(|path| (path.clone(), "FIFO".to_owned())))
            .collect();
        let movable = |path: &PathBuf| kept(path) && around.is_movable(path);
        let places = Places {
            fixed: found.fixed.iter().filter(|path| kept(path)).cloned().collect(),
            held: found.held.iter().filter(|path| movable(path)).cloned().collect(),
            absent: hidden.iter().map(|(path, _)| path.clone()).collect(),
        };
        let said = said(&around, &found, &hidden);
        let before = stamp::take(&found.watched);
        Ok(Self { before, watched: found.watched, around, said, places })
    }

    /// For the launcher.
    pub(super) fn places(&self) -> Places {
        self.places.clone()
    }

    /// For the first lines.
    pub(super) fn said(&self) -> &[String] {
        &self.said
    }

    /// Looks again after the run: what its record says, and the summary's lines.
    pub(super) fn changed(&self) -> (Changed, Vec<String>) {
        let mut watched = self.around.look().watched;
        watched.extend(self.watched.iter().cloned());
        let mut differ = stamp::compare(&self.before, &stamp::take(&watched));
        // Git executes what a repository's settings say whenever it looks at it, also from the one above.
        let of_git = |path: &Path| path.components().any(|part| part.as_os_str() == ".git");
        differ.sort_by_key(|(path, _)| !of_git(path));
        let digests = differ.iter().filter_map(|(path, _)| digest(path)).take(DIGESTS).collect();
        let mut lines: Vec<String> = differ
            .iter()
            .take(LISTED)
            .map(|(path, how)| {
                let how = match how {
                    How::Changed => "changed",
                    How::New => "new",
                    How::Gone => "gone",
                };
                let who = if of_git(path) { "git runs" } else { "others run" };
                format!("          {how}, and {who} it: {}", self.around.shown(path))
            })
            .collect();
        if let Some(more @ 1..) = differ.len().checked_sub(LISTED) {
            lines.push(format!("          and {more} more of that kind"));
        }
        (Changed { count: differ.len() as u64, digests }, lines)
    }
}

impl Around {
    /// A path as its user would write it.
    fn shown(&self, path: &Path) -> String {
        if let Ok(below) = path.strip_prefix(&self.here) {
            return below.display().to_string();
        }
        match self.home.as_ref().map(|home| path.strip_prefix(home)) {
            Some(Ok(below)) => format!("~/{}", below.display()),
            Some(Err(_)) | None => path.display().to_string(),
        }
    }
}

fn said(around: &Around, found: &Found, hidden: &[(PathBuf, String)]) -> Vec<String> {
    let list = |all: &[(PathBuf, String)]| {
        let shown = all.iter().take(LISTED);
        let mut shown: Vec<String> =
            shown.map(|(path, kind)| format!("{} ({kind})", around.shown(path))).collect();
        if let Some(more @ 1..) = all.len().checked_sub(LISTED) {
            shown.push(format!("{more} more"));
        }
        shown.join(", ")
    };
    let mut said = vec![
        "read-only inside: start-up files, git hooks and settings, editor tasks; one back: --write .git/config"
            .to_owned(),
    ];
    if !hidden.is_empty() {
        said.push(format!("hidden: {}; one back: --write PATH", list(hidden)));
    }
    if !found.helpers.kept.is_empty() {
        said.push(format!("shared with other machines: {}", list(&found.helpers.kept)));
    }
    if found.cut {
        said.push("large tree: files that others run were looked for in a part of it".to_owned());
    }
    said.into_iter().map(|line| format!("          {line}")).collect()
}

/// Of a file that is small, and ordinary; a FIFO that was put in its place is not waited for.
fn digest(path: &Path) -> Option<String> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = flags.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok()?;
    if !found.is_file() || found.len() > DIGESTED {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(DIGESTED).read_to_end(&mut bytes).ok()?;
    Some(trust::hex(&Sha256::digest(&bytes).into()))
}

#[cfg(test)]
mod tests;
