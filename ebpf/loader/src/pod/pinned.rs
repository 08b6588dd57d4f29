//! The maps of a pod as its gate sees them, which needs no capability: they belong to its user.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData, MapError, RingBuf};
use ebpf_shared::Technique;

use super::{
    folder::failed,
    layout::{Layout, MAPS},
};
use crate::{
    Attempts, Counters, EbpfError, Origin, kernel, origins::Origins, programs::exempt, sockets,
};

/// The maps of the programs that an installer pinned, opened by the gate.
///
/// Needs kernel 5.19, where `unprivileged_bpf_disabled` lets a user work with maps that are its own.
pub struct Pinned {
    maps: PathBuf,
    origins: Origins,
    counters: Counters,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Pinned").field("maps", &self.maps).finish_non_exhaustive()
    }
}

impl Pinned {
    /// Opens the maps at `maps`, the folder of that name below the pod's.
    ///
    /// # Errors
    /// When they are not there, belong to another user, or were pinned by a version that this one does not understand.
    pub fn open(maps: &Path) -> Result<Self, EbpfError> {
        Ok(Self {
            origins: Origins::new(open(maps, "ORIGINAL")?),
            counters: Counters::new(open(maps, "COUNTERS")?),
            maps: maps.to_owned(),
        })
    }

    /// Where the connection that the gate accepted from `peer` at its own address `at` wanted to go, and who asked; or
    /// nothing: then it must be closed.
    ///
    /// One system call; may be called from any thread.
    #[must_use]
    pub fn origin(&self, peer: SocketAddr, at: SocketAddr) -> Option<Origin> {
        self.origins.at(peer, at)
    }

    /// Makes the cgroup of the calling thread the only one that is exempt, and says its id.
    ///
    /// What is open goes on; sockets bear the mark by which the packet filter knows the gate only if they are made
    /// afterwards.
    ///
    /// # Errors
    /// When the kernel does not tell the cgroup, or the map does not take it.
    pub fn exempt_myself(&self) -> Result<u64, EbpfError> {
        let id = sockets::own_cgroup().map_err(EbpfError::OwnCgroup)?;
        exempt(open(&self.maps, "EXEMPT")?, &[id])?;
        Ok(id)
    }

    /// What the programs refuse, and what they refused since somebody last read it: the ring has one reader at a time.
    ///
    /// # Errors
    /// When the ring cannot be opened.
    pub fn attempts(&self) -> Result<Attempts, EbpfError> {
        let ring: RingBuf<MapData> = open(&self.maps, "EVENTS")?;
        Ok(Attempts::new(ring))
    }

    /// How often each technique was refused since the programs were installed.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn counters(&self) -> Result<Vec<(Technique, u64)>, EbpfError> {
        self.counters.read()
    }
}

/// Opens one map, if it is what this version expects.
fn open<T>(maps: &Path, name: &'static str) -> Result<T, EbpfError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let path = maps.join(name);
    let fd = kernel::open(&path).map_err(failed("open", &path))?;
    let is_known =
        |layout: &Layout| layout.name == name && layout.is_of(fd.as_fd()).unwrap_or(false);
    if !MAPS.iter().any(is_known) {
        return Err(EbpfError::Layout(path));
    }
    let map = MapData::from_fd(fd).and_then(Map::from_map_data).and_then(T::try_from);
    map.map_err(map_error(name))
}

fn map_error(name: &'static str) -> impl FnOnce(MapError) -> EbpfError {
    move |error| EbpfError::Map { name, source: Box::new(error) }
}
