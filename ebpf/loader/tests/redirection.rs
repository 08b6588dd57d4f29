//! A service's programs at cgroups of its host: real sockets, in a network namespace of each test's own.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what stages a test ends it at the first surprise"
)]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    process::Command,
    sync::Arc,
    thread,
};

#[path = "common/group.rs"]
mod group;

use group::{Group, PYTHON};
use tollgate_ebpf::{Attempts, EbpfError, Enforcement, Links, Ports, Redirection};

/// Not the defaults, so that a program that ignores its constants is seen.
const PORTS: Ports = Ports { intake: 26801, responder: 26853 };

/// What a process in a cgroup says of one attempt: `connect`, `ask` (connected UDP), `send` (UDP without connecting).
const PROBE: &str = r#"
import socket, sys
kind, to = sys.argv[1:3]
host, port = to.rsplit(":", 1)
host = host.strip("[]")
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind in ("connect", "tcp-ask") else socket.SOCK_DGRAM)
s.settimeout(5)
def show(at):
    return "[%s]:%d" % at[:2] if ":" in at[0] else "%s:%d" % at[:2]
try:
    if kind == "bind":
        s.bind((host, int(port)))
        print("bound")
        sys.exit()
    if kind == "mark":
        s.setsockopt(socket.SOL_SOCKET, 36, 7)
        print("set")
        sys.exit()
    if kind == "send":
        s.sendto(b"?", (host, int(port)))
        answer, sender = s.recvfrom(512)
    else:
        s.connect((host, int(port)))
        if kind != "connect":
            s.send(b"?")
        answer, sender = s.recv(512), s.getpeername()
    print("%s from %s" % (answer.decode(), show(sender)))
except OSError as error:
    print("error", error.errno)
"#;

impl Group {
    fn attach(&self, redirection: &Redirection) -> Links {
        redirection.attach(self.open().as_fd()).unwrap()
    }

    /// What the probe says from inside, in the network namespace of the calling thread or a new one.
    fn probe_in(&self, wrap: &str, kind: &str, to: &str) -> String {
        let mut probe = self.enter(&format!(r#"{wrap} {} -c "$0" "$@""#, *PYTHON));
        let output = probe.args([PROBE, kind, to]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn probe(&self, kind: &str, to: &str) -> String {
        self.probe_in("", kind, to)
    }
}

/// Runs `test` on a thread in a network of its own, where 192.0.2.1 and `2001:db8::1` are hosts.
fn in_a_network(test: fn(Arc<Redirection>)) {
    // SAFETY: no memory is involved.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("NOT TESTED: needs root");
        return;
    }
    thread::spawn(move || {
        // SAFETY: only the network namespace of this thread changes.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        for command in [
            "link set lo up",
            "addr add 192.0.2.1/32 dev lo",
            "addr add 2001:db8::1/128 dev lo nodad",
        ] {
            ip(command);
        }
        test(Arc::new(Redirection::load(PORTS).unwrap()));
    })
    .join()
    .unwrap();
}

fn ip(command: &str) {
    assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success());
}

/// Tells each connection where it wanted to go and who it is.
fn intake(redirection: &Arc<Redirection>) {
    for at in ["127.0.0.1", "[::1]"] {
        let listener = TcpListener::bind(format!("{at}:{}", PORTS.intake)).unwrap();
        let redirection = Arc::clone(redirection);
        thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                let said = match redirection.origin(peer, stream.local_addr().unwrap()) {
                    Some(origin) => format!("{} of {}", origin.wanted, origin.cgroup),
                    None => "nobody".to_owned(),
                };
                answer(stream, &said);
            }
        });
    }
}

/// A host at `at` that says its own name.
fn host(at: &str) {
    let (listener, name) = (TcpListener::bind(at).unwrap(), at.to_owned());
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            answer(stream, &name);
        }
    });
}

fn answer(mut stream: TcpStream, said: &str) {
    stream.write_all(said.as_bytes()).unwrap();
}

/// Answers any question with where it arrived.
fn responder(at: &str) {
    let (socket, name) = (UdpSocket::bind(at).unwrap(), at.to_owned());
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut question) {
            socket.send_to(name.as_bytes(), from).unwrap();
        }
    });
    let (listener, name) = (TcpListener::bind(at).unwrap(), at.to_owned());
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1);
            answer(stream, &name);
        }
    });
}

