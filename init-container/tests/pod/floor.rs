//! What leaves a pod in each mode, counted on the far side.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use crate::{
    gate,
    world::{AGENT, DEFAULT, GATE, WORLD_V4, WORLD_V6, World, can_run},
};

pub(crate) const MODES: [&str; 3] = ["kernel", "nft-cgroup", "nft-user"];

/// Sends in as many ways as it is given the means for, and never waits long for an answer.
const ATTEMPTS: &str = r#"
import socket, struct
V4, V6 = ("WORLD_V4", 7), ("WORLD_V6", 7)
MARK = struct.pack("I", 0x50524f58)
def attempt(f):
    try: f()
    except OSError: pass
def datagram(family, to, protocol=0, connected=False, options=(), kind=socket.SOCK_DGRAM, data=b"secret"):
    def f():
        s = socket.socket(family, kind, protocol)
        for option in options: s.setsockopt(*option)
        if connected: s.connect(to); s.send(data)
        else: s.sendto(data, to)
    attempt(f)
def connect(family, to, options=()):
    def f():
        s = socket.socket(family, socket.SOCK_STREAM)
        for option in options: s.setsockopt(*option)
        s.settimeout(0.2)
        s.connect(to)
        s.send(b"secret")
        s.recv(1)
    attempt(f)
for family, to in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
    for connected in (False, True):
        datagram(family, to, connected=connected)
        datagram(family, to, protocol=136, connected=connected)
        datagram(family, to, connected=connected, options=[(socket.SOL_SOCKET, 25, b"eth0")])
        datagram(family, to, connected=connected, options=[(socket.SOL_SOCKET, 36, MARK)])
    connect(family, to, [(socket.SOL_SOCKET, 25, b"eth0")])
    connect(family, to, [(socket.SOL_SOCKET, 36, MARK)])
    datagram(family, to[:1] + (0,), protocol=253, kind=socket.SOCK_RAW)
connect(socket.AF_INET, ("127.0.0.1", 7), [(socket.SOL_SOCKET, 25, b"eth0")])
datagram(socket.AF_INET, V4, protocol=1, data=b"\x08\0\xf7\xff\0\0\0\0")
datagram(socket.AF_INET6, V6, protocol=58, data=b"\x80\0\0\0\0\0\0\0")
datagram(socket.AF_INET6, V6[:1] + (0,), protocol=58, kind=socket.SOCK_RAW, data=b"\x88\0\0\0" + b"secret" * 4)
for to in (V4, V6):
    family = socket.AF_INET if to is V4 else socket.AF_INET6
    def f():
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.sendmsg([b"secret"], [(socket.SOL_SOCKET, 36, MARK)], 0, to)
    attempt(f)
import sys
if "plain" in sys.argv: sys.exit()
FRAME = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5" + b"secret"
ARP = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x00" + b"secret"
for frame in (FRAME, ARP):
    for options in ((), ((263, 20, 1),)):
        for control in ((), [(socket.SOL_SOCKET, 36, MARK)]):
            def f():
                s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                for option in options: s.setsockopt(*option)
                s.bind(("eth0", 0))
                s.sendmsg([frame], control)
            attempt(f)
"#;

/// How many frames arrive of what `user` sends; of protocols only, where it says so.
fn attempt(world: &World, user: &[&str], kinds: &str) -> u64 {
    let script = ATTEMPTS.replace("WORLD_V4", WORLD_V4).replace("WORLD_V6", WORLD_V6);
    let before = world.frames();
    let mut args = user.to_vec();
    args.extend(["/usr/bin/python3", "-c", &script, kinds]);
    let (code, _, complaint) = world.pod("agent", &args);
    assert_eq!(code, 0, "{complaint}");
    world.frames() - before
}

#[test]
fn nothing_that_an_agent_sends_arrives_in_any_mode() {
    if !can_run() {
        return;
    }
    let agent = AGENT.to_string();
    let user =
        ["setpriv", "--reuid", &agent, "--regid", &agent, "--clear-groups", "--no-new-privs"];
    let root = ["setpriv", "--bounding-set", DEFAULT, "--no-new-privs"];
    // Who became the gate's user and sets its mark is not the gate, but by a packet socket, for which admission takes
    // the capability.
    let gate = GATE.to_string();
    let impostor =
        ["setpriv", "--reuid", &gate, "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"];
    let world = World::new();
    let (open_user, open_root) = (attempt(&world, &user, "all"), attempt(&world, &root, "all"));
    // As many as there are kinds that need no capability, and kinds that do.
    assert!(open_user >= 12 && open_root > open_user + 8, "{open_user} {open_root}");
    for mode in MODES {
        world.install(mode, &[]);
        assert_eq!(attempt(&world, &user, "all"), 0, "{mode} as a user");
        assert_eq!(attempt(&world, &root, "all"), 0, "{mode} as root");
        if mode != "nft-user" {
            assert_eq!(attempt(&world, &impostor, "plain"), 0, "{mode} as the gate's user");
        }
    }
}

