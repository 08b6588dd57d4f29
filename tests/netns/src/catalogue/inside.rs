//! What is tried on the enforcement itself and on those who are exempt.

use tollgate_init::mode::Mode;

use crate::case::{Case, Form, Needs, Seen};

/// The modes without programs.
pub(super) const FALLBACKS: [Mode; 2] = [Mode::NftCgroup, Mode::NftUser];
/// The mode in which whoever is the gate's user is the gate.
pub(super) const BY_USER: [Mode; 1] = [Mode::NftUser];
pub(super) const IS_THE_GATE: &str = "who has CAP_SETUID is the gate: admission must take it";
/// Why a port of the gate's at an address where the gate does not listen is nothing to take.
pub(super) const BESIDE: &str = "nothing is led to that address";

/// The addresses that mean this machine, each with how it is told.
const ADDRESSES: [(&str, &str, &str, &str); 8] = [
    ("ports_127_0_0_1", "connect() to each gate port at 127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ("ports_127_1_2_3", "at 127.1.2.3", "127.1.2.3", "127.1.2.3"),
    ("ports_any4", "at 0.0.0.0", "0.0.0.0", "0.0.0.0"),
    ("ports_loopback6", "at ::1", "::1", "::1"),
    ("ports_any6", "at ::", "::", "::"),
    ("ports_mapped", "at ::ffff:127.0.0.1", "mapped", "mapped"),
    ("ports_pod4", "at the pod's IPv4 address", "pod4", "pod4"),
    ("ports_pod6", "at the pod's IPv6 address", "pod6", "pod6"),
];

pub(super) fn ports() -> Vec<Case> {
    let case = |name, says, words| Case::of("ports", name, says, words).tells().only(Form::Pod);
    let connect = ADDRESSES
        .iter()
        .map(|(name, says, word, _)| case(*name, *says, *word).closed("connect4, connect6"))
        .map(|case| case.without_programs(Seen::Error(vec!["ECONNREFUSED"])));
    let bind = |name, says, words| {
        let case = case(name, says, words).closed("bind4, bind6").alone();
        // The gate has them already, as far as it listens there.
        case.without_programs(Seen::Error(vec!["EADDRINUSE"]))
    };
    let beside = |name, says, words| bind(name, says, words).left_in(&FALLBACKS, BESIDE);
    connect
        .chain([
            case(
                "ports_frames",
                "TCP without a socket, by AF_PACKET on the loopback, to each gate port at ::1",
                "",
            )
            .by_program("loopback")
            .needs(Needs::Capability("CAP_NET_RAW"))
            .refused(&["ETIMEDOUT"])
            .closed("nftables prerouting (lo)"),
            case("ports_udp", "sendto() to each gate port at 127.0.0.1", "udp sendto 127.0.0.1")
                .closed("sendmsg4"),
            beside("bind_127_1_2_3", "bind() to each gate port at 127.1.2.3", "bind 127.1.2.3"),
            bind("bind_any4", "bind() at 0.0.0.0 with SO_REUSEPORT", "bind reuse 0.0.0.0"),
            bind("bind_any6", "bind() at :: with SO_REUSEPORT", "bind reuse ::"),
            bind("bind_mapped", "bind() at ::ffff:127.0.0.1", "bind mapped"),
            beside("bind_pod4", "bind() at the pod's IPv4 address", "bind pod4"),
            beside("bind_udp", "bind() of UDP sockets with SO_REUSEPORT", "bind udp reuse 0.0.0.0"),
        ])
        .collect()
}

pub(super) fn exemption() -> Vec<Case> {
    let case = |name, says, words| {
        Case::inet(name, says, words).only(Form::Pod).needs(Needs::Capability("CAP_NET_RAW"))
    };
    vec![
        case("mark_tcp", "SO_MARK with the gate's mark, TCP", "tcp v4 mark")
            .without_programs(Seen::Gate)
            .closed("setsockopt"),
        case("mark_udp", "SO_MARK with the gate's mark, UDP", "udp v4 mark").closed("setsockopt"),
        case("mark_message", "the mark as ancillary data, UDP", "udp v4 mark-cmsg")
            .closed("sendmsg4"),
        case(
            "mark_message_interface",
            "the mark and IP_PKTINFO as ancillary data, to 127.0.0.1",
            "udp v4 mark-cmsg pktinfo to-loopback",
        )
        .without_programs(Seen::NoAnswer)
        .closed("cgroup_skb egress"),
        case("mark_as_gate", "SO_MARK on a socket opened as the gate's user, UDP", "udp v4 mark files-as-gate")
            .left_in(&BY_USER, IS_THE_GATE)
            .closed("setsockopt"),
        case(
            "mark_message_as_gate",
            "the mark and IP_PKTINFO as ancillary data on a socket opened as the gate's user, to 127.0.0.1",
            "udp v4 mark-cmsg pktinfo to-loopback files-as-gate",
        )
        .without_programs(Seen::NoAnswer)
        .left_in(&BY_USER, IS_THE_GATE)
        .closed("cgroup_skb egress"),
        Case::inet("as_gate_tcp", "setuid() to the gate's user, TCP", "tcp v4 as-gate")
            .needs(Needs::Capability("CAP_SETUID"))
            .only(Form::Pod)
            .to_gate()
            .without_programs(Seen::Error(vec!["ETIMEDOUT"]))
            .left_in(&BY_USER, IS_THE_GATE)
            .closed("exemption by cgroup, never by user"),
        Case::inet("as_gate_udp", "setuid() to the gate's user, UDP", "udp v4 as-gate")
            .needs(Needs::Capability("CAP_SETUID"))
            .only(Form::Pod)
            .left_in(&BY_USER, IS_THE_GATE)
            .closed("exemption by cgroup, never by user"),
    ]
}

pub(super) fn processes() -> Vec<Case> {
    let case = |name, says, words| {
        Case::of("processes", name, says, words)
            .tells()
            .only(Form::Pod)
            .needs(Needs::Everything("CAP_SYS_PTRACE"))
            .refused(&["EPERM", "EACCES"])
            .closed("another user for the gate, no CAP_SYS_PTRACE (admission)")
    };
    vec![
        case("pidfd_getfd", "pidfd_getfd() of the gate's sockets", "getfd"),
        case("ptrace", "ptrace() of the gate", "ptrace"),
        case("proc_mem", "/proc/PID/mem of the gate", "mem"),
        case("process_vm_readv", "process_vm_readv() of the gate", "readv"),
        case("proc_fd", "/proc/PID/fd of the gate", "fd"),
        case("proc_environ", "/proc/PID/environ of the gate", "environ"),
    ]
}

pub(super) fn tamper() -> Vec<Case> {
    let needs = |what| {
        move |name, says, words| {
            Case::of("tamper", name, says, words)
                .tells()
                .only(Form::Pod)
                .needs(Needs::Everything(what))
                .refused(&["EPERM", "EACCES", "EROFS", "ENOENT"])
                .closed("no such capability in a container (admission)")
        }
    };
    let (net, bpf) = (needs("CAP_NET_ADMIN"), needs("CAP_BPF"));
    vec![
        net("rules_add", "an nftables table of its own", "rule"),
        net("rules_flush", "nft flush ruleset", "flush").refused(&["EPERM"]),
        net("route_add", "a route of its own", "route"),
        net("link_add", "a pair of interfaces of its own", "link"),
        net("tun_add", "a tunnel interface of its own", "tun").optional(),
        net("forwarding", "/proc/sys/net/ipv4/ip_forward", "forward"),
        bpf("bpf_detach", "BPF_PROG_DETACH of connect4 at its own cgroup", "query"),
        bpf("bpf_link_by_id", "BPF_LINK_GET_FD_BY_ID of the pinned links", "link-by-id"),
        needs("a writable cgroup file system")(
            "move_out",
            "writes itself into a cgroup above the pod",
            "move-out",
        ),
        Case::inet("enter_world", "setns() into the network of the node", "udp v4 enter-world")
            .tells()
            .only(Form::Pod)
            .needs(Needs::Everything("CAP_SYS_ADMIN"))
            .refused(&["EPERM", "EACCES"])
            .closed("no CAP_SYS_ADMIN, no processes of the node in sight (admission)"),
    ]
}

pub(super) fn namespaces() -> Vec<Case> {
    vec![
        Case::inet(
            "old_socket_tcp",
            "a TCP socket of the pod's, used after unshare() of user and network",
            "tcp v4 new-network",
        )
        .only(Form::Pod)
        .to_gate(),
        Case::inet(
            "old_socket_udp",
            "a UDP socket of the pod's, used after unshare() of user and network",
            "udp v4 new-network",
        )
        .only(Form::Pod)
        .closed("sendmsg4"),
        Case::inet(
            "new_cgroups_tcp",
            "TCP after unshare() of user and cgroups",
            "tcp v4 new-cgroups",
        )
        .only(Form::Pod)
        .to_gate(),
        Case::inet(
            "new_cgroups_udp",
            "UDP after unshare() of user and cgroups",
            "udp v4 new-cgroups",
        )
        .only(Form::Pod)
        .closed("sendmsg4"),
    ]
}

pub(super) fn families() -> Vec<Case> {
    let family = |name, says, words| {
        Case::of("family", name, says, words)
            .tells()
            .only(Form::Exec)
            .refused(&["EAFNOSUPPORT", "EPERM"])
            .closed("seccomp")
            .optional()
    };
    let group = |name, says, words| {
        Case::of("group", name, says, words)
            .only(Form::Pod)
            .sees(Seen::NoAnswer)
            .closed("nftables postrouting")
    };
    vec![
        Case::of("vsock", "vsock", "AF_VSOCK, a socket to the hypervisor", "")
            .tells()
            .only(Form::Exec)
            .refused(&["EAFNOSUPPORT", "EPERM"])
            .closed("seccomp")
            .optional(),
        family("alg", "AF_ALG", "38 5"),
        family("pppoe", "AF_PPPOX, frames of PPP over Ethernet without any capability", "24 1"),
        family("llc", "AF_LLC", "26 2").needs(Needs::Capability("CAP_NET_RAW")),
        family("tipc", "AF_TIPC", "30 2"),
        family("rds", "AF_RDS", "21 5"),
        family("rxrpc", "AF_RXRPC", "33 2 2"),
        family("smc", "AF_SMC", "43 1"),
        family("kcm", "AF_KCM", "41 2"),
        family("can", "AF_CAN", "29 3 1"),
        group("igmp_join", "an IPv4 group whose address is the message", "v4"),
        group("mld_join", "an IPv6 group whose address is the message", "v6"),
    ]
}
