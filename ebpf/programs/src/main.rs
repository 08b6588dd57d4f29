//! Sends what the sockets of a cgroup say to the gate, refuses what the gate cannot read, and publishes where they
//! wanted to go.
#![no_std]
#![no_main]

mod destination;

use aya_ebpf::{
    Global,
    btf_maps::{HashMap, SkStorage},
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_sk_storage_get},
    macros::{btf_map, cgroup_sock, cgroup_sock_addr, sock_ops},
    programs::{SockAddrContext, SockContext, SockOpsContext},
};
use tollgate_ebpf_shared::{
    CONNECTIONS, DNS_PORT, Endpoint, INTAKE_PORT, Origin, Redirected, WIRE_NONE, WIRE_V4, WIRE_V6,
    Words, mapped,
};

use crate::destination::{DGRAM, Fate, Gate, STREAM, TCP, UDP, Whereto};

/// Refuses the system call with EPERM.
const REFUSE: i32 = 0;
/// Lets the system call go on, with the address as it now is.
const ALLOW: i32 = 1;

/// The port of the intake. The three constants are read-only once loaded, so that the verifier knows their values and
/// what they rule out is not run.
#[unsafe(no_mangle)]
static INTAKE: Global<u32> = Global::new(INTAKE_PORT as u32);

/// The port of the responder.
#[unsafe(no_mangle)]
static RESPONDER: Global<u32> = Global::new(DNS_PORT as u32);

/// The network namespace of the gate, or 0 for the only one: of an attached cgroup there may be processes in others,
/// whose loopback is not the gate's.
#[unsafe(no_mangle)]
static NETWORK: Global<u64> = Global::new(0);

/// Where each socket wanted to go; lives and dies with the socket.
#[btf_map]
static WANTED: SkStorage<Redirected> = SkStorage::new();

/// What the gate reads: the source of a connection it accepted, where that wanted to go and who asked.
#[btf_map]
static ORIGINAL: HashMap<Endpoint, Origin, CONNECTIONS> = HashMap::new();

