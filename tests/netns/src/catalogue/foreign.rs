//! Sockets that were not made where they are used, or before anything held them; and who comes from outside.

use tollgate_init::mode::Mode;

use super::inside::{BY_USER, IS_THE_GATE};
use crate::case::{Case, Form, Needs, Seen, Stage, Who};

const FLOOR: &str = "nftables postrouting";
const STAMPED: &str =
    "nftables postrouting takes the mark, cgroup_skb egress gives the gate's packets theirs";

fn timed_out() -> Seen {
    Seen::Error(vec!["ETIMEDOUT"])
}

pub(super) fn cgroups() -> Vec<Case> {
    let case = |name, says, words, stage| {
        Case::inet(name, says, words).only(Form::Pod).staged(stage).closed(FLOOR)
    };
    let outside = |name, says, words| case(name, says, words, Stage::Outside);
    vec![
        case("nested_tcp", "TCP from a cgroup that the agent made", "tcp v4", Stage::Nested)
            .to_gate(),
        case("nested_udp", "UDP from a cgroup that the agent made", "udp v4", Stage::Nested)
            .closed("sendmsg4"),
        case("another_tcp", "TCP from another container of the pod", "tcp v4", Stage::Another)
            .to_gate(),
        case("another_udp", "UDP from another container of the pod", "udp v4", Stage::Another)
            .closed("sendmsg4"),
        outside("outside_tcp4", "TCP of a process outside the pod's cgroups", "tcp v4")
            .sees(timed_out())
            .without_programs(Seen::Gate),
        outside("outside_tcp6", "the same over IPv6", "tcp v6")
            .sees(timed_out())
            .without_programs(Seen::Gate),
        outside("outside_udp4", "UDP of a process outside the pod's cgroups", "udp v4"),
        outside("outside_udp6", "the same over IPv6", "udp v6"),
        outside(
            "outside_udplite",
            "UDP-Lite of a process outside the pod's cgroups",
            "udplite v4 connect",
        )
        .optional(),
        outside("outside_ping", "a ping socket of a process outside the pod's cgroups", "ping v4"),
        outside(
            "outside_udp_mark_as_gate",
            "UDP with the gate's mark of a process outside, opened as the gate's user",
            "udp v4 mark files-as-gate",
        )
        .needs(Needs::Capability("CAP_NET_RAW"))
        .sees(Seen::NoAnswer)
        .left_in(&BY_USER, IS_THE_GATE)
        .closed(STAMPED),
        outside("outside_tcp_mark_as_gate", "the same over TCP", "tcp v4 mark files-as-gate")
            .needs(Needs::Capability("CAP_NET_RAW"))
            .left_in(&BY_USER, IS_THE_GATE)
            .sees(timed_out())
            .closed(STAMPED),
        outside("outside_raw", "protocol 253 of a process outside the pod's cgroups", "raw253 v4")
            .needs(Needs::Capability("CAP_NET_RAW")),
        outside(
            "outside_mptcp",
            "Multipath TCP of a process outside the pod's cgroups",
            "mptcp v4",
        )
        .sees(timed_out())
        .without_programs(Seen::Gate)
        .optional(),
    ]
}

/// From cgroups that root in the container makes for itself.
pub(super) fn own_cgroups() -> Vec<Case> {
    let case = |name, says, words| {
        Case::inet(name, says, words).only(Form::Pod).by(&[Who::Root]).closed("sendmsg4")
    };
    vec![
        case(
            "own_cgroup_tcp",
            "TCP from a cgroup below its own, made by a mount in a user namespace",
            "tcp v4 own-cgroup",
        )
        .to_gate(),
        case("own_cgroup_udp", "UDP from such a one", "udp v4 own-cgroup"),
        case(
            "threaded_cgroup_tcp",
            "TCP of a thread in a threaded cgroup below its own",
            "tcp v4 own-cgroup threaded",
        )
        .to_gate(),
        case(
            "threaded_cgroup_udp",
            "UDP of a thread in a threaded cgroup below its own",
            "udp v4 own-cgroup threaded",
        ),
    ]
}

/// On sockets that were made outside the pod's cgroups and came in.
pub(super) fn passed() -> Vec<Case> {
    let case = |name, says, words, stage| {
        Case::inet(name, says, words).only(Form::Pod).staged(stage).closed(FLOOR)
    };
    vec![
        case(
            "passed_tcp",
            "a TCP socket made outside the pod and passed in",
            "tcp v4 passed",
            Stage::Passed,
        )
        .sees(timed_out())
        .without_programs(Seen::Gate),
        case(
            "passed_udp",
            "a UDP socket made outside the pod and passed in",
            "udp v4 passed",
            Stage::Passed,
        ),
        case(
            "passed_udp_mark",
            "a UDP socket made outside the pod, passed in and given the gate's mark",
            "udp v4 passed mark",
            Stage::Passed,
        )
        .needs(Needs::Capability("CAP_NET_RAW")),
        case(
            "passed_connected_udp",
            "a UDP socket connected outside the pod and passed in",
            "udp v4 passed connected",
            Stage::PassedConnected,
        ),
        case(
            "inherited_udp",
            "a UDP socket connected outside the pod and inherited",
            "udp v4 inherited connected",
            Stage::Inherited,
        ),
        case(
            "moved_tcp",
            "a TCP socket made before its process was moved in",
            "tcp v4",
            Stage::MovedIn,
        )
        .sees(timed_out())
        .without_programs(Seen::Gate),
        case(
            "moved_udp",
            "a UDP socket made before its process was moved in",
            "udp v4",
            Stage::MovedIn,
        ),
    ]
}

