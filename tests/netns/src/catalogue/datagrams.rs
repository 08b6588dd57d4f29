//! Datagrams: questions reach the responder, all others are refused.

use crate::case::{Case, Form, Needs, Seen};

const DATAGRAMS: &str = "connect4/6, sendmsg4/6";

pub(super) fn udp() -> Vec<Case> {
    let case = |name, says, words| Case::inet(name, says, words).closed(DATAGRAMS);
    vec![
        case("udp4_sendto", "sendto() over IPv4", "udp v4"),
        case("udp6_sendto", "sendto() over IPv6", "udp v6"),
        case("udp4_sendmsg", "sendmsg() over IPv4", "udp v4 sendmsg"),
        case("udp6_sendmsg", "sendmsg() over IPv6", "udp v6 sendmsg"),
        case("udp4_sendmmsg", "sendmmsg() over IPv4", "udp v4 sendmmsg"),
        case("udp6_sendmmsg", "sendmmsg() over IPv6", "udp v6 sendmmsg"),
        case("udp4_connect", "connect() and send() over IPv4", "udp v4 connect"),
        case("udp6_connect", "connect() and send() over IPv6", "udp v6 connect"),
        case("udp4_unspec", "sendto() with the family AF_UNSPEC", "udp v4 unspec"),
        case("udp_mapped_sendto", "sendto() of an IPv6 socket to ::ffff:a.b.c.d", "udp mapped"),
        case(
            "udp_mapped_connect",
            "connect() of an IPv6 socket to ::ffff:a.b.c.d",
            "udp mapped connect",
        ),
        case("udp_v4_on_v6", "sendto() of an IPv6 socket to an IPv4 address", "udp v4on6"),
        case(
            "udp4_itself_then_world",
            "connect() to the pod's own address, then sendto() the world",
            "udp v4 connect-itself",
        )
        .only(Form::Pod),
        case(
            "udp4_question_then_world",
            "connect() to a name server, then sendto() elsewhere",
            "udp v4 connect-server",
        ),
        case(
            "udp_v4_on_v6_connect",
            "connect() of an IPv6 socket to an IPv4 address",
            "udp v4on6 connect",
        ),
        case("udp4_more", "MSG_MORE, which sends two pieces as one", "udp v4 more"),
        case("udp4_segments", "UDP_SEGMENT, which sends one buffer as two packets", "udp v4 gso"),
        case("udp4_broadcast", "a broadcast", "udp v4 broadcast to-broadcast").only(Form::Pod),
        case("udp4_multicast", "an IPv4 group", "udp v4 multicast-if to-multicast").only(Form::Pod),
        case("udp6_multicast", "an IPv6 group", "udp v6 to-multicast").only(Form::Pod),
        case("udp6_link_local", "the neighbour's link-local address", "udp v6 to-neighbour")
            .only(Form::Pod),
    ]
}

pub(super) fn quic() -> Vec<Case> {
    let case = |name, says, words| Case::inet(name, says, words).closed(DATAGRAMS);
    vec![
        case("quic4_sendto", "an Initial by sendto() over IPv4", "udp v4 quic"),
        case("quic6_sendto", "an Initial by sendto() over IPv6", "udp v6 quic"),
        case(
            "quic4_connect",
            "an Initial by connect() and send() over IPv4",
            "udp v4 quic connect",
        ),
        case(
            "quic6_connect",
            "an Initial by connect() and send() over IPv6",
            "udp v6 quic connect",
        ),
        case("quic_mapped", "an Initial to ::ffff:a.b.c.d", "udp mapped quic"),
        case("quic4_unspec", "an Initial with the family AF_UNSPEC", "udp v4 quic unspec"),
        case("quic4_sendmmsg", "Initials by sendmmsg()", "udp v4 quic sendmmsg"),
        case("quic4_segments", "Initials by UDP_SEGMENT", "udp v4 quic gso"),
    ]
}

pub(super) fn dns() -> Vec<Case> {
    let case = |name, says, words| {
        Case::inet(name, says, words).sees(Seen::Responder).closed("led to the responder")
    };
    vec![
        case("dns4_sendto", "a question to any server by sendto() over IPv4", "udp v4 dns"),
        case("dns6_sendto", "a question to any server by sendto() over IPv6", "udp v6 dns"),
        case("dns4_connect", "a question by connect() and send() over IPv4", "udp v4 dns connect"),
        case("dns6_connect", "a question by connect() and send() over IPv6", "udp v6 dns connect"),
        case("dns_mapped", "a question to ::ffff:a.b.c.d", "udp mapped dns"),
        case("dns_tcp4", "a question over TCP and IPv4", "tcp v4 dns"),
        case("dns_tcp6", "a question over TCP and IPv6", "tcp v6 dns"),
    ]
}

pub(super) fn other() -> Vec<Case> {
    let case = |name, says, words| Case::inet(name, says, words).closed("sock_create");
    let raw = |name, says, words| case(name, says, words).needs(Needs::Capability("CAP_NET_RAW"));
    vec![
        case("udplite4_connect", "UDP-Lite by connect() and send()", "udplite v4 connect")
            .optional(),
        case("udplite6_connect", "UDP-Lite over IPv6", "udplite v6 connect").optional(),
        case("udplite4_sendto", "UDP-Lite by sendto()", "udplite v4").optional(),
        case("ping4_sendto", "a ping socket by sendto()", "ping v4"),
        case("ping4_connect", "a ping socket by connect() and send()", "ping v4 connect"),
        case("ping6_sendto", "a ping socket over IPv6", "ping v6").without_programs(Seen::NoAnswer),
        raw("raw_icmp4", "a raw socket for ICMP", "icmp v4"),
        raw("raw_icmp6", "a raw socket for ICMPv6", "icmp v6"),
        raw("raw_253", "a raw socket for protocol 253", "raw253 v4"),
        raw("raw_253_v6", "a raw socket for next header 253", "raw253 v6"),
        raw("raw_header", "IP_HDRINCL: a packet with its header", "rawip v4 hdrincl"),
        raw(
            "raw_header_spoofed",
            "IP_HDRINCL with a source that is not the pod's",
            "rawip v4 hdrincl spoofed",
        ),
        case("sctp4", "SCTP", "sctp v4").optional(),
        case("dccp4", "DCCP", "dccp v4").optional(),
        case("l2tp4", "L2TP over IP", "l2tp v4").needs(Needs::Capability("CAP_NET_RAW")).optional(),
        case("smc4", "SMC as a protocol of AF_INET", "smc v4").optional(),
    ]
}
