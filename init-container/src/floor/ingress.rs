//! What enters: answers to the gate's own sockets, the declared ports by way of the gate, and nothing else.

use ipnet::IpNet;

use super::{DROPPED_IN, Floor, exempt, set, text::Chain};
use crate::{
    mode::Mode,
    ports::{CAME_IN, GATE, HEALTH, INBOUND, MARK},
};

/// What came by the loopback from a source that is not this machine's: a socket bound to another's address
/// (`IPV6_FREEBIND` takes no capability), to which the gate's own answer would leave with the gate's mark. Where
/// addresses are translated, an answer bears the address that was asked for, so there only who begins is looked at.
fn foreign_on_loopback(mode: Mode) -> String {
    let begins = match mode {
        Mode::Kernel => "",
        Mode::NftCgroup | Mode::NftUser => " ct direction original",
    };
    format!("iifname \"lo\"{begins} fib saddr type != local counter name {DROPPED_IN} drop")
}

/// Who may ask for the gate's health, and read its counts: what the agent does moves those, so they are a way to tell
/// somebody something.
fn asked(askers: &[IpNet]) -> Vec<String> {
    if askers.is_empty() {
        return vec![format!("tcp dport {HEALTH} accept")];
    }
    let from = |asker: &IpNet| {
        let family = if matches!(asker, IpNet::V4(_)) { "ip" } else { "ip6" };
        format!("{family} saddr {} tcp dport {HEALTH} accept", asker.trunc())
    };
    askers.iter().map(from).collect()
}

/// What is on the loopback without the route that took it there was put there below IP: a packet socket of
/// `CAP_NET_RAW` would speak to the gate's ports by no call that a program sees, as whom it likes.
fn own() -> Chain {
    Chain::new("own", "type filter hook prerouting priority -300; policy accept;")
        .rule("iifname != \"lo\" accept")
        .rule("meta rtclassid >= 0 accept")
        .rule(format!("counter name {DROPPED_IN} drop"))
}

pub(super) fn chains(floor: &Floor) -> Vec<Chain> {
    let enter = Chain::new("enter", "type filter hook input priority 0; policy drop;")
        .rule(foreign_on_loopback(floor.mode));
    let enter = stolen(floor).into_iter().fold(enter, Chain::rule).rule("iifname \"lo\" accept");
    let mut enter = asked(&floor.askers).into_iter().fold(enter, Chain::rule);
    if !floor.inbound.is_empty() {
        enter = enter.rule(format!("tcp dport {INBOUND} ct status dnat accept"));
    }
    let gate = set(&GATE);
    for protocol in ["tcp", "udp"] {
        enter = enter.rule(format!("{protocol} dport {gate} counter name {DROPPED_IN} drop"));
    }
    for rule in answers(floor.mode) {
        enter = enter.rule(rule);
    }
    // Neighbours and routers of IPv6, and what tells a sender that its packets are too big. Nothing else of ICMP.
    let enter = enter
        .rule(
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, packet-too-big } accept",
        )
        .rule("icmp type destination-unreachable icmp code frag-needed accept")
        .rule(format!("counter name {DROPPED_IN}"));
    [own()].into_iter().chain(receive(floor)).chain([enter]).collect()
}

/// Who listens at the gate's ports while it does not run hears nothing. Programs refuse that at `bind`; a rule sees it
/// only by the cgroup of the socket that is to receive.
fn stolen(floor: &Floor) -> Vec<String> {
    let gate = set(&GATE);
    let of_others = exempt::cgroup(floor, "!= ");
    let drop = |socket: &String, protocol| {
        format!("{protocol} dport {gate} {socket} counter name {DROPPED_IN} drop")
    };
    of_others.iter().flat_map(|socket| ["tcp", "udp"].map(|it| drop(socket, it))).collect()
}

/// Answers to what the gate sent.
///
/// By its sockets where they are marked, which needs no list of connections: a socket with another mark is somebody
/// else's; one that matches as a socket but has no mark to look at is closing or opening, and the kernel answers for it.
fn answers(mode: Mode) -> Vec<String> {
    match mode {
        Mode::Kernel => vec![
            format!("socket mark {MARK:#x} accept"),
            format!("socket mark != {MARK:#x} counter name {DROPPED_IN} drop"),
            "meta l4proto tcp socket transparent 0 accept".to_owned(),
        ],
        Mode::NftCgroup | Mode::NftUser => vec![format!("ct mark {MARK:#x} accept")],
    }
}

/// Declared ports go to the gate, which dials the application itself; only a connection's first packet comes here.
fn receive(floor: &Floor) -> Option<Chain> {
    let tracked = floor.mode != Mode::Kernel;
    if floor.inbound.is_empty() && !tracked {
        return None;
    }
    let mark = if tracked { format!(" ct mark set {CAME_IN:#x}") } else { String::new() };
    let mut chain = Chain::new("receive", "type nat hook prerouting priority -100; policy accept;");
    if tracked {
        chain = chain.rule(format!("iifname != \"lo\" tcp dport {HEALTH}{mark} accept"));
    }
    if !floor.inbound.is_empty() {
        let declared = set(&floor.inbound);
        chain = chain
            .rule(format!("iifname != \"lo\" tcp dport {declared}{mark} redirect to :{INBOUND}"));
    }
    Some(chain)
}
