//! Datagrams of every kind that needs no connection.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::Seen;
use crate::net::Network;

/// The discard port; each address is of a documentation network.
const V4: &str = "192.0.2.9:9";
const V6: &str = "[2001:db8::9]:9";

/// The sockets of UDP-Lite (RFC 3828).
const UDPLITE: i32 = 136;
/// For experiments (RFC 3692).
const EXPERIMENT: i32 = 253;

/// Echo requests of both families, with room for the checksum that the kernel fills in.
const ECHO_V4: [u8; 8] = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
const ECHO_V6: [u8; 8] = [128, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn udp_v4(_: &Network) -> Seen {
    send(Domain::IPV4, Type::DGRAM, Protocol::UDP, V4, b"probe", false)
}

pub(super) fn udp_v6(_: &Network) -> Seen {
    send(Domain::IPV6, Type::DGRAM, Protocol::UDP, V6, b"probe", false)
}

pub(super) fn udp_v4_connected(_: &Network) -> Seen {
    send(Domain::IPV4, Type::DGRAM, Protocol::UDP, V4, b"probe", true)
}

/// Connected: a send to an address would meet a hook that the connect does not.
pub(super) fn udplite_v4(_: &Network) -> Seen {
    send(Domain::IPV4, Type::DGRAM, Protocol::from(UDPLITE), V4, b"probe", true)
}

pub(super) fn udplite_v6(_: &Network) -> Seen {
    send(Domain::IPV6, Type::DGRAM, Protocol::from(UDPLITE), V6, b"probe", true)
}

/// Not connected: a connect would meet a hook that the send does not.
pub(super) fn ping_v4(_: &Network) -> Seen {
    send(Domain::IPV4, Type::DGRAM, Protocol::ICMPV4, V4, &ECHO_V4, false)
}

pub(super) fn ping_v6(_: &Network) -> Seen {
    send(Domain::IPV6, Type::DGRAM, Protocol::ICMPV6, V6, &ECHO_V6, false)
}

pub(super) fn raw_v4(_: &Network) -> Seen {
    send(Domain::IPV4, Type::RAW, Protocol::from(EXPERIMENT), V4, b"probe", false)
}

pub(super) fn raw_v6(_: &Network) -> Seen {
    send(Domain::IPV6, Type::RAW, Protocol::from(EXPERIMENT), V6, b"probe", false)
}

fn send(
    domain: Domain,
    kind: Type,
    protocol: Protocol,
    to: &str,
    bytes: &[u8],
    connected: bool,
) -> Seen {
    let socket = match Socket::new(domain, kind, Some(protocol)) {
        Ok(socket) => socket,
        Err(error) => return Seen::no_socket(error),
    };
    match try_send(&socket, to, bytes, connected) {
        Ok(()) => Seen::Sent,
        Err(error) => Seen::Refused(error),
    }
}

fn try_send(socket: &Socket, to: &str, bytes: &[u8], connected: bool) -> io::Result<()> {
    let mut to: SocketAddr = to.parse().map_err(io::Error::other)?;
    if socket.r#type()? == Type::RAW {
        // A raw socket takes a port for its protocol.
        to.set_port(0);
    }
    if connected {
        socket.connect(&to.into())?;
        socket.send(bytes)?;
    } else {
        socket.send_to(bytes, &to.into())?;
    }
    Ok(())
}
