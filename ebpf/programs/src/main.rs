//! Sends what the sockets of a cgroup say to the gate, refuses what the gate cannot read, and publishes where they
//! wanted to go.
//!
//! May be attached twice: what one program sent to the gate, the same program at a cgroup above leaves as it is.
#![no_std]
#![no_main]

mod address;
mod destination;
mod governed;
mod option;
mod packet;
mod refusal;
mod words;

use aya_ebpf::{
    EbpfContext as _, Global,
    btf_maps::{HashMap, SkStorage},
    helpers::generated::{
        bpf_get_netns_cookie, bpf_get_socket_uid, bpf_sk_storage_get, bpf_skb_cgroup_id,
    },
    macros::{btf_map, cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, sock_ops},
    programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext},
};
use tollgate_ebpf_shared::{
    CONNECTIONS, DNS_PORT, Endpoint, INTAKE_PORT, MARK, Origin, Redirected, Technique, WIRE_NONE,
    WIRE_V4, WIRE_V6,
};

use crate::{
    address::{local, v4, v6, write4, write6},
    destination::{DGRAM, Fate, Gate, STREAM, TCP, UDP, Whereto},
    governed::{caller, halves, is_exempt},
    refusal::{Attempt, nowhere},
};

/// Refuses the system call with EPERM, or drops the packet.
const REFUSE: i32 = 0;
/// Lets the system call go on, with the address as it now is.
const ALLOW: i32 = 1;

