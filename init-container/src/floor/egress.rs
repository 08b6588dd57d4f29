//! What leaves: decided after routing and address translation, by the interface that is really taken.

use super::{DROPPED_FORWARD, DROPPED_OUT, Floor, PROBE_PASSED, remember, text::Chain};
use crate::{mode::Mode, ports::MARK};

/// Neighbour discovery of the kernel itself, which no socket owns; without it IPv6 has no neighbours.
pub(super) const NEIGHBOURS_OUT: &str =
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept";

/// The documentation networks (RFC 5737, RFC 3849): no real destination, so what passes is a probe.
const DOCUMENTATION: [&str; 2] = ["ip daddr 192.0.2.0/24", "ip6 daddr 2001:db8::/32"];

pub(super) fn chains(floor: &Floor) -> [Chain; 2] {
    // Programs tell what they refuse, and by which process.
    let remember = (floor.mode != Mode::Kernel).then(|| format!("jump {}", remember::CHAIN));
    let mut out = Chain::new("leave", "type filter hook postrouting priority 300; policy drop;")
        .rule("oifname \"lo\" accept");
    if let Some(remember) = &remember {
        out = out.rule(format!("meta skuid != {} {remember}", floor.gate.uid));
    }
    let mut out = out
        .rule(of_others(floor.gate.uid, DROPPED_OUT))
        .rule(format!("ip saddr 127.0.0.0/8 counter name {DROPPED_OUT} drop"))
        .rule(format!("ip6 saddr ::1 counter name {DROPPED_OUT} drop"));
    for network in DOCUMENTATION {
        out = out.rule(format!("meta mark {MARK:#x} {network} counter name {PROBE_PASSED} drop"));
    }
    let out = marked(floor.mode).into_iter().fold(out, Chain::rule).rule(NEIGHBOURS_OUT);
    let out =
        remember.into_iter().fold(out, Chain::rule).rule(format!("counter name {DROPPED_OUT}"));
    let through = Chain::new("pass", "type filter hook forward priority 0; policy drop;")
        .rule(format!("counter name {DROPPED_FORWARD}"));
    [out, through]
}

/// What bears the mark.
///
/// In [`Mode::Kernel`] a mark proves nothing yet: on a socket that was made outside the pod's cgroups no program stands
/// in the way of whoever sets it, and one that was closed has no user any more. It is taken off, and the program that
/// sees the gate's packets on their way to the interface puts it on again; without it nothing passes there. No program
/// sees what the kernel says for a connection that has no socket left: an acknowledgement or a reset, bare, or with
/// time stamps. Those keep theirs and hold no byte.
fn marked(mode: Mode) -> Vec<String> {
    let marked = format!("meta mark {MARK:#x}");
    if mode != Mode::Kernel {
        return vec![format!("{marked} accept")];
    }
    let bare = [
        "ip hdrlength 5 ip length 40 tcp doff 5",
        "ip hdrlength 5 ip length 52 tcp doff 8",
        "ip6 nexthdr tcp ip6 length 20 tcp doff 5",
        "ip6 nexthdr tcp ip6 length 32 tcp doff 8",
    ];
    let owned = format!("{marked} meta skuid >= 0 meta mark set 0 accept");
    let bare = bare.map(|bare| format!("{marked} {bare} accept"));
    let rest = format!("{marked} meta mark set 0 accept");
    [vec![owned], bare.into(), vec![rest]].concat()
}

/// A packet whose socket belongs to another user than the gate is dropped whatever its mark: with `CAP_NET_RAW` a mark
/// can be set on a packet socket, past every program. The kernel's own packets have no user and go on.
pub(super) fn of_others(gate: u32, counter: &str) -> String {
    format!("meta skuid != {gate} counter name {counter} drop")
}
