//! The gate's own ports, by every address that means this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use netns::attempt::{At as _, Attempt, Met, Stop};
use netns::sys::{self, Address};

/// Tries each port of the gate; the first that is not refused with EPERM is what is told.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let ip = address(attempt)?;
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
