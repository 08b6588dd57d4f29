//! Connections past the ways that lead to the gate.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{PATIENCE, Seen};
use crate::net::Network;

pub(super) fn v6(_: &Network) -> Seen {
    let Ok(to) = "[2001:db8::9]:9".parse() else { return Seen::Nothing("no address") };
    connect(to, None)
}

/// A socket that is bound to an interface is routed there whatever its destination becomes.
pub(super) fn on_interface(network: &Network) -> Seen {
    let Some(interface) = network.interfaces.first() else {
        return Seen::Nothing("there is no interface");
    };
    let Ok(to) = "192.0.2.9:9".parse() else { return Seen::Nothing("no address") };
    connect(to, Some(interface.name()))
}

pub(super) fn connect(to: SocketAddr, interface: Option<&str>) -> Seen {
    let socket = match Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => socket,
        Err(error) => return Seen::no_socket(error),
    };
    if let Some(interface) = interface
        && let Err(error) = socket.bind_device(Some(interface.as_bytes()))
    {
        return Seen::Refused(error);
    }
    match socket.connect_timeout(&SockAddr::from(to), PATIENCE) {
        Ok(()) => Seen::Connected,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Seen::Silent,
        Err(error) => Seen::Refused(error),
    }
}
