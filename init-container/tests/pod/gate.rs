//! A stand-in for the gate: this test's own program, as the gate's user in the gate's cgroup. It takes what is
//! redirected to it by the kernel's own word for where that wanted to go, and relays what comes in from outside.

use std::{
    fs,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use ebpf::Pinned;
use socket2::{Domain, SockRef, Socket, Type};
use tollgate_init::{ports, probes::greeting_of};

use crate::world::{GATE, Running, World};

const FILE: &str = "TOLLGATE_TEST_POD_FILE";
const MAPS: &str = "TOLLGATE_TEST_MAPS";

/// Starts it; its lines are destinations that it dials, and what came back.
pub(crate) fn start(world: &World) -> Running {
    // Where another user can execute it.
    let program = world.folder.path().join("gate");
    if !program.exists() {
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    }
    let user = GATE.to_string();
    let mut args = vec!["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
    args.extend(["--no-new-privs", program.to_str().unwrap()]);
    args.extend(["gate::stand_in", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let mut command = world.command("gate", &args);
    command.env(FILE, world.pod_file()).env(MAPS, world.pins().join("pod/maps"));
    Running::start(command)
}

#[test]
#[ignore = "is run by the tests as the gate"]
fn stand_in() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let said: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let greeting = greeting_of(said["token"].as_str().unwrap()).line().to_owned();
    let kernel = said["mode"] == "kernel";
    let pinned = std::env::var_os(MAPS).filter(|_| kernel);
    let pinned = pinned.map(|maps| Arc::new(Pinned::open(Path::new(&maps)).unwrap()));
    // A gate without capabilities enters its own cgroup, which is there already.
    if let Some(pinned) = &pinned {
        pinned.exempt_myself().unwrap();
    }
    for at in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let (pinned, greeting) = (pinned.clone(), greeting.clone());
        serve(at, ports::INTAKE, move |stream| {
            let wanted = wanted(&stream, pinned.as_deref())?;
            let answer = if wanted.to_string() == "192.0.2.2:16801" {
                greeting.clone()
            } else {
                format!("wanted {wanted}\n")
            };
            (&stream).write_all(answer.as_bytes())
        });
    }
    for at in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        serve(at, ports::INBOUND, |stream| {
            relay(&stream, TcpStream::connect(wanted(&stream, None)?)?)
        });
        serve(at, ports::HEALTH, |stream| (&stream).write_all(b"well\n"));
    }
    println!("\nready");
    for line in io::stdin().lock().lines() {
        let mut bytes = 0;
        let dialled = line.unwrap().parse().map_err(io::Error::other).and_then(|to: SocketAddr| {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"hello")?;
            let mut buffer = vec![0; 65_536];
            // It closes first, in the middle of the answer's end: the kernel goes on without a process.
            while bytes < 1_000_000 {
                bytes += stream.read(&mut buffer)?;
            }
            Ok(())
        });
        println!("{} {bytes}", dialled.map_or_else(|error| error.to_string(), |()| "done".into()));
    }
}

fn serve(
    at: IpAddr,
    port: u16,
    answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) {
    let at = SocketAddr::new(at, port);
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    if at.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&at.into()).unwrap();
    socket.listen(64).unwrap();
    let (listener, answer) = (TcpListener::from(socket), Arc::new(answer));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
}

/// Where it wanted to go: by the pinned map, else by the kernel's address translation. Never where it arrived.
fn wanted(stream: &TcpStream, pinned: Option<&Pinned>) -> io::Result<SocketAddr> {
    let (peer, at) = (stream.peer_addr()?, stream.local_addr()?);
    if let Some(pinned) = pinned {
        return pinned
            .origin(peer, at)
            .map(|it| it.wanted)
            .ok_or_else(|| io::ErrorKind::NotFound.into());
    }
    let socket = SockRef::from(stream);
    let wanted = if at.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    wanted?.as_socket().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn relay(outside: &TcpStream, inside: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (outside.try_clone()?, inside.try_clone()?);
    let up = thread::spawn(move || {
        io::copy(&mut from, &mut to)?;
        to.shutdown(std::net::Shutdown::Write)
    });
    let (mut from, mut to) = (inside, outside.try_clone()?);
    io::copy(&mut from, &mut to)?;
    to.shutdown(std::net::Shutdown::Write)?;
    up.join().unwrap()
}
