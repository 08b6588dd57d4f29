//! Reads addresses out of the kernel's contexts, and writes them.

use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use tollgate_ebpf_shared::{Endpoint, Words, mapped};

use crate::destination::Whereto;

#[inline(always)]
pub fn v4(cx: &SockAddrContext) -> Whereto {
    // SAFETY: the kernel passes a valid context, and the verifier checks each load.
    unsafe {
        let cx = cx.sock_addr;
        Whereto::new(
            mapped((&raw const (*cx).user_ip4).read_volatile()),
            (&raw const (*cx).user_port).read_volatile(),
            (*cx).protocol,
            false,
        )
    }
}

#[inline(always)]
pub fn v6(cx: &SockAddrContext) -> Whereto {
    // SAFETY: as in `v4`.
    unsafe {
        let cx = cx.sock_addr;
        Whereto::new(read6(cx), (&raw const (*cx).user_port).read_volatile(), (*cx).protocol, true)
    }
}

/// The address word by word: older verifiers refuse wider loads.
#[inline(always)]
unsafe fn read6(cx: *const aya_ebpf::bindings::bpf_sock_addr) -> Words {
    // SAFETY: the caller passes the context; the verifier checks each load.
    unsafe {
        let ip = (&raw const (*cx).user_ip6).cast::<u32>();
        [
            ip.read_volatile(),
            ip.add(1).read_volatile(),
            ip.add(2).read_volatile(),
            ip.add(3).read_volatile(),
        ]
    }
}

#[inline(always)]
pub fn write4(cx: &SockAddrContext, at: &Endpoint) {
    // SAFETY: the verifier checks that these fields may be written.
    unsafe {
        (&raw mut (*cx.sock_addr).user_ip4).write_volatile(at.address[3]);
        (&raw mut (*cx.sock_addr).user_port).write_volatile(port_field(at.port));
    }
}

#[inline(always)]
pub fn write6(cx: &SockAddrContext, at: &Endpoint) {
    // SAFETY: the verifier checks that these fields may be written.
    unsafe {
        let ip = (&raw mut (*cx.sock_addr).user_ip6).cast::<u32>();
        ip.write_volatile(at.address[0]);
        ip.add(1).write_volatile(at.address[1]);
        ip.add(2).write_volatile(at.address[2]);
        ip.add(3).write_volatile(at.address[3]);
        (&raw mut (*cx.sock_addr).user_port).write_volatile(port_field(at.port));
    }
}

/// The kernel keeps a port in network order in the low half of a word.
#[inline(always)]
fn port_field(port: u32) -> u32 {
    u32::from((port as u16).to_be())
}

/// The socket's own address, in both forms, read word by word before either is chosen: a load in each branch is
/// merged by the compiler into one at a computed offset, which the verifier refuses.
#[inline(always)]
pub fn local(cx: &SockOpsContext) -> (Words, Words) {
    // SAFETY: the kernel passes a valid context, and the verifier checks each load.
    unsafe {
        let v4 = (&raw const (*cx.ops).local_ip4).read_volatile();
        let ip = (&raw const (*cx.ops).local_ip6).cast::<u32>();
        let v6 = [
            ip.read_volatile(),
            ip.add(1).read_volatile(),
            ip.add(2).read_volatile(),
            ip.add(3).read_volatile(),
        ];
        (mapped(v4), v6)
    }
}
