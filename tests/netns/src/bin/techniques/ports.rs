//! The gate's own ports, by every address that means this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use netns::attempt::{At as _, Attempt, Met, Stop};
use netns::gate;
use netns::sys::{self, Address};

const PATIENCE: Duration = Duration::from_millis(500);

/// Tries each port of the gate; the first that is not refused with EPERM is what is told.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let ip = address(attempt)?;
    if attempt.says("steal") {
        return steal(attempt, ip);
    }
    let mut refused: Option<Stop> = None;
    for port in &attempt.site.gate_ports {
        let at = SocketAddr::new(ip, *port);
        match one(attempt, at) {
            Ok(()) => return Ok(Some(format!("{at} is open"))),
            Err(stop) if stop.error.raw_os_error() == Some(libc::EPERM) => refused = Some(stop),
            // One that nobody listens on may be left for the next, when another port can still be open.
            Err(stop) if refused.is_none() => refused = Some(stop),
            Err(stop) => return Err(stop),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Listens in the gate's place, and connects to the world as another program of the pod would.
fn steal(attempt: &Attempt, ip: IpAddr) -> Met {
    let listener = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).at("socket")?;
    let at = SocketAddr::new(ip, gate::INTAKE);
    // Connections of the gate's are still closing there.
    let reuse = sys::set_number(listener.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    reuse.at("SO_REUSEADDR")?;
    sys::bind(listener.as_fd(), &Address::inet(at, 0)).at("bind")?;
    sys::listen(listener.as_fd()).at("listen")?;
    let victim = TcpStream::connect_timeout(&attempt.to(false), PATIENCE).map_err(named);
    victim.at("connect")?;
    let came = sys::wait(listener.as_fd(), libc::POLLIN, 0).at("poll")?;
    Ok(came.then(|| "the connection of another".to_owned()))
}

/// The library's own word for a time that ran out, as the kernel would say it.
fn named(error: io::Error) -> io::Error {
    let late = error.kind() == io::ErrorKind::TimedOut;
    if late { io::Error::from_raw_os_error(libc::ETIMEDOUT) } else { error }
}

fn one(attempt: &Attempt, at: SocketAddr) -> Result<(), Stop> {
    let family = if at.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let udp = attempt.says("udp");
    let kind = if udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let socket: OwnedFd = sys::socket(family, kind, 0).at("socket")?;
    let fd = socket.as_fd();
    let to = Address::inet(at, 0);
    if attempt.says("reuse") {
        sys::set_number(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).at("SO_REUSEPORT")?;
    }
    if attempt.says("bind") {
        return sys::bind(fd, &to).at("bind");
    }
    if attempt.says("sendto") {
        return sys::send_to(fd, attempt.marker.as_bytes(), 0, Some(&to)).at("sendto").map(drop);
    }
    sys::connect(fd, &to).at("connect")
}

fn address(attempt: &Attempt) -> Result<IpAddr, Stop> {
    let (v4, v6) = attempt.site.pod;
    let known: [(&str, IpAddr); 9] = [
        ("127.0.0.1", Ipv4Addr::LOCALHOST.into()),
        ("127.1.2.3", Ipv4Addr::new(127, 1, 2, 3).into()),
        ("0.0.0.0", Ipv4Addr::UNSPECIFIED.into()),
        ("::1", Ipv6Addr::LOCALHOST.into()),
        ("::", Ipv6Addr::UNSPECIFIED.into()),
        ("mapped", Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()),
        ("mapped-any", Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into()),
        ("pod4", v4.into()),
        ("pod6", v6.into()),
    ];
    let found = known.iter().find(|(word, _)| attempt.says(word)).map(|(_, ip)| *ip);
    let unsaid = || io::Error::other("the words say no address");
    found.ok_or_else(|| Stop { step: "begin".to_owned(), error: unsaid() })
}
