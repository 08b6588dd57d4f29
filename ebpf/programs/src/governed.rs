//! Knows who is governed by these programs and what belongs to the gate: the maps that the loader fills.

use aya_ebpf::{btf_maps::HashMap, helpers::generated::bpf_get_current_cgroup_id, macros::btf_map};
use tollgate_ebpf_shared::{Cgroup, EXEMPTIONS, OWN_ADDRESSES, PORTS, Words};

/// The gate's own cgroup; nobody else's sockets pass.
#[btf_map]
static EXEMPT: HashMap<Cgroup, u32, EXEMPTIONS> = HashMap::new();

/// The addresses of the network that is governed: as good as loopback.
#[btf_map]
static OWN: HashMap<Words, u32, OWN_ADDRESSES> = HashMap::new();

/// Where the gate listens.
#[btf_map]
static GATE_PORTS: HashMap<u32, u32, PORTS> = HashMap::new();

/// The cgroup of the process that calls: a socket handed over speaks for who uses it.
#[inline(always)]
pub fn caller() -> Cgroup {
    // SAFETY: the helper has no arguments.
    cgroup(unsafe { bpf_get_current_cgroup_id() })
}

/// An id in two words.
#[inline(always)]
pub fn cgroup(id: u64) -> Cgroup {
    [id as u32, (id >> 32) as u32]
}

#[inline(always)]
pub fn is_exempt(cgroup: &Cgroup) -> bool {
    EXEMPT.get_ptr(cgroup).is_some()
}

#[inline(always)]
pub fn is_own(address: &Words) -> bool {
    OWN.get_ptr(address).is_some()
}

#[inline(always)]
pub fn is_gate_port(port: u16) -> bool {
    GATE_PORTS.get_ptr(u32::from(port)).is_some()
}