pub(super) fn older() -> Vec<Case> {
    let case = |name, says, words| {
        Case::inet(name, says, words)
            .only(Form::Pod)
            .staged(Stage::Older)
            .closed("cgroup_skb egress, nftables postrouting")
    };
    vec![
        case("older_tcp4", "a TCP connection from before the rules", "tcp v4 connected")
            .sees(Seen::NoAnswer),
        case("older_tcp6", "the same over IPv6", "tcp v6 connected").sees(Seen::NoAnswer),
        case("older_udp4", "a connected UDP socket from before the rules", "udp v4 connected"),
        case("older_udp6", "the same over IPv6", "udp v6 connected"),
        case(
            "older_unconnected_tcp",
            "a TCP socket from before the rules, connected after",
            "tcp v4",
        )
        .to_gate(),
        case("older_unconnected_udp", "a UDP socket from before the rules, used after", "udp v4")
            .closed("sendmsg4"),
        case(
            "older_udplite",
            "a connected UDP-Lite socket from before the rules",
            "udplite v4 connected",
        )
        .optional(),
        case(
            "older_outside_closed",
            "a connection from before the rules and outside the pod's cgroups, given the gate's mark and closed over \
             what it has to say",
            "tcp v4 connected outside mark closing",
        )
        .needs(Needs::Capability("CAP_NET_RAW"))
        .sees(Seen::NoAnswer)
        .closed(STAMPED),
        case("older_ping", "a connected ping socket from before the rules", "ping v4 connected"),
    ]
}

pub(super) fn inbound() -> Vec<Case> {
    let case = |name, says, words| {
        Case::of("inbound", name, says, words)
            .only(Form::Pod)
            .staged(Stage::Inbound)
            .sees(Seen::NoAnswer)
            .closed("nftables input, postrouting")
    };
    vec![
        case("inbound_tcp4", "somebody in the world connects and reads, IPv4", "tcp v4"),
        case("inbound_tcp6", "the same over IPv6", "tcp v6"),
        case("inbound_udp4", "somebody in the world asks a UDP port, IPv4", "udp v4"),
        case("inbound_udp6", "the same over IPv6", "udp v6"),
        case(
            "inbound_closed_tcp",
            "a port that is closed or not: the kernel's own RST says which",
            "tcp v4 closed",
        ),
        case("inbound_closed_udp", "the same by the kernel's ICMP", "udp v4 closed"),
    ]
}

pub(super) fn lifecycle() -> Vec<Case> {
    let case =
        |name, says, words, stage| Case::inet(name, says, words).only(Form::Pod).staged(stage);
    let without = |name, says, words| case(name, says, words, Stage::WithoutGate);
    let after = |name, says, words| case(name, says, words, Stage::AfterRestart);
    vec![
        without("killed_tcp4", "TCP while the gate is killed", "tcp v4")
            .refused(&["ECONNREFUSED"])
            .closed("connect4: fails closed"),
        without("killed_tcp6", "the same over IPv6", "tcp v6")
            .refused(&["ECONNREFUSED"])
            .closed("connect6: fails closed"),
        without(
            "killed_tcp6_own_source",
            "the same from the pod's own address: the kernel's RST to ::1",
            "tcp v6 bound",
        )
        .refused(&["ECONNREFUSED"])
        .closed("connect6: fails closed; nftables postrouting"),
        without("killed_udp4", "UDP while the gate is killed", "udp v4").closed("sendmsg4"),
        without("killed_dns", "a question while the gate is killed", "udp v4 dns")
            .refused(&["ECONNREFUSED"])
            .sees(Seen::NoAnswer)
            .closed("led to nobody"),
        Case::of(
            "ports",
            "killed_stolen",
            "the gate's port while it is killed, and what is led there",
            "steal 127.0.0.1",
        )
        .tells()
        .only(Form::Pod)
        .staged(Stage::WithoutGate)
        .alone()
        .without_programs(timed_out())
        .left_in(
            &[Mode::NftUser],
            "it hears what the pod's other programs send, and none of it leaves; the gate cannot start until it lets go",
        )
        .closed("bind4; nftables input, by the gate's cgroup"),
        after("restarted_tcp4", "TCP after the gate was started anew", "tcp v4").to_gate(),
        after("restarted_udp4", "UDP after the gate was started anew", "udp v4").closed("sendmsg4"),
    ]
}
