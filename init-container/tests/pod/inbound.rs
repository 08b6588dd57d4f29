//! What reaches a pod from outside, and what it may answer.

use std::{
    io::{self, Read as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    floor::MODES,
    gate,
    world::{AGENT, POD_V4, POD_V6, WORLD_V4, World, can_run},
};

/// An application: a piece at once, another when the client has sent something, and a long end. One of its ports is at
/// the pod's own address only, so that it is not to be had at loopback.
const APPLICATION: &str = r#"
import socket, sys, threading
def answer(c):
    try:
        c.sendall(b"first\n")
        c.recv(1)
        c.sendall(b"second\n" + b"x" * 2000000)
    except OSError: pass
    c.close()
def serve(at, port):
    s = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((at, port)); s.listen(9)
    def loop():
        while 1: threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()
for port in (8080, 9090): serve("::", port)
serve("POD_V4", 8081)
print("ready", flush=True)
sys.stdin.read()
"#;

fn connect(to: &str, port: u16) -> io::Result<TcpStream> {
    let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
    let stream = TcpStream::connect_timeout(&to, Duration::from_millis(700))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// The first piece, before anything was sent, and how much follows what is sent.
fn stream(to: &str, port: u16) -> io::Result<(String, usize)> {
    let mut stream = connect(to, port)?;
    let mut first = [0; 6];
    stream.read_exact(&mut first)?;
    io::Write::write_all(&mut stream, b"!")?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    Ok((String::from_utf8(first.to_vec()).unwrap(), rest.len()))
}

#[test]
fn a_client_gets_its_streamed_answer_at_declared_ports_and_nothing_elsewhere() {
    if !can_run() {
        return;
    }
    for mode in MODES {
        let world = World::new();
        world.install(mode, &["--inbound", "8080,8081"]);
        let _application = world.python("agent", AGENT, &APPLICATION.replace("POD_V4", POD_V4));
        let _gate = gate::start(&world);
        for (host, port) in [(POD_V4, 8080), (POD_V6, 8080), (POD_V4, 8081)] {
            let got = world.within("world", || stream(host, port));
            let got = got.unwrap_or_else(|error| panic!("{mode} {host} {port}: {error}"));
            assert_eq!(got, ("first\n".to_owned(), 2_000_007), "{mode} {host} {port}");
        }
        for host in [POD_V4, POD_V6] {
            let health = world.within("world", || {
                let mut said = String::new();
                connect(host, 16815)?.read_to_string(&mut said)?;
                io::Result::Ok(said)
            });
            let health = health.unwrap_or_else(|error| panic!("{mode} {host}: {error}"));
            assert_eq!(health, "well\n", "{mode} {host}");
        }
        // The last of the connections above may still be saying good-bye.
        let settled = (0..50).any(|_| {
            let before = world.frames();
            std::thread::sleep(Duration::from_millis(60));
            world.frames() == before
        });
        assert!(settled, "{mode}: frames without end");
        let before = world.frames();
        for (host, port) in [
            (POD_V4, 9090),
            (POD_V6, 9090),
            (POD_V4, 16801),
            (POD_V4, 16802),
            (POD_V4, 16806),
            (POD_V6, 16806),
        ] {
            let got = world.within("world", || connect(host, port).map(drop));
            assert_eq!(got.unwrap_err().kind(), io::ErrorKind::TimedOut, "{mode} {host} {port}");
        }
        assert_eq!(world.frames(), before, "{mode}: not even a refusal leaves");
    }
}

#[test]
fn the_gates_counts_are_read_by_those_that_were_named_alone() {
    if !can_run() {
        return;
    }
    for mode in MODES {
        let world = World::new();
        world.install(mode, &["--health-from", &format!("{WORLD_V4},fd00:dead::/32")]);
        let _gate = gate::start(&world);
        let asked = |host: &str| {
            world.within("world", || {
                let mut said = String::new();
                connect(host, 16815)?.read_to_string(&mut said)?;
                io::Result::Ok(said)
            })
        };
        assert_eq!(asked(POD_V4).unwrap(), "well\n", "{mode}");
        let before = world.frames();
        assert_eq!(asked(POD_V6).unwrap_err().kind(), io::ErrorKind::TimedOut, "{mode}");
        assert_eq!(world.frames(), before, "{mode}");
    }
}

/// Accepts one connection, and writes to it what it is told to, itself.
const WRITER: &str = r#"
import socket, sys
s = socket.socket(); s.bind(("0.0.0.0", 9091)); s.listen(9)
print("ready", flush=True)
c = s.accept()[0]
for line in sys.stdin:
    try: print(c.send(line.encode()), flush=True)
    except OSError as e: print(e, flush=True)
"#;

#[test]
fn what_an_agent_answers_on_a_connection_older_than_the_floor_does_not_leave() {
    if !can_run() {
        return;
    }
    for mode in MODES {
        let world = World::new();
        let mut writer = world.python("agent", AGENT, WRITER);
        let mut client = world.within("world", || connect(POD_V4, 9091).unwrap());
        let mut got = [0; 7];
        writer.ask("before");
        client.read_exact(&mut got).unwrap();
        world.install(mode, &[]);
        let before = world.frames();
        writer.ask("secret");
        client.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
        assert!(client.read(&mut got).is_err(), "{mode}");
        assert_eq!(world.frames(), before, "{mode}");
    }
}