/// The loopback interface has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// A socket option longer than this is not copied for the program, and kernels before 6.5 then ask it to say so.
const PAGE: i32 = 4096;

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
///
/// The gate's sockets bear the mark by which the packet filter lets them out.
#[cgroup_sock(sock_create)]
pub fn sock_create(cx: SockContext) -> i32 {
    // SAFETY: the kernel passes a valid `bpf_sock`, and the verifier checks each load.
    let (family, kind, protocol) =
        unsafe { ((*cx.sock).family, (*cx.sock).type_, (*cx.sock).protocol) };
    let cgroup = caller();
    if !matches!((kind, protocol), (STREAM, TCP) | (DGRAM, UDP)) {
        let technique = Technique::SocketType;
        let attempt = Attempt { technique, family, protocol, option: 0, destination: nowhere() };
        refusal::by_caller(&attempt, cgroup);
        return REFUSE;
    }
    if is_exempt(cgroup) {
        // SAFETY: the verifier checks that the field may be written.
        unsafe { (&raw mut (*cx.sock).mark).write_volatile(MARK) };
    }
    ALLOW
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(cx: SockAddrContext) -> i32 {
    let to = v4(&cx);
    let fate = connect(&cx, &to);
    enact4(&cx, &to, &fate)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(cx: SockAddrContext) -> i32 {
    let to = v6(&cx);
    let fate = connect(&cx, &to);
    enact6(&cx, &to, &fate)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(cx: SockAddrContext) -> i32 {
    let to = v4(&cx);
    let fate = datagram(&cx, &to);
    enact4(&cx, &to, &fate)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(cx: SockAddrContext) -> i32 {
    let to = v6(&cx);
    let fate = datagram(&cx, &to);
    enact6(&cx, &to, &fate)
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

/// The gate's ports are nobody else's, also while it does not listen.
#[cgroup_sock_addr(bind4)]
pub fn bind4(cx: SockAddrContext) -> i32 {
    let at = v4(&cx);
    bind(&cx, &at)
}

#[cgroup_sock_addr(bind6)]
pub fn bind6(cx: SockAddrContext) -> i32 {
    let at = v6(&cx);
    bind(&cx, &at)
}

/// Refuses the options that choose a way or a mark. Defence in depth: control messages do the same unseen, which is
/// why packets are judged by their interface.
#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(cx: SockoptContext) -> i32 {
    // SAFETY: the kernel passes a valid context, and the verifier checks each load.
    let (level, name, length) = unsafe {
        let cx = cx.sockopt;
        ((*cx).level, (*cx).optname, (&raw const (*cx).optlen).read_volatile())
    };
    if option::is_kept_back(level, name) {
        let cgroup = caller();
        if !is_exempt(cgroup) {
            let technique = Technique::SocketOption;
            let option = (level as u32) << 16 | (name as u32 & 0xffff);
            let (family, protocol) = family_and_protocol(&cx);
            let attempt = Attempt { technique, family, protocol, option, destination: nowhere() };
            refusal::by_option(&attempt, cgroup);
            return REFUSE;
        }
    }
    if length > PAGE {
        // The kernel's own handler reads the value from the caller; anything else is taken for a mistake.
        // SAFETY: the verifier checks that the field may be written.
        unsafe { (&raw mut (*cx.sockopt).optlen).write_volatile(0) };
    }
    ALLOW
}

/// Nothing that is governed leaves by an interface. By the interface and never by the address: what is bound to one
/// leaves by it although it is addressed to loopback.
///
/// The packets of the gate get the mark once more, which the floor has taken off by then: whoever sets it on a socket
/// that no program sees does not get it here.
#[cgroup_skb(egress)]
pub fn egress(cx: SkBuffContext) -> i32 {
    // SAFETY: the kernel passes a valid context, and the verifier checks the load.
    if unsafe { (*cx.skb.skb).ifindex } == LOOPBACK {
        return ALLOW;
    }
    // SAFETY: the kernel passes a valid context.
    let cgroup = unsafe { bpf_skb_cgroup_id(cx.as_ptr().cast()) };
    if is_exempt(cgroup) {
        // SAFETY: the verifier checks that the field may be written.
        unsafe { (&raw mut (*cx.skb.skb).mark).write_volatile(MARK) };
        return ALLOW;
    }
    let packet::Headers { family, protocol, destination } = packet::headers(&cx);
    let attempt =
        Attempt { technique: Technique::Egress, family, protocol, option: 0, destination };
    // SAFETY: as above.
    refusal::by_socket(&attempt, cgroup, unsafe { bpf_get_socket_uid(cx.as_ptr().cast()) });
    REFUSE
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
    if is_exempt(caller()) {
        // Also the gate makes nothing that could not be read.
        match to.protocol() {
            TCP | UDP => Fate::Allow,
            _ => Fate::Refuse(Technique::UnreadableConnect),
        }
    } else if is_elsewhere(cx) {
        to.elsewhere()
    } else {
        to.connect(gate(), was_redirected(cx))
    }
}

#[inline(always)]
fn datagram(cx: &SockAddrContext, to: &Whereto) -> Fate {
    if is_exempt(caller()) {
        Fate::Allow
    } else if is_elsewhere(cx) {
        to.elsewhere()
    } else {
        to.datagram(gate(), was_redirected(cx))
    }
}

#[inline(always)]
fn bind(cx: &SockAddrContext, at: &Whereto) -> i32 {
    let wanted = at.endpoint();
    let cgroup = caller();
    if !governed::is_gate_port(wanted.port as u16) || is_exempt(cgroup) || is_elsewhere(cx) {
        return ALLOW;
    }
    report(cx, at, Technique::BindGatePort);
    REFUSE
}

/// Whether the last call on this socket was sent to the gate.
#[inline(always)]
fn was_redirected(cx: &SockAddrContext) -> bool {
    // SAFETY: the pointer is null or valid for the duration of the call.
    unsafe { WANTED.get_ptr_mut(cx).as_ref() }.is_some_and(|kept| kept.wire != WIRE_NONE)
}

/// Keeps where the socket wanted to go, or that it goes there by itself.
#[inline(always)]
fn remember(cx: &SockAddrContext, to: &Whereto, fate: &Fate) {
    let wire = match *fate {
        Fate::Redirect(at) if to.is_v6() && at.address[2] == 0 => WIRE_V6,
        Fate::Redirect(_) => WIRE_V4,
        Fate::Stay => {
            // SAFETY: the pointer is null or valid for the duration of the call.
            if let Some(kept) = unsafe { WANTED.get_ptr_mut(cx).as_mut() } {
                kept.origin.cgroup = halves(caller());
            }
            return;
        }
        Fate::Allow | Fate::Refuse(_) => {
            // SAFETY: as above.
            if let Some(kept) = unsafe { WANTED.get_ptr_mut(cx).as_mut() } {
                kept.wire = WIRE_NONE;
            }
            return;
        }
    };
    let origin = Origin { wanted: to.endpoint(), cgroup: halves(caller()) };
    let mut value = Redirected { origin, wire };
    // SAFETY: as above; a socket whose storage cannot be made publishes nothing and is closed by the gate.
    if let Some(kept) = unsafe { WANTED.get_or_insert_ptr_mut(cx, Some(&mut value)).as_mut() } {
        words::copy(kept, &value);
    }
}

#[inline(always)]
fn report(cx: &SockAddrContext, to: &Whereto, technique: Technique) {
    // SAFETY: the kernel passes a valid context, and the verifier checks the load.
    let family = unsafe { (*cx.sock_addr).family };
    let (protocol, destination) = (to.protocol(), to.endpoint());
    let attempt = Attempt { technique, family, protocol, option: 0, destination };
    refusal::by_caller(&attempt, caller());
}

/// Of the socket whose option is set; a pointer that is null says nothing.
#[inline(always)]
fn family_and_protocol(cx: &SockoptContext) -> (u32, u32) {
    // SAFETY: the kernel passes a valid context, and the verifier checks each load.
    unsafe {
        let sk = (*cx.sockopt).__bindgen_anon_1.sk;
        if sk.is_null() { (0, 0) } else { ((*sk).family, (*sk).protocol) }
    }
}

#[inline(always)]
fn enact4(cx: &SockAddrContext, to: &Whereto, fate: &Fate) -> i32 {
    remember(cx, to, fate);
    match *fate {
        Fate::Allow | Fate::Stay => ALLOW,
        Fate::Refuse(technique) => {
            report(cx, to, technique);
            REFUSE
        }
        Fate::Redirect(at) => {
            write4(cx, &at);
            ALLOW
        }
    }
}

#[inline(always)]
fn enact6(cx: &SockAddrContext, to: &Whereto, fate: &Fate) -> i32 {
    remember(cx, to, fate);
    match *fate {
        Fate::Allow | Fate::Stay => ALLOW,
        Fate::Refuse(technique) => {
            report(cx, to, technique);
            REFUSE
        }
        Fate::Redirect(at) => {
            write6(cx, &at);
            ALLOW
        }
    }
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
