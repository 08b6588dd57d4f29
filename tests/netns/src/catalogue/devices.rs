//! Packets that say loopback, or nothing of the world, and leave by the wire all the same.

use crate::case::{Case, Form, Needs, Seen, Stage};

const FLOOR: &str = "cgroup_skb egress, nftables postrouting";
const GUARDED: &str = "setsockopt; cgroup_skb egress, nftables postrouting";

fn timed_out() -> Seen {
    Seen::Error(vec!["ETIMEDOUT"])
}

pub(super) fn routing() -> Vec<Case> {
    let case = |name, says, words| Case::inet(name, says, words).only(Form::Pod);
    let raw = |name, says, words| {
        case(name, says, words).needs(Needs::Capability("CAP_NET_RAW")).closed(GUARDED)
    };
    vec![
        case(
            "srv6_udp",
            "IPV6_RTHDR type 4 to ::1 by way of the world, UDP",
            "udp v6 rthdr to-loopback",
        )
        .closed(GUARDED),
        case(
            "srv6_tcp",
            "IPV6_RTHDR type 4 to ::1 by way of the world, TCP",
            "tcp v6 rthdr to-loopback",
        )
        .without_programs(timed_out())
        .closed(GUARDED),
        raw("lsrr_tcp", "a loose source route to 127.0.0.1, TCP", "tcp v4 lsrr to-loopback")
            .without_programs(timed_out()),
        raw(
            "lsrr_udp",
            "a loose source route to 127.0.0.1 by way of the world",
            "udp v4 lsrr to-loopback",
        ),
        raw("ssrr_udp", "a strict source route", "udp v4 ssrr to-loopback"),
        raw(
            "lsrr_message",
            "a loose source route as ancillary data",
            "udp v4 lsrr-cmsg to-loopback",
        )
        .closed(FLOOR),
        raw("nexthop_udp", "IPV6_NEXTHOP in the world, to ::1", "udp v6 nexthop to-loopback")
            .optional(),
    ]
}

pub(super) fn interfaces() -> Vec<Case> {
    let case = |name, says, words| Case::inet(name, says, words).only(Form::Pod).closed(GUARDED);
    vec![
        case("device_udp4", "SO_BINDTODEVICE, UDP to 127.0.0.1", "udp v4 device to-loopback"),
        case("device_udp6", "SO_BINDTODEVICE, UDP to ::1", "udp v6 device to-loopback"),
        case("device_tcp4", "SO_BINDTODEVICE, TCP to 127.0.0.1", "tcp v4 device to-loopback")
            .without_programs(timed_out()),
        case("ifindex_udp4", "SO_BINDTOIFINDEX, UDP to 127.0.0.1", "udp v4 ifindex to-loopback"),
        case("unicast_if4", "IP_UNICAST_IF, UDP to 127.0.0.1", "udp v4 unicast-if to-loopback"),
        case("unicast_if6", "IPV6_UNICAST_IF, UDP to ::1", "udp v6 unicast-if to-loopback"),
        case(
            "pktinfo4",
            "IP_PKTINFO as ancillary data, to 127.0.0.1",
            "udp v4 pktinfo to-loopback",
        )
        .closed(FLOOR),
        case("pktinfo6", "IPV6_PKTINFO as ancillary data, to ::1", "udp v6 pktinfo to-loopback")
            .closed(FLOOR),
        case("pktinfo4_dns", "IP_PKTINFO with a question", "udp v4 pktinfo dns")
            .without_programs(Seen::Responder)
            .closed(FLOOR),
        case("pktinfo6_dns", "IPV6_PKTINFO with a question", "udp v6 pktinfo dns")
            .without_programs(Seen::Responder)
            .closed(FLOOR),
        case(
            "pktinfo6_option",
            "IPV6_PKTINFO as an option, to ::1",
            "udp v6 pktinfo-option to-loopback",
        )
        .closed(FLOOR),
    ]
}

/// A source that is not the pod's, of which the answer is what leaves.
pub(super) fn sources() -> Vec<Case> {
    let case = |name, says, words| Case::inet(name, says, words).only(Form::Pod);
    let foreign = |name, says, words| {
        case(name, says, words).closed("setsockopt; nftables input (lo), postrouting")
    };
    vec![
        foreign("freebind_tcp6", "IPV6_FREEBIND: the gate's answer goes to the source", "tcp v6 freebind")
            .refused(&["ETIMEDOUT", "EPERM"]),
        foreign(
            "freebind_dns6",
            "IPV6_FREEBIND: the responder's answer goes to the source",
            "udp v6 dns freebind",
        )
        .sees(Seen::NoAnswer),
        foreign(
            "freebind_closed_tcp6",
            "IPV6_FREEBIND and a closed port of ::1: the kernel's RST goes to the source",
            "tcp v6 freebind to-loopback",
        )
        .refused(&["ETIMEDOUT", "EPERM"]),
        foreign(
            "freebind_closed_udp6",
            "IPV6_FREEBIND and a closed port of ::1: the kernel's ICMPv6 quotes the packet to the source",
            "udp v6 freebind to-loopback",
        )
        .sees(Seen::NoAnswer),
        foreign(
            "freebind_ip_tcp6",
            "IP_FREEBIND on a socket of IPv6: the gate's answer goes to the source",
            "tcp v6 freebind-ip",
        )
        .refused(&["ETIMEDOUT", "EPERM"]),
        // No program sees these set the option: what closes them is the floor alone.
        foreign(
            "outside_freebind_tcp6",
            "IPV6_FREEBIND outside the pod's cgroups and a closed port of ::1: the kernel's RST goes to the source",
            "tcp v6 freebind to-loopback",
        )
        .staged(Stage::Outside)
        .refused(&["ETIMEDOUT"]),
        foreign(
            "outside_freebind_udp6",
            "the same over UDP: the kernel's ICMPv6 quotes the packet to the source",
            "udp v6 freebind to-loopback",
        )
        .staged(Stage::Outside)
        .sees(Seen::NoAnswer),
        case(
            "link_local_tcp6",
            "bind() to the link-local address, which binds the interface",
            "tcp v6 bound-link-local",
        )
        .refused(&["ETIMEDOUT"])
        .closed(FLOOR),
        case("link_local_dns6", "the same with a question", "udp v6 dns bound-link-local").closed(FLOOR),
    ]
}
