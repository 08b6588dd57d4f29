//! What goes past the usual system calls, or below IP.

use super::inside::{BESIDE, FALLBACKS};
use crate::case::{Case, Form, Needs, Seen};

pub(super) fn uring() -> Vec<Case> {
    let case = |name, says, words| Case::of("uring", name, says, words);
    let led = |name, says, words| case(name, says, words).to_gate();
    vec![
        led("uring_connect4", "IORING_OP_CONNECT over IPv4", "tcp v4"),
        led("uring_connect6", "IORING_OP_CONNECT over IPv6", "tcp v6"),
        led(
            "uring_connect_async",
            "IORING_OP_CONNECT with IOSQE_ASYNC, by a worker",
            "tcp v4 async",
        ),
        led(
            "uring_connect_sqpoll",
            "IORING_OP_CONNECT by the kernel's polling thread",
            "tcp v4 sqpoll",
        ),
        led("uring_socket", "IORING_OP_SOCKET, then IORING_OP_CONNECT", "tcp v4 op-socket"),
        led("uring_fastopen", "IORING_OP_SENDMSG with MSG_FASTOPEN", "tcp v4 fastopen"),
        case("uring_sendmsg4", "IORING_OP_SENDMSG, UDP over IPv4", "udp v4").closed("sendmsg4/6"),
        case("uring_sendmsg6", "IORING_OP_SENDMSG, UDP over IPv6", "udp v6").closed("sendmsg4/6"),
        case("uring_sendmsg_sqpoll", "IORING_OP_SENDMSG by the polling thread", "udp v4 sqpoll")
            .closed("sendmsg4/6"),
        case("uring_send_to", "IORING_OP_SEND with an address", "udp v4 send-to")
            .closed("sendmsg4/6"),
        case("uring_zero_copy", "IORING_OP_SEND_ZC with an address", "udp v4 zero-copy")
            .closed("sendmsg4/6"),
        case(
            "uring_option",
            "SO_BINDTODEVICE by SOCKET_URING_OP_SETSOCKOPT, UDP to 127.0.0.1",
            "udp v4 ring-device to-loopback",
        )
        .only(Form::Pod)
        .closed("setsockopt; cgroup_skb egress, nftables postrouting"),
        case("uring_bind", "IORING_OP_BIND at a port of the gate", "tcp v4 bind-gate")
            .tells()
            .alone()
            .only(Form::Pod)
            .left_in(&FALLBACKS, BESIDE)
            .closed("bind4"),
        case("uring_udplite", "IORING_OP_SOCKET of UDP-Lite", "udplite v4 op-socket udp")
            .closed("sock_create"),
    ]
}

pub(super) fn link() -> Vec<Case> {
    let raw = Needs::Capability("CAP_NET_RAW");
    let case = |name, says, words| {
        Case::of("packet", name, says, words)
            .needs(raw)
            .only(Form::Pod)
            .closed("nftables netdev egress")
            .root_sees(Seen::Error(vec!["ENOBUFS", "EPERM"]))
    };
    vec![
        Case { form: Form::Both, ..case("packet", "AF_PACKET, a whole frame", "") },
        case("packet_cooked", "AF_PACKET, SOCK_DGRAM", "cooked"),
        case("packet_bypass", "AF_PACKET with PACKET_QDISC_BYPASS", "bypass"),
        case("packet_ring", "AF_PACKET with PACKET_TX_RING", "ring"),
        case("packet_offload", "AF_PACKET with PACKET_VNET_HDR", "offload"),
        Case::of("old-packet", "packet_old", "SOCK_PACKET, the packet socket of AF_INET", "")
            .needs(raw)
            .only(Form::Pod)
            .closed("nftables netdev egress")
            .root_sees(Seen::NoAnswer),
        case("packet_arp", "AF_PACKET, dressed as ARP", "as-arp"),
        case(
            "packet_neighbour",
            "AF_PACKET, dressed as a neighbour solicitation to afar",
            "as-neighbour",
        ),
        case("packet_mark", "AF_PACKET with the gate's mark", "mark"),
        case(
            "packet_mark_as_gate",
            "AF_PACKET with the gate's mark, opened as the gate's user",
            "mark files-as-gate",
        ),
        case("packet_mark_message", "AF_PACKET with the mark as ancillary data", "mark-cmsg"),
        case(
            "packet_mark_message_as_gate",
            "AF_PACKET with the mark as ancillary data, opened as the gate's user",
            "mark-cmsg files-as-gate",
        ),
        case(
            "packet_arp_as_gate",
            "AF_PACKET, dressed as ARP, opened as the gate's user",
            "as-arp files-as-gate",
        ),
        case(
            "packet_neighbour_as_gate",
            "AF_PACKET, dressed as a solicitation, opened as the gate's user",
            "as-neighbour files-as-gate",
        ),
        Case::of("xdp", "xdp", "AF_XDP in copy mode", "")
            .needs(raw)
            .closed("every queue held by the gate's container (attack 10)")
            .root_sees(Seen::Error(vec!["EBUSY"])),
    ]
}
