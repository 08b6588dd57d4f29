//! Ports that the agent opens for somebody in the world to come and fetch what must not leave.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

use netns::attempt::{At as _, Attempt, Met};
use netns::container::CHANNEL;
use netns::sys::{self, Address};

/// How long it waits for somebody, in milliseconds.
const PATIENCE: i32 = 350;

/// Opens a port on the pod's address, says so on the channel, and answers the first who comes with the marker.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let channel = sys::close_on_exec(CHANNEL).at("channel")?;
    let (v4, v6) = attempt.site.pod;
    let is_v6 = attempt.says("v6");
    let ip = if is_v6 { IpAddr::V6(v6) } else { IpAddr::V4(v4) };
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    let is_udp = attempt.says("udp");
    let kind = if is_udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let socket = sys::socket(family, kind, 0).at("socket")?;
    let opened = !attempt.says("closed");
    if opened {
        let at = SocketAddr::new(ip, attempt.port);
        sys::bind(socket.as_fd(), &Address::inet(at, 0)).at("bind")?;
    }
    if opened && !is_udp {
        sys::listen(socket.as_fd()).at("listen")?;
    }
    sys::send_to(channel.as_fd(), b"r", 0, None).at("channel")?;
    if !opened || !sys::wait(socket.as_fd(), libc::POLLIN, PATIENCE).at("poll")? {
        return Ok(None);
    }
    let marker = attempt.marker.as_bytes();
    if is_udp {
        let (_, from) = sys::receive_from(socket.as_fd()).at("recvfrom")?;
        sys::send_to(socket.as_fd(), marker, 0, Some(&from)).at("sendto")?;
    } else {
        let connection = sys::accept(socket.as_fd()).at("accept")?;
        sys::send_to(connection.as_fd(), marker, 0, None).at("send")?;
    }
    Ok(None)
}
