//! The rules of `docs/deploy/routed.md` in network namespaces: agents, a router with the gate, and the outside.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/deploy/routed.md");
/// Whom the rules for a host's own traffic govern, in place of `agent`, who need not exist here.
const AGENT: u32 = 4242;

const PROBE: &str = r#"
import socket, sys, os
uid, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
kind = socket.SOCK_DGRAM if port == 53 else socket.SOCK_STREAM
if uid:
    os.setuid(uid)
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
s.settimeout(2)
try:
    s.connect((host, port))
    s.send(b"?")
    print(s.recv(512).decode(), "from", s.getpeername()[0])
except OSError as error:
    print("error", error.errno or type(error).__name__)
"#;

/// Three namespaces in a row; gone at the end.
struct Row {
    name: String,
}

impl Row {
    /// `agents (10.7.0.2) — lan0 (10.7.0.1) router wan0 (10.8.0.1) — outside (10.8.0.2, 192.0.2.1)`, and IPv6 alike.
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let row = Self { name: format!("tg{}-{nth}", std::process::id()) };
        for end in ["agents", "router", "outside"] {
            ip(&format!("netns add {}", row.end(end)));
            // An address under duplicate detection, which the kernel's own have a second long, answers
            // no neighbour.
            let at_once =
                ["-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0"];
            row.run(end, "sysctl", &at_once);
            row.ip(end, "link set lo up");
        }
        for (end, own, other) in [("agents", "lan0", "10.7.0"), ("outside", "wan0", "10.8.0")] {
            let (v6, far) = (other.replace('.', ":"), row.end(end));
            row.ip("router", &format!("link add {own} type veth peer name eth0 netns {far}"));
            row.ip("router", &format!("addr add {other}.1/24 dev {own}"));
            row.ip("router", &format!("addr add fd00:{v6}::1/64 dev {own} nodad"));
            row.ip("router", &format!("link set {own} up"));
            row.ip(end, &format!("addr add {other}.2/24 dev eth0"));
            row.ip(end, &format!("addr add fd00:{v6}::2/64 dev eth0 nodad"));
            row.ip(end, "link set eth0 up");
            row.ip(end, &format!("route add default via {other}.1"));
            row.ip(end, &format!("-6 route add default via fd00:{v6}::1"));
        }
        row.ip("outside", "addr add 192.0.2.1/32 dev lo");
        row.ip("outside", "addr add 2001:db8::1/128 dev lo nodad");
        row.ip("router", "route add default via 10.8.0.2");
        row.ip("router", "-6 route add default via fd00:10:8:0::2");
        row.run(
            "router",
            "sysctl",
            &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"],
        );
        for at in ["192.0.2.1:80", "[2001:db8::1]:80", "192.0.2.1:16804"] {
            row.within("outside", || {
                serve(TcpListener::bind(at).unwrap(), |_| "the outside".to_owned());
            });
        }
        for at in ["192.0.2.1:53", "[2001:db8::1]:53"] {
            row.within("outside", || answer(UdpSocket::bind(at).unwrap()));
        }
        row
    }

    fn end(&self, end: &str) -> String {
        format!("{}-{end}", self.name)
    }

    fn ip(&self, end: &str, command: &str) {
        ip(&format!("-n {} {command}", self.end(end)));
    }

    fn run(&self, end: &str, program: &str, arguments: &[&str]) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.end(end), program]).args(arguments);
        assert!(command.status().unwrap().success(), "{program} {arguments:?}");
    }

    /// Does `work` on a thread inside.
    fn within<T: Send>(&self, end: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/var/run/netns/{}", self.end(end))).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    fn probe(&self, end: &str, uid: u32, host: &str, port: u16) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.end(end), "python3", "-c", PROBE])
            .args([&uid.to_string(), host, &port.to_string()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The gate's two listeners in the router, which say where each connection wanted to go.
    fn gate(&self, at: [&str; 2]) {
        let own: Vec<SocketAddr> = at.iter().map(|at| at.parse().unwrap()).collect();
        for at in own.clone() {
            let own = Own::new(own.clone());
            self.within("router", move || {
                let listener = open(at).unwrap();
                listener.set_nonblocking(false).unwrap();
                serve(listener, move |stream| match own.destination(stream.local_addr()) {
                    Ok(wanted) => format!("the gate for {wanted}"),
                    Err(refused) => refused.to_string(),
                });
            });
        }
    }

    /// The document's commands for routes, and its table of this name.
    fn rules(&self, table: &str) {
        let document = fs::read_to_string(DOCUMENT).unwrap();
        let blocks = |kind: &str| -> Vec<String> {
            let begin = format!("```{kind}\n");
            let all = document.split(&begin).skip(1);
            all.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
        };
        self.run("router", "sh", &["-ec", &blocks("sh")[0]]);
        let rules = blocks("nft").into_iter().find(|block| block.contains(table)).unwrap();
        let rules = rules.replace("\"agent\"", &AGENT.to_string());
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.end("router"), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        for end in ["agents", "router", "outside"] {
            ip(&format!("netns del {}", self.end(end)));
        }
    }
}

fn ip(command: &str) {
    assert!(
        Command::new("ip").args(command.split(' ')).status().unwrap().success(),
        "ip {command}"
    );
}

fn serve(listener: TcpListener, says: impl Fn(&TcpStream) -> String + Send + 'static) {
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let said = says(&stream);
            if stream.read_exact(&mut [0]).is_ok() {
                stream.write_all(said.as_bytes()).unwrap();
            }
        }
    });
}

