//! What is refused is counted, and told with who tried what.

use std::os::fd::{AsFd as _, AsRawFd as _};

use tollgate_ebpf::{Attempt, Attempts, Technique};

use crate::stage::{Stage, stage};

/// What the ring holds.
fn all(attempts: &mut Attempts) -> Vec<Attempt> {
    std::iter::from_fn(|| attempts.next()).collect()
}

/// Whether the ring's descriptor is readable.
fn is_readable(attempts: &Attempts) -> bool {
    let mut poll =
        libc::pollfd { fd: attempts.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// Tries something as an agent, and says its process and name besides what the ring then holds.
fn tried(stage: &Stage, attempts: &mut Attempts, code: &str) -> (u32, Vec<Attempt>) {
    assert!(!is_readable(attempts));
    let code = format!(
        "ctypes.CDLL(None).prctl(15, b'an agent'); print(os.getpid()); sys.stdout.flush()
{code}"
    );
    let said = stage.agent().agent(&code);
    assert!(is_readable(attempts), "{said}");
    (said.lines().next().unwrap().parse().unwrap(), all(attempts))
}

#[test]
fn an_attempt_is_told_with_its_process_and_destination() {
    stage(|stage| {
        stage.install();
        let mut attempts = stage.pinned().attempts().unwrap();
        for (code, technique, protocol, family, destination) in [
            ("socket.socket(2, 2, 136)", Technique::SocketType, 136, 2, None),
            ("socket.socket(10, 2, 136)", Technique::SocketType, 136, 10, None),
            (
                "udp('').sendto(b'', ('10.77.0.1', 443))",
                Technique::Datagram,
                17,
                2,
                Some("10.77.0.1:443"),
            ),
            (
                "udp('[').connect(('fd77::1', 443))",
                Technique::Datagram,
                17,
                10,
                Some("[fd77::1]:443"),
            ),
            (
                "tcp('').connect(('127.0.0.1', 26801))",
                Technique::GatePort,
                6,
                2,
                Some("127.0.0.1:26801"),
            ),
            ("tcp('[').bind(('::1', 16809))", Technique::BindGatePort, 6, 10, Some("[::1]:16809")),
        ] {
            let (pid, told) = tried(stage, &mut attempts, code);
            let expected = Attempt {
                technique,
                cgroup: stage.agent().id(),
                pid,
                uid: 1000,
                comm: "an agent".to_owned(),
                destination: destination.map(|at| at.parse().unwrap()),
                protocol,
                family,
                option: None,
            };
            assert_eq!(told, [expected], "{code}");
        }
        let (pid, told) = tried(stage, &mut attempts, "udp('').setsockopt(1, 36, 1)");
        assert_eq!((told[0].technique, told[0].pid), (Technique::SocketOption, pid));
        assert_eq!((told[0].option, told[0].comm.as_str()), (Some((1, 36)), "an agent"));
        assert_eq!((told[0].family, told[0].protocol), (2, 17));
    });
}

#[test]
fn a_packet_that_may_not_leave_is_told_with_its_user_and_destination() {
    stage(|stage| {
        let mut session = stage.agent().session(
            1000,
            "s, t = udp(''), udp('[')
s.connect(('10.77.0.1', 9)); t.connect(('fd77::1', 7)); print('ready'); wait()
tries(lambda: s.send(PAYLOAD), lambda: t.send(PAYLOAD))",
        );
        assert_eq!(session.line(), "ready");
        stage.install();
        session.go();
        assert_eq!(session.rest(), "1 1");
        let told = all(&mut stage.pinned().attempts().unwrap());
        assert_eq!(told.len(), 2, "{told:?}");
        for (attempt, (to, family)) in told.iter().zip([("10.77.0.1:9", 2), ("[fd77::1]:7", 10)]) {
            assert_eq!(attempt.technique, Technique::Egress);
            assert_eq!((attempt.cgroup, attempt.uid, attempt.pid), (stage.agent().id(), 1000, 0));
            assert_eq!(attempt.destination, Some(to.parse().unwrap()));
            assert_eq!((attempt.protocol, attempt.family), (17, family));
        }
    });
}

#[test]
fn a_full_ring_loses_events_and_never_a_count() {
    stage(|stage| {
        stage.install();
        let tries = 3000;
        let code = format!(
            "for n in range({tries}): tries(lambda: udp('').sendto(b'', ('10.77.0.1', n + 1000)))"
        );
        assert!(stage.agent().agent(&code).lines().all(|line| line == "1"));
        assert_eq!(stage.counted(Technique::Datagram), tries);
        let mut attempts = stage.pinned().attempts().unwrap();
        let told = all(&mut attempts);
        assert!((500..1000).contains(&told.len()), "{}", told.len());
        // The first ones, in their order; and there is room again.
        assert_eq!(told[1].destination, Some("10.77.0.1:1001".parse().unwrap()));
        tried(stage, &mut attempts, "udp('').sendto(b'', ('10.77.0.1', 9))");
    });
}

#[test]
fn what_is_allowed_is_neither_counted_nor_told() {
    stage(|stage| {
        stage.install();
        crate::stage::intake(stage);
        stage.agent().connect("10.77.0.1:80");
        stage.gate().connect("10.77.0.1:80");
        assert_eq!(
            stage.agent().agent("udp('').sendto(b'', ('127.0.0.1', 9)); print('sent')"),
            "sent"
        );
        let counted = stage.pinned().counters().unwrap();
        assert!(counted.iter().all(|(_, count)| *count == 0), "{counted:?}");
        assert_eq!(all(&mut stage.pinned().attempts().unwrap()), []);
    });
}
