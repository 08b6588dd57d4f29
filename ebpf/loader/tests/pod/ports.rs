//! What may be connected to, bound and set.

use tollgate_ebpf::{GATE_PORTS, PodSpec, Technique};

use crate::stage::{PORTS, intake, run, spec, stage, unshare};

/// Every way to say "here".
const HERE: [&str; 9] = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.77.0.2",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.77.0.2]",
    "[fd77::2]",
];

/// Tries each address with a port, over TCP and UDP, connected and not.
fn to(port: u16) -> String {
    format!(
        "for host in {HERE:?}:
    there = at(host + ':{port}')
    tries(lambda: tcp(host).connect(there), lambda: udp(host).connect(there), lambda: udp(host).sendto(PAYLOAD, there))"
    )
}

#[test]
fn nobody_but_the_gate_connects_to_its_ports_by_any_address_of_the_pod() {
    stage(|stage| {
        stage.install();
        for port in [PORTS.intake, PORTS.responder, GATE_PORTS[1], GATE_PORTS[4]] {
            let refused = ["1 1 1"; HERE.len()].join("\n");
            assert_eq!(stage.agent().agent(&to(port)), refused, "{port}");
            assert_eq!(stage.agent().root(&to(port)), refused, "{port}");
            // Nobody listens, which only who may ask learns.
            let allowed = stage.gate().agent(&to(port));
            assert!(allowed.lines().all(|line| line == "111 done done"), "{allowed}");
        }
        let tried = u64::try_from(4 * 2 * 3 * HERE.len()).unwrap();
        assert_eq!(stage.counted(Technique::GatePort), tried);
        // Any other port is the pod's own business.
        let free = stage.agent().agent(&to(8080));
        assert!(free.lines().all(|line| line == "111 done done"), "{free}");
        assert_eq!(stage.arrived(), 0);
    });
}

#[test]
fn an_application_at_the_pods_own_address_is_reached_without_the_gate() {
    stage(|stage| {
        stage.install();
        intake(stage);
        for at in ["10.77.0.2:8080", "[fd77::2]:8080", "127.0.0.1:8081"] {
            let code = format!(
                "l = tcp('{at}'); l.bind(at('{at}')); l.listen()
s = tcp('{at}'); s.connect(at('{at}')); a, _ = l.accept(); a.send(b'the application'); say(s)"
            );
            assert_eq!(stage.agent().agent(&code), format!("the application from {at}"));
        }
        // The control: an address beside them is no address of the pod.
        let said = stage.agent().connect("10.77.0.3:8080");
        assert_eq!(said, format!("10.77.0.3:8080 of {} from 10.77.0.3:8080", stage.agent().id()));
    });
}

/// Tries to bind a port by each family, also behind a listener's back.
fn bind(port: u16) -> String {
    format!(
        "def behind(kind):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('127.0.0.1', {port}))
for host in ['127.0.0.1', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]']:
    tries(lambda: tcp(host).bind(at(host + ':{port}')), lambda: udp(host).bind(at(host + ':{port}')))
tries(lambda: behind(socket.SOCK_STREAM), lambda: behind(socket.SOCK_DGRAM))"
    )
}

#[test]
fn nobody_but_the_gate_binds_its_ports() {
    stage(|stage| {
        stage.install();
        let (done, refused) = (["done done"; 6].join("\n"), ["1 1"; 6].join("\n"));
        for port in [PORTS.intake, PORTS.responder, GATE_PORTS[3]] {
            assert_eq!(stage.agent().agent(&bind(port)), refused);
            assert_eq!(stage.agent().root(&bind(port)), refused);
            assert_eq!(stage.gate().agent(&bind(port)), done);
        }
        assert_eq!(stage.counted(Technique::BindGatePort), 3 * 2 * 12);
        assert_eq!(stage.agent().agent(&bind(8080)), done);
    });
}

#[test]
fn in_a_network_of_its_own_a_process_has_all_ports_and_no_way_out() {
    stage(|stage| {
        let network = Some(crate::stage::network());
        tollgate_ebpf::install(
            &[std::os::fd::AsFd::as_fd(&stage.pod.open())],
            &stage.at,
            &PodSpec { network, ..spec() },
        )
        .unwrap();
        let code =
            format!("{}\ntries(lambda: tcp('').connect(('10.77.0.1', 80)))", bind(PORTS.intake));
        let refused = format!("{}\n111", ["1 1"; 6].join("\n"));
        assert_eq!(stage.agent().root(&code), refused, "the gate is not there");
        let agent = stage.agent();
        let elsewhere = std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                unshare(libc::CLONE_NEWNET);
                run("ip", "link set lo up");
                agent.root(&code)
            });
            there.join().unwrap()
        });
        assert_eq!(elsewhere, format!("{}\n1", ["done done"; 6].join("\n")));
        assert_eq!(stage.counted(Technique::Elsewhere), 1);
    });
}

/// Options that choose a way, a source or a mark: level, name, value.
const KEPT_BACK: [(i32, i32, &str); 23] = [
    (1, 25, "b'eth0'"),
    (1, 36, "0x50524f58"),
    (1, 62, "2"),
    (0, 4, "bytes([1, 1, 1, 1])"),
    (0, 15, "1"),
    (0, 16, "bytes(4)"),
    (0, 17, "bytes(4)"),
    (0, 19, "1"),
    (0, 50, "socket.htonl(2)"),
    (0, 51, "16801 << 16 | 16801"),
    (41, 6, "bytes(16)"),
    (41, 9, "bytes(28)"),
    (41, 34, "bytes(4)"),
    (41, 35, "bytes(4)"),
    (41, 50, "bytes(20)"),
    (41, 54, "bytes(8)"),
    (41, 55, "bytes(8)"),
    (41, 57, "bytes(8)"),
    (41, 59, "bytes(8)"),
    (41, 75, "1"),
    (41, 76, "socket.htonl(2)"),
    (41, 78, "1"),
    // One that is longer than what programs are shown.
    (0, 4, "bytes(5000)"),
];

#[test]
fn options_that_choose_a_way_are_refused_and_all_others_work() {
    stage(|stage| {
        stage.install();
        let set = |(level, name, value): (i32, i32, &str)| {
            format!("tries(lambda: udp('[').setsockopt({level}, {name}, {value}))")
        };
        for option in KEPT_BACK {
            assert_eq!(stage.agent().root(&set(option)), "1", "{option:?}");
            assert_ne!(stage.gate().root(&set(option)), "1", "{option:?}");
        }
        let count = u64::try_from(KEPT_BACK.len()).unwrap();
        assert_eq!(stage.counted(Technique::SocketOption), count);
        // Reading a mark (SO_RCVMARK) is harmless.
        for option in
            [(1, 2, "1"), (1, 9, "1"), (1, 15, "1"), (1, 75, "1"), (0, 2, "9"), (41, 26, "1")]
        {
            assert_eq!(stage.agent().root(&set(option)), "done", "{option:?}");
        }
        // The value that the kernel's own handler gets is the caller's, however long.
        let long = "s = tcp('')
s.setsockopt(1, 9, struct.pack('i', 1) + bytes(8192))
s.setsockopt(6, 13, b'reno' + bytes(5000))
print(s.getsockopt(1, 9), s.getsockopt(6, 13, 16).rstrip(bytes(1)).decode())";
        assert_eq!(stage.agent().agent(long), "1 reno");
    });
}
