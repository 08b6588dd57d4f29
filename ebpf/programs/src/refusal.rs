//! Counts what was refused and tells the gate of it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    Global,
    btf_maps::{PerCpuArray, RingBuf},
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_get_current_comm},
    macros::btf_map,
};
use tollgate_ebpf_shared::{Endpoint, RING, Refused, TECHNIQUES, Technique};

use crate::{governed::halves, words};

/// How often each technique was refused.
#[btf_map]
static COUNTERS: PerCpuArray<u64, { TECHNIQUES.len() }> = PerCpuArray::new();

/// What was refused, for the gate to read.
#[btf_map]
static EVENTS: RingBuf<Refused, RING> = RingBuf::new();

/// Whether the kernel names the process at a socket option; read-only once loaded, so that the verifier does not look
/// at calls that it would refuse.
#[unsafe(no_mangle)]
static NAMED: Global<u32> = Global::new(1);

/// Whether the kernel lets these programs ask what the calling process is called.
#[unsafe(no_mangle)]
static CALLED: Global<u32> = Global::new(1);

/// Where nobody can say where to.
#[inline(always)]
pub fn nowhere() -> Endpoint {
    words::zeros()
}

/// What is known of an attempt, besides who made it.
#[derive(Clone, Copy)]
pub struct Attempt {
    pub technique: Technique,
    pub family: u32,
    pub protocol: u32,
    pub option: u32,
    pub destination: Endpoint,
}

/// By the process that is in a system call.
#[inline(always)]
pub fn by_caller(attempt: &Attempt, cgroup: u64) {
    let comm = if CALLED.load() == 0 { words::zeros() } else { caller_name() };
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    report(attempt, cgroup, (pid, bpf_get_current_uid_gid() as u32), comm);
}

/// What the calling process is called; a name that cannot be read is empty.
#[inline(always)]
fn caller_name() -> [u8; 16] {
    let mut name = MaybeUninit::<[u8; 16]>::uninit();
    // SAFETY: the memory is as long as the length says, and the kernel fills all of it, with zeros if it must.
    unsafe {
        bpf_get_current_comm(name.as_mut_ptr().cast(), 16);
        name.assume_init()
    }
}

/// By the process that sets a socket option, which older kernels do not name.
#[inline(always)]
pub fn by_option(attempt: &Attempt, cgroup: u64) {
    if NAMED.load() == 0 {
        report(attempt, cgroup, (0, bpf_get_current_uid_gid() as u32), words::zeros());
    } else {
        by_caller(attempt, cgroup);
    }
}

/// By a socket whose packet is on its way out, whoever runs at the time.
#[inline(always)]
pub fn by_socket(attempt: &Attempt, cgroup: u64, uid: u32) {
    report(attempt, cgroup, (0, uid), words::zeros());
}

/// A full ring loses the event and never the count.
#[inline(always)]
fn report(attempt: &Attempt, cgroup: u64, (pid, uid): (u32, u32), comm: [u8; 16]) {
    let technique = attempt.technique as u32;
    if let Some(count) = COUNTERS.get_ptr_mut(technique) {
        // SAFETY: the slot is this processor's own; two programs on it at once could lose one count, and no more.
        unsafe { *count += 1 };
    }
    let refused = Refused {
        technique,
        pid,
        uid,
        family: attempt.family,
        protocol: attempt.protocol,
        option: attempt.option,
        cgroup: halves(cgroup),
        destination: attempt.destination,
        comm,
    };
    let _ = EVENTS.output(refused, 0);
}
