//! Connections that a route table or a firewall sends here (TPROXY): the address they arrive at is where they wanted
//! to go.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why routed connections cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum RoutedError {
    /// The process may not take connections to addresses that are not its own.
    #[error(
        "listening for routed connections at {0} is not permitted: give the gate CAP_NET_ADMIN (as root it has it; in \
         a unit: AmbientCapabilities=CAP_NET_ADMIN), or leave listen.routed out"
    )]
    Privilege(SocketAddr),
    /// The system's refusal.
    #[error("listening for routed connections at {at}: {source}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a connection has no destination; it must be closed.
#[derive(Debug, thiserror::Error)]
pub enum NotRouted {
    /// It was not sent here but came by itself, or was sent to a port that is the gate's own: carried on, it would
    /// come back.
    #[error("{0} is this gate's own address: nothing was routed, or it would be carried in a loop")]
    Own(SocketAddr),
    /// It is gone already.
    #[error("a routed connection ended before it began: {0}")]
    Gone(#[from] io::Error),
}

/// Opens the listener at `at`, IPv4 or IPv6 alone. Not blocking.
///
/// On a loopback address it is reached by what is routed to it only (`tproxy ip to 127.0.0.1:PORT`); otherwise who
/// connects to it directly is refused by [`Own::destination`].
///
/// # Errors
/// When the privilege is missing, or the address cannot be listened at.
pub fn open(at: SocketAddr) -> Result<TcpListener, RoutedError> {
    let listen = |source| RoutedError::Listen { at, source };
    let socket =
        Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP)).map_err(listen)?;
    let transparent = match at {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => {
            socket.set_only_v6(true).and_then(|()| socket.set_ip_transparent_v6(true))
        }
    };
    transparent.map_err(|source| {
        if source.kind() == io::ErrorKind::PermissionDenied {
            RoutedError::Privilege(at)
        } else {
            listen(source)
        }
    })?;
    socket.set_reuse_address(true).map_err(listen)?;
    socket.set_nonblocking(true).map_err(listen)?;
    socket.bind(&at.into()).map_err(listen)?;
    socket.listen(BACKLOG).map_err(listen)?;
    Ok(socket.into())
}

/// Where this gate listens, with all its listeners.
#[derive(Debug, Clone, Default)]
pub struct Own(Vec<SocketAddr>);

impl Own {
    /// A gate that listens at `all`; an unspecified address stands for all of the host's.
    #[must_use]
    pub fn new(all: Vec<SocketAddr>) -> Self {
        Self(all)
    }

    /// Where a connection wanted to go that a listener of [`open`] accepted and whose local address is `local`.
    ///
    /// # Errors
    /// When that is the gate itself, or the connection is gone.
    pub fn destination(&self, local: io::Result<SocketAddr>) -> Result<SocketAddr, NotRouted> {
        let local = local?;
        let wanted = SocketAddr::new(local.ip().to_canonical(), local.port());
        if self.0.iter().any(|own| is_at(*own, wanted)) {
            Err(NotRouted::Own(wanted))
        } else {
            Ok(wanted)
        }
    }
}

fn is_at(own: SocketAddr, wanted: SocketAddr) -> bool {
    let ip = own.ip().to_canonical();
    own.port() == wanted.port()
        && (ip == wanted.ip() || (ip.is_unspecified() && is_of_this_host(wanted.ip())))
}

/// Whether a socket can be bound to the address. Where the system lets sockets be bound to any
/// (`net.ipv4.ip_nonlocal_bind`), each counts as this host's: at the gate's own ports that is a refusal.
fn is_of_this_host(ip: IpAddr) -> bool {
    // A link-local address cannot be bound without its interface, and is nobody else's to route.
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    link_local || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests;
