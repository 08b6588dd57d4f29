//! Plays the gate in its container: takes what the kernel leads to it and asks where that wanted to go.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use ebpf::Pinned;
use netns::attempt::Report;
use netns::gate::{INTAKE, MAPS, PORTS, RESPONDER, TRANSLATED, Tell, Told};
use netns::run::EVERYWHERE;
use netns::topology::POD;
use socket2::SockRef;

/// The maps of the programs, where there are some.
static KERNEL: OnceLock<Pinned> = OnceLock::new();
/// Whether the kernel's address translation led here, where no programs did.
static LED: OnceLock<()> = OnceLock::new();
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "stub-gate: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    if let Some(maps) = std::env::args_os().skip_while(|argument| argument != MAPS).nth(1) {
        let pinned = Pinned::open(Path::new(&maps)).map_err(io::Error::other)?;
        // Before anything is opened: only sockets made afterwards bear the mark.
        pinned.exempt_myself().map_err(io::Error::other)?;
        drop(KERNEL.set(pinned));
    }
    if std::env::args().any(|argument| argument == TRANSLATED) {
        LED.get_or_init(|| ());
    }
    let mut at = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    if std::env::args().any(|argument| argument == EVERYWHERE) {
        let (v4, v6) = POD;
        at.extend([Ipv4Addr::new(127, 1, 2, 3).into(), IpAddr::V4(v4), IpAddr::V6(v6)]);
    }
    for ip in at {
        for port in PORTS {
            let listener = TcpListener::bind((ip, port))?;
            std::thread::spawn(move || take(&listener, port));
        }
        let responder = UdpSocket::bind((ip, RESPONDER))?;
        std::thread::spawn(move || respond(&responder));
    }
    say(&Told::Ready)?;
    for line in io::stdin().lock().lines() {
        let Tell::Dial { to, marker } = serde_json::from_str(&line?)?;
        say(&Told::Dialled(dial(to, &marker)))?;
    }
    Ok(())
}

fn say(told: &Told) -> io::Result<()> {
    let line = serde_json::to_string(told)? + "\n";
    io::stdout().write_all(line.as_bytes())
}

/// Each connection on a thread of its own, so that one that stays open holds up none.
fn take(listener: &TcpListener, port: u16) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        std::thread::spawn(move || drop(greet(connection, port)));
    }
}

fn greet(mut connection: TcpStream, port: u16) -> io::Result<()> {
    let wanted = origin(&connection)?;
    say(&Told::Took { port, wanted })?;
    connection.set_read_timeout(Some(PATIENCE))?;
    match (port, wanted) {
        (RESPONDER, _) => connection.write_all(b"responder\n")?,
        (INTAKE, None) => return Ok(()),
        (INTAKE, Some(_)) => connection.write_all(b"gate\n")?,
        _ => connection.write_all(b"port\n")?,
    }
    // Read until the end, because closing over unread bytes would reset what was said.
    io::copy(&mut connection.take(1 << 20), &mut io::sink()).map(drop)
}

/// Every question is answered with one word.
fn respond(socket: &UdpSocket) {
    let mut question = [0; 2048];
    while let Ok((_, from)) = socket.recv_from(&mut question) {
        if say(&Told::Took { port: RESPONDER, wanted: None }).is_err() {
            return;
        }
        drop(socket.send_to(b"responder", from));
    }
}

fn dial(to: SocketAddr, marker: &str) -> Report {
    let met = TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut connection| {
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.write_all(marker.as_bytes())?;
        // To the end of both directions, so that no packet of it is still under way when it is told.
        connection.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer.trim().to_owned())
    });
    match met {
        Ok(answer) => Report { answer: Some(answer), ..Report::default() },
        Err(error) => {
            let error = Some(error.to_string());
            Report { step: "dial".to_owned(), error, answer: None }
        }
    }
}

/// Where the connection wanted to go, as the kernel's programs know it, or its address translation.
fn origin(connection: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let (peer, at) = (connection.peer_addr()?, connection.local_addr()?);
    if let Some(kernel) = KERNEL.get() {
        return Ok(kernel.origin(peer, at).map(|origin| origin.wanted));
    }
    let socket = SockRef::from(connection);
    let translated =
        || if at.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let wanted = LED.get().and_then(|()| translated().ok()?.as_socket());
    // Of a connection that nobody translated it says where that arrived.
    Ok(wanted.filter(|wanted| *wanted != at))
}
