//! What leaves a pod in each mode, counted on the far side.

use std::{io::Write as _, net::TcpListener, thread, time::Duration};

use crate::{
    gate,
    world::{AGENT, DEFAULT, WORLD_V4, WORLD_V6, World, can_run},
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
for to in (V4, V6):
    family = socket.AF_INET if to is V4 else socket.AF_INET6
    def f():
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.sendmsg([b"secret"], [(socket.SOL_SOCKET, 36, MARK)], 0, to)
    attempt(f)
"#;

fn attempt(world: &World, user: &[&str]) -> u64 {
    let script = ATTEMPTS.replace("WORLD_V4", WORLD_V4).replace("WORLD_V6", WORLD_V6);
    let before = world.frames();
    let mut args = user.to_vec();
    args.extend(["/usr/bin/python3", "-c", &script]);
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
    let world = World::new();
    let (open_user, open_root) = (attempt(&world, &user), attempt(&world, &root));
    // As many as there are kinds that need no capability, and kinds that do.
    assert!(open_user >= 12 && open_root > open_user + 8, "{open_user} {open_root}");
    for mode in MODES {
        world.install(mode, &[]);
        assert_eq!(attempt(&world, &user), 0, "{mode} as a user");
        assert_eq!(attempt(&world, &root), 0, "{mode} as root");
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
                stream.write_all(&vec![7; 1_000_000]).unwrap();
                stream
            });
            assert_eq!(gate.ask(&to.to_string()), "done 1000000", "{mode} {at}");
            // The gate has closed; when this end does too, the last word is the gate's kernel's.
            drop(server.join().unwrap());
            let closed = (0..40).any(|_| {
                thread::sleep(Duration::from_millis(50));
                world.within("world", || !last_ack(to.port()))
            });
            assert!(closed, "{mode} {at}: the world waits for the end of a connection");
        }
    }
}

/// Whether a connection of this port waits for the last acknowledgement (state 9 of `/proc/net/tcp`).
fn last_ack(port: u16) -> bool {
    let port = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|file| {
        let list = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
        list.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|own| own.ends_with(&port)) && fields.nth(1) == Some("09")
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