fn answer(socket: UdpSocket) {
    thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 9]) {
            socket.send_to(b"the outside", from).unwrap();
        }
    });
}

#[expect(clippy::print_stderr, reason = "a test that did not run must not pass silently")]
fn row() -> Option<Row> {
    if nix::unistd::geteuid().is_root() {
        return Some(Row::new());
    }
    eprintln!("NOT TESTED: needs root");
    None
}

#[test]
fn what_a_router_is_sent_arrives_with_its_destination() {
    let Some(row) = row() else { return };
    row.gate(["127.0.0.1:16804", "[::1]:16804"]);
    for host in ["192.0.2.1", "2001:db8::1"] {
        // The control: without the rules it goes where it wanted.
        for port in [80, 53] {
            let said = row.probe("agents", 0, host, port);
            assert_eq!(said, format!("the outside from {host}"), "{port}");
        }
    }
    row.rules("tollgate_routed");
    for (host, port, wanted) in [
        ("192.0.2.1", 80, "192.0.2.1:80"),
        ("192.0.2.1", 16804, "192.0.2.1:16804"),
        ("203.0.113.9", 8443, "203.0.113.9:8443"),
        ("2001:db8::1", 80, "[2001:db8::1]:80"),
        ("::ffff:192.0.2.1", 80, "192.0.2.1:80"),
    ] {
        let said = row.probe("agents", 0, host, port);
        assert_eq!(said, format!("the gate for {wanted} from {host}"));
    }
    // A loopback listener is not reached by who knows its port, and what is not TCP ends at the router.
    assert_eq!(row.probe("agents", 0, "10.7.0.1", 16804), "error 111");
    for host in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(row.probe("agents", 0, host, 53), "error TimeoutError", "{host}");
    }
    // The router's own connections are its own.
    assert_eq!(row.probe("router", 0, "192.0.2.1", 80), "the outside from 192.0.2.1");
}

#[test]
fn what_a_user_of_this_host_sends_arrives_and_nobody_elses() {
    let Some(row) = row() else { return };
    row.gate(["127.0.0.1:16804", "[::1]:16804"]);
    assert_eq!(row.probe("router", AGENT, "192.0.2.1", 80), "the outside from 192.0.2.1");
    row.rules("tollgate_own");
    for (host, wanted) in [("192.0.2.1", "192.0.2.1:80"), ("2001:db8::1", "[2001:db8::1]:80")] {
        let said = row.probe("router", AGENT, host, 80);
        assert_eq!(said, format!("the gate for {wanted} from {host}"));
        for port in [80, 53] {
            let said = row.probe("router", 0, host, port);
            assert_eq!(said, format!("the outside from {host}"), "{port}");
        }
        let dropped = row.probe("router", AGENT, host, 53);
        assert!(dropped.starts_with("error"), "{dropped}");
    }
}

#[test]
fn a_connection_to_the_gate_itself_has_no_destination() {
    let Some(row) = row() else { return };
    row.gate(["0.0.0.0:16804", "[::]:16804"]);
    for host in ["10.7.0.1", "fd00:10:7:0::1"] {
        let said = row.probe("agents", 0, host, 16804);
        assert!(said.contains("is this gate's own address"), "{host}: {said}");
    }
}

#[test]
fn while_the_gate_is_down_nothing_goes_direct() {
    for (table, end, uid) in [("tollgate_routed", "agents", 0), ("tollgate_own", "router", AGENT)] {
        let Some(row) = row() else { return };
        row.rules(table);
        for host in ["192.0.2.1", "2001:db8::1"] {
            let said = row.probe(end, uid, host, 80);
            assert!(said.starts_with("error"), "{table}, {host}: {said}");
        }
    }
}

#[test]
fn only_the_gates_own_ports_at_its_own_addresses_are_its_own() {
    let own = Own::new(vec!["0.0.0.0:16804".parse().unwrap(), "127.0.0.1:16801".parse().unwrap()]);
    for (local, is_own) in [
        ("127.0.0.1:16801", true),
        ("[::ffff:127.0.0.1]:16801", true),
        ("127.0.0.2:16801", false),
        ("127.9.9.9:16804", true),
        ("192.0.2.77:16804", false),
        ("127.0.0.1:443", false),
    ] {
        let said = own.destination(Ok(local.parse().unwrap()));
        assert_eq!(said.is_err(), is_own, "{local}: {said:?}");
    }
}

#[test]
fn without_the_capability_the_refusal_says_what_to_do() {
    let Some(_) = row() else { return };
    thread::spawn(|| {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        set_capabilities(None, sets).unwrap();
        let error = open("127.0.0.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, RoutedError::Privilege(_)));
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    })
    .join()
    .unwrap();
}