#[test]
fn connections_of_two_cgroups_are_told_apart_with_their_exact_destinations() {
    in_a_network(|redirection| {
        intake(&redirection);
        for at in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            host(at);
        }
        let (one, other, free) = (Group::new("one"), Group::new("other"), Group::new("free"));
        let _links = (one.attach(&redirection), other.attach(&redirection));
        for group in [&one, &other] {
            let id = group.id();
            for (to, wanted) in [
                ("192.0.2.1:80", "192.0.2.1:80"),
                ("203.0.113.7:8443", "203.0.113.7:8443"),
                ("[2001:db8::1]:80", "[2001:db8::1]:80"),
                ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ] {
                assert_eq!(group.probe("connect", to), format!("{wanted} of {id} from {to}"));
            }
        }
        // The control: the same from a cgroup beside them goes where it wanted.
        for to in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            assert_eq!(free.probe("connect", to), format!("{to} from {to}"));
        }
    });
}

#[test]
fn a_cgroup_below_an_attached_one_is_redirected_and_named_itself() {
    in_a_network(|redirection| {
        intake(&redirection);
        let above = Group::new("above");
        let below = above.below("below");
        let _links = above.attach(&redirection);
        let said = below.probe("connect", "192.0.2.1:80");
        assert_eq!(said, format!("192.0.2.1:80 of {} from 192.0.2.1:80", below.id()));
        drop(below);
    });
}

#[test]
fn what_is_detached_goes_direct_again_and_the_others_do_not() {
    in_a_network(|redirection| {
        intake(&redirection);
        host("192.0.2.1:80");
        let (one, other) = (Group::new("one"), Group::new("other"));
        let (links, _others) = (one.attach(&redirection), other.attach(&redirection));
        assert!(one.probe("connect", "192.0.2.1:80").contains(" of "));
        drop(links);
        assert_eq!(one.probe("connect", "192.0.2.1:80"), "192.0.2.1:80 from 192.0.2.1:80");
        assert!(other.probe("connect", "192.0.2.1:80").contains(" of "));
        let _again = one.attach(&redirection);
        assert!(one.probe("connect", "192.0.2.1:80").contains(" of "));
    });
}

#[test]
fn a_question_to_any_server_is_answered_at_the_configured_port_in_that_servers_name() {
    in_a_network(|redirection| {
        let (v4, v6) = ("127.0.0.1:26853", "[::1]:26853");
        responder(v4);
        responder(v6);
        responder("192.0.2.1:53");
        let (group, free) = (Group::new("asks"), Group::new("free"));
        let _links = group.attach(&redirection);
        for kind in ["ask", "send", "tcp-ask"] {
            for (server, by) in [
                ("192.0.2.1:53", v4),
                ("9.9.9.9:53", v4),
                ("127.0.0.53:53", v4),
                ("[2001:db8::1]:53", v6),
                ("[::ffff:9.9.9.9]:53", v4),
            ] {
                assert_eq!(group.probe(kind, server), format!("{by} from {server}"), "{kind}");
            }
            assert_eq!(free.probe(kind, "192.0.2.1:53"), "192.0.2.1:53 from 192.0.2.1:53");
        }
    });
}

#[test]
fn what_was_not_redirected_has_no_origin() {
    in_a_network(|redirection| {
        intake(&redirection);
        let (group, free) = (Group::new("attached"), Group::new("free"));
        let _links = group.attach(&redirection);
        for name in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"] {
            assert_eq!(group.probe("connect", &format!("{name}:26801")), "error 1", "{name}");
        }
        for name in ["127.0.0.1", "[::1]"] {
            let at = format!("{name}:26801");
            assert_eq!(free.probe("connect", &at), format!("nobody from {at}"));
        }
    });
}

