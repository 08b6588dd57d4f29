//! Knows who is governed by these programs and what belongs to the gate: the maps that the loader fills.

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    helpers::generated::bpf_get_current_cgroup_id,
    macros::btf_map,
};
use tollgate_ebpf_shared::{Cgroup, Exempt, OWN_ADDRESSES, PORTS, Words};

/// The gate's own cgroup; nobody else's sockets pass.
#[btf_map]
static EXEMPT: Array<Exempt, 1> = Array::new();

/// The addresses of the network that is governed: as good as loopback.
#[btf_map]
static OWN: HashMap<Words, u32, OWN_ADDRESSES> = HashMap::new();

/// Where the gate listens.
#[btf_map]
static GATE_PORTS: HashMap<u32, u32, PORTS> = HashMap::new();

/// The id of the cgroup of the process that calls: a socket handed over speaks for who uses it.
#[inline(always)]
pub fn caller() -> u64 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_get_current_cgroup_id() }
}

/// An id in two words.
#[inline(always)]
pub fn halves(id: u64) -> Cgroup {
    [id as u32, (id >> 32) as u32]
}

/// Whether it is the id of the gate's cgroup. Who is in none is not the gate.
#[inline(always)]
pub fn is_exempt(id: u64) -> bool {
    let Some([a, b, c, d]) = EXEMPT.get(0) else { return false };
    id != 0 && (id == *a || id == *b || id == *c || id == *d)
}

#[inline(always)]
pub fn is_own(address: &Words) -> bool {
    OWN.get_ptr(address).is_some()
}

#[inline(always)]
pub fn is_gate_port(port: u16) -> bool {
    GATE_PORTS.get_ptr(u32::from(port)).is_some()
}
