//! How the gate is known: its cgroup, as far as it can be seen from here.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::Options;
use crate::{
    capability::{self, SYS_ADMIN},
    floor::ExemptCgroup,
    mode::Mode,
    nft::{CGROUPS, Nft},
    place::{self, PlaceError, Tree},
    ports,
};

/// The gate's cgroup, and the tree that it was found in.
#[derive(Debug)]
pub struct Gate {
    id: Option<u64>,
    seen: Result<Seen, String>,
}

/// What a rule of nftables needs.
#[derive(Debug)]
struct Seen {
    root: PathBuf,
    cgroup: Option<ExemptCgroup>,
}

/// Since when a rule's level counts from the cgroup namespace of who loads it.
const COUNTS_FROM_NAMESPACE: (u32, u32) = (6, 12);

impl Gate {
    /// Looks for the cgroup that was named, else for that of the gate's listener, if there is one.
    pub(super) fn find(options: &Options) -> Result<Self, PlaceError> {
        let Some(path) = options.gate_cgroup.as_deref() else {
            let tree = || Tree::open(options.view.root.as_deref());
            let seen = place::of_listener(ports::INTAKE, options.gate_uid)
                .and_then(|id| see(&tree()?, id))
                .map_err(|error| error.to_string());
            return Ok(Self { id: None, seen });
        };
        let at = fs::metadata(path).map_err(PlaceError::io(path.display().to_string()))?;
        let id = Some(at.ino());
        let seen = Tree::around(path).and_then(|tree| see(&tree, id));
        Ok(Self { id, seen: seen.map_err(|error| error.to_string()) })
    }

    /// Its id, where somebody named it: to the programs a gate introduces itself.
    pub(super) const fn id(&self) -> Option<u64> {
        self.id
    }

    /// As a rule names it, where it is known.
    pub(super) fn exempt(&self) -> Option<ExemptCgroup> {
        self.seen.as_ref().ok()?.cgroup.clone()
    }

    /// What stands in the way of telling it by a rule.
    pub(super) fn obstacle(&self) -> Option<String> {
        match &self.seen {
            Err(why) => Some(why.clone()),
            // Rules name cgroups below one place: another tree is put there for a moment.
            Ok(seen) if seen.cgroup.is_some() && seen.root != Path::new(CGROUPS) => {
                capability::missing(&[SYS_ADMIN])
            }
            Ok(_) => None,
        }
    }

    /// `nft` with this tree, for a floor of `mode`.
    pub(super) fn nft(&self, nft: &Nft, mode: Mode) -> Nft {
        match (&self.seen, mode) {
            (Ok(Seen { root, cgroup: Some(_) }), Mode::NftCgroup) => nft.clone().with_cgroups(root),
            _ => nft.clone(),
        }
    }

    /// What is left to do after an installation in `mode`.
    pub(super) fn next(&self, mode: Mode) -> Vec<String> {
        let unknown = mode == Mode::NftCgroup && self.exempt().is_none();
        let next = "the gate does not run yet, so nothing at all leaves: repeat this command when it listens, before the \
                    agent starts, and whenever its container was restarted";
        unknown.then(|| next.to_owned()).into_iter().collect()
    }
}

fn see(tree: &Tree, id: Option<u64>) -> Result<Seen, PlaceError> {
    let own = place::own_id()?;
    if own == tree.top() && id.is_none_or(|id| id == own) {
        return Err(PlaceError::NoneOfItsOwn("/".to_owned()));
    }
    let cgroup = id.map(|id| exempt(tree, id, own)).transpose()?;
    // Where nftables looks there may be the same tree already.
    let there = |cgroup: &ExemptCgroup| {
        let seen = fs::metadata(Path::new(CGROUPS).join(cgroup.path()));
        seen.is_ok_and(|at| Some(at.ino()) == id)
    };
    let usual = cgroup.as_ref().is_some_and(there);
    let root = if usual { PathBuf::from(CGROUPS) } else { tree.root().to_owned() };
    Ok(Seen { root, cgroup })
}

fn exempt(tree: &Tree, id: u64, own: u64) -> Result<ExemptCgroup, PlaceError> {
    let folder = tree.folder(id)?;
    let path = tree.below(&folder);
    let namespace = namespace_depth(tree, own)?;
    if namespace > 0 && kernel() < COUNTS_FROM_NAMESPACE {
        return Err(PlaceError::Namespace);
    }
    ExemptCgroup::new(&path.to_string_lossy(), namespace)
        .map_err(|_odd| PlaceError::NotACgroup(folder.display().to_string()))
}

/// How deep in the tree the cgroup namespace of this process begins.
fn namespace_depth(tree: &Tree, own: u64) -> Result<usize, PlaceError> {
    let deep = |path: &Path| {
        path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).count()
    };
    let shown = launch::own_cgroup().map_err(PlaceError::io("/proc/self/cgroup"))?;
    let shown = shown.map_or(0, |path| deep(&path));
    let whole = if own == tree.top() { 0 } else { deep(&tree.below(&tree.folder(own)?)) };
    Ok(whole.saturating_sub(shown))
}

/// Version and patch level of the kernel; the lowest where it does not say.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(version)), Some(Ok(level))) => (version, level),
        _ => (0, 0),
    }
}