#[test]
fn the_source_of_a_detached_connection_is_forgotten() {
    in_a_network(|redirection| {
        let listener = TcpListener::bind(("127.0.0.1", PORTS.intake)).unwrap();
        let group = Group::new("forgotten");
        let links = group.attach(&redirection);
        let id = group.id();
        let probing = thread::spawn(move || {
            let said = group.probe("connect", "192.0.2.1:80");
            drop(group);
            said
        });
        let (stream, peer) = listener.accept().unwrap();
        let at = stream.local_addr().unwrap();
        assert_eq!(redirection.origin(peer, at).unwrap().cgroup, id);
        // Only what the programs redirect to has an origin.
        assert_eq!(
            redirection.origin(peer, "127.0.0.2:26801".parse::<SocketAddr>().unwrap()),
            None
        );
        drop(links);
        redirection.forget(|cgroup| cgroup != id).unwrap();
        assert!(redirection.origin(peer, at).is_some(), "another's connection is kept");
        redirection.forget(|cgroup| cgroup == id).unwrap();
        assert_eq!(redirection.origin(peer, at), None);
        answer(stream, "done");
        assert!(probing.join().unwrap().starts_with("done"));
    });
}

#[test]
fn a_closed_connection_leaves_no_origin() {
    in_a_network(|redirection| {
        let listener = TcpListener::bind(("127.0.0.1", PORTS.intake)).unwrap();
        let group = Group::new("closed");
        let _links = group.attach(&redirection);
        let probing = thread::spawn(move || group.probe("connect", "192.0.2.1:80"));
        let (stream, peer) = listener.accept().unwrap();
        let at = stream.local_addr().unwrap();
        assert!(redirection.origin(peer, at).is_some());
        drop(stream);
        probing.join().unwrap();
        assert_eq!(redirection.origin(peer, at), None);
    });
}

#[test]
fn in_another_network_nothing_passes_for_the_gate() {
    in_a_network(|redirection| {
        intake(&redirection);
        let group = Group::new("elsewhere");
        let _links = group.attach(&redirection);
        assert!(group.probe("connect", "192.0.2.1:80").contains(" of "), "the control");
        for (kind, to) in
            [("connect", "192.0.2.1:80"), ("connect", "[2001:db8::1]:80"), ("ask", "9.9.9.9:53")]
        {
            assert_eq!(group.probe_in("unshare --net", kind, to), "error 1", "{kind} {to}");
        }
    });
}

#[test]
fn a_run_is_redirected_to_its_own_ports_for_as_long_as_it_is_enforced() {
    in_a_network(|_| {
        host("192.0.2.1:80");
        let group = Group::new("run");
        let enforcement = Enforcement::attach(group.open().as_fd()).unwrap();
        let intake = TcpListener::bind("127.0.0.1:16801").unwrap();
        responder("127.0.0.1:53");
        thread::scope(|scope| {
            scope.spawn(|| {
                let (stream, peer) = intake.accept().unwrap();
                answer(stream, &format!("the gate for {:?}", enforcement.original_dst(peer)));
            });
            let said = group.probe("connect", "192.0.2.1:80");
            // Where nothing was redirected, the gate would wait for ever.
            drop(TcpStream::connect(intake.local_addr().unwrap()).unwrap());
            assert_eq!(said, "the gate for Some(192.0.2.1:80) from 192.0.2.1:80");
        });
        assert_eq!(group.probe("ask", "9.9.9.9:53"), "127.0.0.1:53 from 9.9.9.9:53");
        drop((enforcement, intake));
        assert_eq!(group.probe("connect", "192.0.2.1:80"), "192.0.2.1:80 from 192.0.2.1:80");
        assert_ne!(group.probe("ask", "9.9.9.9:53"), "127.0.0.1:53 from 9.9.9.9:53");
    });
}

#[test]
fn a_gate_of_its_own_in_another_network_works_below_an_attached_cgroup() {
    in_a_network(|outer| {
        intake(&outer);
        let above = Group::new("above");
        let below = above.below("run");
        let _links = above.attach(&outer);
        let said = thread::spawn(move || {
            // SAFETY: only the network namespace of this thread changes.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            ip("link set lo up");
            let inner = Arc::new(Redirection::load(PORTS).unwrap());
            intake(&inner);
            responder("127.0.0.1:26853");
            let _links = below.attach(&inner);
            let asked = below.probe("ask", "192.0.2.1:53");
            let connected = below.probe("connect", "192.0.2.1:80");
            assert_eq!(connected, format!("192.0.2.1:80 of {} from 192.0.2.1:80", below.id()));
            drop(below);
            asked
        });
        assert_eq!(said.join().unwrap(), "127.0.0.1:26853 from 192.0.2.1:53");
    });
}

