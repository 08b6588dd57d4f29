//! What each pinned map must be for this version to work with it.

use std::os::fd::BorrowedFd;

use ebpf_shared::{
    CONNECTIONS, Endpoint, Exempt, OWN_ADDRESSES, Origin, PORTS, RING, Redirected, TECHNIQUES,
    Words,
};

use crate::kernel;

/// A map by its name, and what the kernel says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    kind: u32,
    key: usize,
    value: usize,
    entries: usize,
}

// The kinds of `enum bpf_map_type` (linux/bpf.h).
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const SK_STORAGE: u32 = 24;
const RINGBUF: u32 = 27;

const fn hash(name: &'static str, key: usize, value: usize, entries: usize) -> Layout {
    Layout { name, kind: HASH, key, value, entries }
}

/// The maps that the gate reads.
pub(super) const MAPS: [Layout; 6] = [
    hash("ORIGINAL", size_of::<Endpoint>(), size_of::<Origin>(), CONNECTIONS),
    Layout { name: "EXEMPT", kind: ARRAY, key: 4, value: size_of::<Exempt>(), entries: 1 },
    hash("OWN", size_of::<Words>(), 4, OWN_ADDRESSES),
    hash("GATE_PORTS", 4, 4, PORTS),
    Layout { name: "COUNTERS", kind: PERCPU_ARRAY, key: 4, value: 8, entries: TECHNIQUES.len() },
    Layout { name: "EVENTS", kind: RINGBUF, key: 0, value: 0, entries: RING },
];

/// The one that only the programs use.
pub(super) const WANTED: Layout =
    Layout { name: "WANTED", kind: SK_STORAGE, key: 4, value: size_of::<Redirected>(), entries: 0 };

impl Layout {
    /// Whether a map is this one.
    pub(super) fn is_of(&self, map: BorrowedFd<'_>) -> std::io::Result<bool> {
        let kernel::MapInfo { kind, key_size, value_size, max_entries, .. } = kernel::map(map)?;
        let size = |size: u32| usize::try_from(size).ok();
        Ok(kind == self.kind
            && size(key_size) == Some(self.key)
            && size(value_size) == Some(self.value)
            && size(max_entries) == Some(self.entries))
    }
}
