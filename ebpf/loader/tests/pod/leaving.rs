//! What leaves by an interface: the gate's packets and nobody else's.

use tollgate_ebpf::Technique;

use crate::stage::{Session, Stage, stage};

/// A socket that an agent made and bound to the interface before there were programs; each send says how it went.
const BOUND: &str = "s = udp('')
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0')
while True:
    wait()
    tries(lambda: s.sendto(PAYLOAD, ('127.0.0.1', 9)))
    sys.stdout.flush()";

/// The same by control messages, which no option guards.
fn by_message(interface: u32) -> String {
    format!(
        "s, t = udp(''), udp('[')
v4 = [(0, 8, struct.pack('i4s4s', {interface}, bytes(4), bytes(4)))]
v6 = [(41, 50, bytes(16) + struct.pack('i', {interface}))]
while True:
    wait()
    tries(lambda: s.sendmsg([PAYLOAD], v4, 0, ('127.0.0.1', 9)), lambda: t.sendmsg([PAYLOAD], v6, 0, ('::1', 9)))
    sys.stdout.flush()"
    )
}

/// Sockets that were connected to the other side before there were programs.
const OLDER: &str = "s, t = tcp(''), udp('')
s.connect(('10.77.0.1', 80)); s.recv(512)
t.connect(('10.77.0.1', 9))
print('ready')
while True:
    wait()
    tries(lambda: t.send(PAYLOAD))
    sys.stdout.flush()";

/// What a session says to the next attempt.
fn again(session: &mut Session) -> String {
    session.go();
    session.line()
}

/// That sends are seen on the other side until the programs are there, and then fail.
fn leaves_until_installed(stage: &Stage, mut session: Session, sends: u64) {
    let done = vec!["done"; usize::try_from(sends).unwrap()].join(" ");
    assert_eq!(again(&mut session), done);
    assert_eq!(stage.arrived(), sends, "the control");
    stage.install();
    let refused = vec!["1"; usize::try_from(sends).unwrap()].join(" ");
    assert_eq!(again(&mut session), refused);
    assert_eq!(stage.arrived(), 0);
    assert_eq!(stage.counted(Technique::Egress), sends);
}

#[test]
fn what_is_bound_to_an_interface_does_not_leave_although_it_is_for_loopback() {
    stage(|stage| leaves_until_installed(stage, stage.agent().session(0, BOUND), 1));
}

#[test]
fn what_names_an_interface_by_a_control_message_does_not_leave() {
    stage(|stage| {
        let session = stage.agent().session(1000, &by_message(stage.interface));
        leaves_until_installed(stage, session, 2);
    });
}

#[test]
fn what_was_connected_before_the_programs_were_there_is_cut_off() {
    stage(|stage| {
        let mut session = stage.agent().session(1000, OLDER);
        assert_eq!(session.line(), "ready");
        leaves_until_installed(stage, session, 1);
    });
}

#[test]
fn the_gate_sends_what_it_likes_and_an_agent_only_to_itself() {
    stage(|stage| {
        stage.install();
        let send = "tries(lambda: udp('').sendto(PAYLOAD, ('10.77.0.1', 9)), \
                    lambda: udp('[').sendto(PAYLOAD, ('fd77::1', 9)))";
        assert_eq!(stage.gate().agent(send), "done done");
        assert_eq!(stage.arrived(), 2);
        assert_eq!(stage.agent().root(send), "1 1");
        let unspecified = "s = udp('')
c = ctypes.CDLL(None, use_errno=True)
to = struct.pack('=HH4s8x', 0, socket.htons(9), socket.inet_aton('10.77.0.1'))
print(c.sendto(s.fileno(), PAYLOAD, len(PAYLOAD), 0, to, len(to)), ctypes.get_errno())";
        assert_eq!(stage.agent().root(unspecified), "-1 1", "an address of no family");
        assert_eq!(stage.arrived(), 0);
        let inside = "r = udp(''); r.bind(('127.0.0.1', 0)); s = udp('')
s.sendto(b'in here', r.getsockname()); print(r.recv(99).decode())";
        assert_eq!(stage.agent().agent(inside), "in here");
        assert_eq!(stage.counted(Technique::Egress), 0, "none got that far");
        assert_eq!(stage.counted(Technique::Datagram), 3);
    });
}

/// Sockets that no address program sees: UDP-Lite, ping in both families, raw, MPTCP, SCTP.
const KINDS: &str = "kinds = [(2, 2, 136), (10, 2, 136), (2, 2, 1), (10, 2, 58), (2, 3, 255), (10, 3, 58), (2, 1, 262), (2, 1, 132)]
tries(*[lambda kind=kind: socket.socket(*kind) for kind in kinds])";

#[test]
fn sockets_other_than_tcp_and_udp_cannot_be_made_not_even_by_the_gate() {
    stage(|stage| {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let before = stage.agent().root(KINDS);
        // SCTP is not in every kernel (EPROTONOSUPPORT, ESOCKTNOSUPPORT), MPTCP can be switched off (ENOPROTOOPT).
        assert!(before.starts_with("done done done done done done "), "the control: {before}");
        stage.install();
        for group in [stage.agent(), stage.gate()] {
            for said in [group.root(KINDS), group.agent(KINDS)] {
                // What the kernel or a missing capability refuses is refused before.
                assert!(!said.contains("done"), "{said}");
                assert!(said.starts_with("1 1 1 1 1 1 "), "{said}");
            }
        }
    });
}