#[test]
fn datagrams_and_raw_sockets_are_refused_as_in_a_run() {
    in_a_network(|redirection| {
        let group = Group::new("refused");
        let _links = group.attach(&redirection);
        assert_eq!(group.probe("ask", "192.0.2.1:443"), "error 1");
        assert_eq!(group.probe("send", "[2001:db8::1]:443"), "error 1");
        assert!(group.probe("connect", "127.0.0.1:9").contains("error 111"), "loopback is free");
    });
}

/// Everything that was refused, as technique and destination.
fn told(attempts: &mut Attempts) -> Vec<(&'static str, Option<String>)> {
    std::iter::from_fn(|| attempts.next())
        .map(|attempt| (attempt.technique.name(), attempt.destination.map(|at| at.to_string())))
        .collect()
}

#[test]
fn the_ports_of_the_gate_are_bound_by_nobody_that_is_attached_and_every_refusal_is_told_once() {
    in_a_network(|redirection| {
        let group = Group::new("ports");
        let _links = group.attach(&redirection);
        let mut attempts = redirection.attempts().unwrap();
        assert!(redirection.attempts().is_none(), "the ring has one reader");
        for at in ["127.0.0.1:26801", "0.0.0.0:26853", "[::]:26801"] {
            assert_eq!(group.probe("bind", at), "error 1", "{at}");
            assert_eq!(told(&mut attempts), [("bind_gate_port", Some(at.to_owned()))]);
        }
        // The gate listens at 53 in no network but a run's, and other ports are anybody's.
        for at in ["127.0.0.1:53", "127.0.0.1:16801", "[::1]:8080"] {
            assert_eq!(group.probe("bind", at), "bound");
        }
        assert_eq!(group.probe("connect", "127.0.0.1:26853"), "error 1");
        assert_eq!(group.probe("ask", "192.0.2.1:443"), "error 1");
        let there = group.probe_in("unshare --net", "connect", "192.0.2.1:80");
        assert_eq!(there, "error 1");
        let at = |at: &str| Some(at.to_owned());
        assert_eq!(
            told(&mut attempts),
            [
                ("gate_port", at("127.0.0.1:26853")),
                ("datagram", at("192.0.2.1:443")),
                ("elsewhere", at("192.0.2.1:80")),
            ]
        );
        // Where there is no gate its ports are anybody's.
        assert_eq!(group.probe_in("unshare --net", "bind", "0.0.0.0:26801"), "bound");
    });
}

#[test]
fn in_a_run_the_gates_ports_are_refused_and_told() {
    in_a_network(|_| {
        let group = Group::new("run");
        let mut enforcement = Enforcement::attach(group.open().as_fd()).unwrap();
        let mut attempts = enforcement.attempts().unwrap();
        assert!(enforcement.attempts().is_none(), "the ring has one reader");
        for at in ["127.0.0.1:16801", "[::1]:16853"] {
            for kind in ["bind", "connect", "ask"] {
                assert_eq!(group.probe(kind, at), "error 1", "{kind} {at}");
            }
        }
        let names: Vec<_> = told(&mut attempts).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["bind_gate_port", "gate_port", "gate_port"].repeat(2));
        // Who listens there takes nothing from the gate: questions go to the responder.
        assert_eq!(group.probe("bind", "127.0.0.2:53"), "bound");
        // Packets and options are not looked at: there is nowhere to go.
        assert_eq!(group.probe("mark", "192.0.2.1:80"), "set");
    });
}

#[test]
fn a_folder_that_is_no_cgroup_is_refused_and_nothing_stays() {
    in_a_network(|redirection| {
        let folder = File::open("/tmp").unwrap();
        let refused = redirection.attach(folder.as_fd());
        assert!(matches!(refused, Err(EbpfError::Attach { .. })), "{refused:?}");
    });
}