#[test]
fn the_gate_dials_out_and_its_connections_end_in_order_in_every_mode() {
    if !can_run() {
        return;
    }
    for mode in MODES {
        let world = World::new();
        world.install(mode, &[]);
        let mut gate = gate::start(&world);
        for at in [WORLD_V4, WORLD_V6] {
            let listener = world.within("world", || TcpListener::bind((at, 0)).unwrap());
            let to = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                // What is read before it closes, or it would close by a reset.
                stream.read_exact(&mut [0; 5]).unwrap();
                stream.write_all(&vec![7; 1_000_000]).unwrap();
                stream
            });
            assert_eq!(gate.ask(&to.to_string()), "done 1000000", "{mode} {at}");
            // The gate has closed, and its kernel goes on without a socket (FIN-WAIT-2). When this end closes too, the
            // last word is that kernel's; until it is heard this end waits for it (LAST-ACK).
            let stream = server.join().unwrap();
            assert!(comes(|| world.within("pod", || is_in("05", to.port()))), "{mode} {at}");
            drop(stream);
            let ended = comes(|| world.within("world", || !is_in("09", to.port())));
            assert!(ended, "{mode} {at}: the world waits for the end of a connection");
        }
    }
}

fn comes(what: impl Fn() -> bool) -> bool {
    (0..40).any(|_| {
        thread::sleep(Duration::from_millis(50));
        what()
    })
}

/// Whether a connection from or to this port is in a state of `/proc/net/tcp`.
fn is_in(state: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|file| {
        let list = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
        list.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1..3].iter().any(|end| end.ends_with(&port)) && fields[3] == state
        })
    })
}

#[test]
fn every_connection_is_led_to_the_gate_with_its_destination_in_every_mode() {
    if !can_run() {
        return;
    }
    let script = "import socket,sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
print(s.makefile().readline(), end='')";
    let agent = AGENT.to_string();
    for mode in MODES {
        let world = World::new();
        world.install(mode, &[]);
        let _gate = gate::start(&world);
        for (host, port, wanted) in [
            ("198.51.100.7", "443", "198.51.100.7:443"),
            ("2001:db8:5::7", "443", "[2001:db8:5::7]:443"),
            ("::ffff:198.51.100.8", "80", "198.51.100.8:80"),
        ] {
            let args = [
                "setpriv",
                "--reuid",
                &agent,
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                script,
                host,
                port,
            ];
            let (_, said, complaint) = world.pod("agent", &args);
            assert_eq!(said, format!("wanted {wanted}\n"), "{mode} {complaint}");
        }
    }
}

/// What `check` says was dropped of this user's.
fn refused(world: &World, user: u32) -> Vec<(u64, String, u64, u64)> {
    let (_, said, complaint) = world.init("check", &[]);
    assert!(!said.is_empty(), "{complaint}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |one: &serde_json::Value, field: &str| one[field].as_u64().unwrap();
    let all = report["refused"].as_array().unwrap().iter();
    let own = all.filter(|one| of(one, "uid") == u64::from(user));
    own.map(|one| {
        let to = one["destination"].as_str().unwrap().to_owned();
        (of(one, "protocol"), to, of(one, "port"), of(one, "packets"))
    })
    .collect()
}

#[test]
fn what_the_floor_drops_is_told_by_user_protocol_and_destination_where_no_programs_tell_it() {
    if !can_run() {
        return;
    }
    let tries = format!(
        "import socket
for host, family in (('{WORLD_V4}', socket.AF_INET), ('{WORLD_V6}', socket.AF_INET6)):
    for port in (443, 443, 443, 53535):
        try: socket.socket(family, socket.SOCK_DGRAM).sendto(b'secret', (host, port))
        except OSError: pass
try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 253).sendto(b'secret', ('{WORLD_V4}', 0))
except OSError: pass"
    );
    let agent = AGENT.to_string();
    let by = ["setpriv", "--reuid", &agent, "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"];
    for mode in MODES {
        let world = World::new();
        world.install(mode, &[]);
        assert_eq!(refused(&world, AGENT), []);
        let all = [&by[..], &["/usr/bin/python3", "-c", &tries]].concat();
        assert_eq!(world.pod("agent", &all).0, 0);
        let told = refused(&world, AGENT);
        if mode == "kernel" {
            assert_eq!(told, [], "programs tell it");
            continue;
        }
        let (v4, v6) = (WORLD_V4.to_owned(), WORLD_V6.to_owned());
        let expected = [
            (17, v4.clone(), 443, 3),
            (17, v4.clone(), 53535, 1),
            (17, v6.clone(), 443, 3),
            (17, v6, 53535, 1),
            (253, v4, 0, 1),
        ];
        assert_eq!(told, expected, "{mode}");
    }
}