/// Only TCP and UDP exist: UDP-Lite, ping, raw, SCTP and MPTCP pass hooks that the address programs never see.
#[cgroup_sock(sock_create)]
pub fn sock_create(cx: SockContext) -> i32 {
    // SAFETY: the kernel passes a valid `bpf_sock`, and the verifier checks each load.
    let (kind, protocol) = unsafe { ((*cx.sock).type_, (*cx.sock).protocol) };
    match (kind, protocol) {
        (STREAM, TCP) | (DGRAM, UDP) => ALLOW,
        _ => REFUSE,
    }
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(cx: SockAddrContext) -> i32 {
    let to = v4(&cx);
    let fate = connect(&cx, &to);
    remember(&cx, &to, &fate);
    enact4(&cx, &fate)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(cx: SockAddrContext) -> i32 {
    let to = v6(&cx);
    let fate = connect(&cx, &to);
    remember(&cx, &to, &fate);
    enact6(&cx, &fate)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(cx: SockAddrContext) -> i32 {
    let to = v4(&cx);
    let fate = datagram(&cx, &to);
    remember(&cx, &to, &fate);
    enact4(&cx, &fate)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(cx: SockAddrContext) -> i32 {
    let to = v6(&cx);
    let fate = datagram(&cx, &to);
    remember(&cx, &to, &fate);
    enact6(&cx, &fate)
}

/// An answer of the responder appears to come from the server that was asked.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(cx: SockAddrContext) -> i32 {
    disguise4(&cx)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(cx: SockAddrContext) -> i32 {
    disguise6(&cx)
}

/// A program that asks whom it is connected to hears what it asked for.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(cx: SockAddrContext) -> i32 {
    disguise4(&cx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(cx: SockAddrContext) -> i32 {
    disguise6(&cx)
}

/// Publishes a redirected connection before the gate can accept it, and forgets it when it closes.
#[sock_ops]
pub fn established(cx: SockOpsContext) -> u32 {
    const ACTIVE_ESTABLISHED: u32 = 4;
    const STATE: u32 = 10;
    const STATE_FLAG: i32 = 1 << 2;
    const CLOSE: u32 = 7;

    let op = cx.op();
    if op != ACTIVE_ESTABLISHED && (op != STATE || cx.arg(1) != CLOSE) {
        return 1;
    }
    // SAFETY: the verifier checks the load; a null socket is answered below.
    let sk = unsafe { (*cx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return 1;
    }
    let map = (&raw const WANTED).cast_mut().cast();
    // SAFETY: `sk` is a full socket that the kernel holds during the call; no value is created.
    let kept = unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), 0) };
    if kept.is_null() {
        return 1;
    }
    // SAFETY: the storage holds exactly this type and outlives the call.
    let kept = unsafe { &*kept.cast::<Redirected>() };
    let (v4, v6) = local(&cx);
    let address = match kept.wire {
        WIRE_V4 => v4,
        WIRE_V6 => v6,
        _ => return 1,
    };
    let source = Endpoint { address, port: cx.local_port() };
    if op == STATE {
        // An entry that is already gone is what was wanted.
        let _ = ORIGINAL.remove(&source);
        return 1;
    }
    // A full map leaves no entry, and the gate closes a connection without one.
    if ORIGINAL.insert(&source, &kept.origin, 0).is_ok() {
        let _ = cx.set_cb_flags(STATE_FLAG);
    }
    1
}

/// The socket's own address, in both forms, read word by word before either is chosen: a load in each branch is
/// merged by the compiler into one at a computed offset, which the verifier refuses.
#[inline(always)]
fn local(cx: &SockOpsContext) -> (Words, Words) {
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

#[inline(always)]
fn gate() -> Gate {
    Gate { intake: INTAKE.load() as u16, responder: RESPONDER.load() as u16 }
}

/// Whether the process is in another network namespace than the gate, so that the gate's ports are anybody's there.
#[inline(always)]
fn is_elsewhere(cx: &SockAddrContext) -> bool {
    let network = NETWORK.load();
    // SAFETY: the kernel passes a valid context.
    network != 0 && unsafe { bpf_get_netns_cookie(cx.sock_addr.cast()) } != network
}

#[inline(always)]
fn connect(cx: &SockAddrContext, to: &Whereto) -> Fate {
    if is_elsewhere(cx) { to.elsewhere() } else { to.connect(gate()) }
}

#[inline(always)]
fn datagram(cx: &SockAddrContext, to: &Whereto) -> Fate {
    if is_elsewhere(cx) { to.elsewhere() } else { to.datagram(gate()) }
}

/// The cgroup of the process that calls, in two words: a socket handed over speaks for who uses it.
#[inline(always)]
fn caller() -> [u32; 2] {
    // SAFETY: the helper has no arguments.
    let id = unsafe { bpf_get_current_cgroup_id() };
    [id as u32, (id >> 32) as u32]
}

/// Keeps where the socket wanted to go, or that it goes there by itself.
#[inline(always)]
fn remember(cx: &SockAddrContext, to: &Whereto, fate: &Fate) {
    let wire = match *fate {
        Fate::Redirect(at) if to.is_v6() && at.address[2] == 0 => WIRE_V6,
        Fate::Redirect(_) => WIRE_V4,
        Fate::Stay => return,
        Fate::Allow | Fate::Refuse => {
            // SAFETY: the pointer is null or valid for the duration of the call.
            if let Some(kept) = unsafe { WANTED.get_ptr_mut(cx).as_mut() } {
                kept.wire = WIRE_NONE;
            }
            return;
        }
    };
    let origin = Origin { wanted: to.endpoint(), cgroup: caller() };
    let mut value = Redirected { origin, wire };
    // SAFETY: as above; a socket whose storage cannot be made publishes nothing and is closed by the gate.
    if let Some(kept) = unsafe { WANTED.get_or_insert_ptr_mut(cx, Some(&mut value)).as_mut() } {
        *kept = value;
    }
}

#[inline(always)]
fn v4(cx: &SockAddrContext) -> Whereto {
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
fn v6(cx: &SockAddrContext) -> Whereto {
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
fn enact4(cx: &SockAddrContext, fate: &Fate) -> i32 {
    match *fate {
        Fate::Allow | Fate::Stay => ALLOW,
        Fate::Refuse => REFUSE,
        Fate::Redirect(at) => {
            write4(cx, &at);
            ALLOW
        }
    }
}

#[inline(always)]
fn enact6(cx: &SockAddrContext, fate: &Fate) -> i32 {
    match *fate {
        Fate::Allow | Fate::Stay => ALLOW,
        Fate::Refuse => REFUSE,
        Fate::Redirect(at) => {
            write6(cx, &at);
            ALLOW
        }
    }
}

#[inline(always)]
fn write4(cx: &SockAddrContext, at: &Endpoint) {
    // SAFETY: the verifier checks that these fields may be written.
    unsafe {
        (&raw mut (*cx.sock_addr).user_ip4).write_volatile(at.address[3]);
        (&raw mut (*cx.sock_addr).user_port).write_volatile(port_field(at.port));
    }
}

#[inline(always)]
fn write6(cx: &SockAddrContext, at: &Endpoint) {
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

#[inline(always)]
fn disguise4(cx: &SockAddrContext) -> i32 {
    // SAFETY: the pointer is null or valid for the duration of the call.
    if let Some(kept) = unsafe { WANTED.get_ptr_mut(cx).as_ref() } {
        if kept.wire == WIRE_V4 && v4(cx).is_at(gate()) {
            write4(cx, &kept.origin.wanted);
        }
    }
    ALLOW
}

#[inline(always)]
fn disguise6(cx: &SockAddrContext) -> i32 {
    // SAFETY: the pointer is null or valid for the duration of the call.
    if let Some(kept) = unsafe { WANTED.get_ptr_mut(cx).as_ref() } {
        if kept.wire != WIRE_NONE && v6(cx).is_at(gate()) {
            write6(cx, &kept.origin.wanted);
        }
    }
    ALLOW
}

/// Unreachable: the verifier admits no program that can panic, and the linker needs the symbol.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// None of the helpers used above asks for a licence that the kernel knows as compatible.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";
