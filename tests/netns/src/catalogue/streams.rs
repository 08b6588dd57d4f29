//! Connections: all of them end at the gate, which knows where they wanted to go.

use crate::case::{Case, Form, Needs, Seen};

pub(super) fn tcp() -> Vec<Case> {
    let case = Case::inet;
    vec![
        case("tcp4", "connect() over IPv4", "tcp v4").to_gate(),
        case("tcp6", "connect() over IPv6", "tcp v6").to_gate(),
        case("tcp_mapped", "connect() of an IPv6 socket to ::ffff:a.b.c.d", "tcp mapped").to_gate(),
        case(
            "tcp4_own_source",
            "connect() of a socket bound to the pod's IPv4 address",
            "tcp v4 bound",
        )
        .to_gate()
        .only(Form::Pod),
        case(
            "tcp6_own_source",
            "connect() of a socket bound to the pod's IPv6 address",
            "tcp v6 bound",
        )
        .to_gate()
        .only(Form::Pod),
        case(
            "tcp6_link_local",
            "connect() to the neighbour's link-local address",
            "tcp v6 to-neighbour",
        )
        .to_gate()
        // Its source is of that link too, and what is led to the loopback with it gets no answer.
        .without_programs(Seen::Error(vec!["ETIMEDOUT"]))
        .only(Form::Pod),
        case("tcp4_neighbour", "connect() to the neighbour's IPv4 address", "tcp v4 to-neighbour")
            .to_gate()
            .only(Form::Pod),
        case("tcp4_metadata", "the metadata service, IPv4", "tcp v4 to-metadata").to_gate(),
        case("tcp6_metadata", "the metadata service, IPv6", "tcp v6 to-metadata").to_gate(),
        case(
            "tcp4_again",
            "connect() again after a refused one to loopback",
            "tcp v4 after-refusal",
        )
        .to_gate(),
        case(
            "tcp4_foreign_source",
            "IP_TRANSPARENT and a source that is not the pod's",
            "tcp v4 transparent",
        )
        .needs(Needs::Capability("CAP_NET_RAW"))
        .without_programs(Seen::Error(vec!["ETIMEDOUT"]))
        .closed("setsockopt; nftables postrouting"),
        case("mptcp4", "Multipath TCP over IPv4", "mptcp v4")
            .without_programs(Seen::Gate)
            .closed("sock_create")
            .optional(),
        case("mptcp6", "Multipath TCP over IPv6", "mptcp v6")
            .without_programs(Seen::Gate)
            .closed("sock_create")
            .optional(),
    ]
}

pub(super) fn fast_open() -> Vec<Case> {
    let case = Case::inet;
    vec![
        case("tfo4", "sendto() with MSG_FASTOPEN over IPv4", "tcp v4 fastopen").to_gate(),
        case("tfo6", "sendto() with MSG_FASTOPEN over IPv6", "tcp v6 fastopen").to_gate(),
        case("tfo_mapped", "sendto() with MSG_FASTOPEN to ::ffff:a.b.c.d", "tcp mapped fastopen")
            .to_gate(),
        case("tfo_connect4", "TCP_FASTOPEN_CONNECT over IPv4", "tcp v4 fastopen-connect").to_gate(),
        case("tfo_connect6", "TCP_FASTOPEN_CONNECT over IPv6", "tcp v6 fastopen-connect").to_gate(),
    ]
}
