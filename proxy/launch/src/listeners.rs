//! Holds the sockets inside a run's network that the gate accepts on.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::ports::Connector;

/// Transparent intake, TCP (DESIGN §9).
pub const INTAKE_PORT: u16 = 16801;
/// The DNS responder's own port (DESIGN §9).
pub const RESPONDER_PORT: u16 = 16853;
/// The port that programs ask for names on.
pub const DNS_PORT: u16 = 53;

/// The gate's sockets inside a run. The gate owns them once it has them; they are blocking.
#[derive(Debug)]
pub struct Listeners {
    /// Redirected connections arrive here; their source is the key of their original destination.
    pub intake: Vec<TcpListener>,
    /// Questions over UDP.
    pub dns_udp: Vec<UdpSocket>,
    /// Questions over TCP.
    pub dns_tcp: Vec<TcpListener>,
    /// Ports that the run shares with its host ([`crate::Ports`]): those inside, and those of the host.
    pub shared: Vec<(u16, TcpListener)>,
    /// The way to what the command listens on, where ports of the host are shared.
    pub connector: Option<Connector>,
}

impl Listeners {
    /// Opens them in the network namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let v4 = Ipv4Addr::LOCALHOST;
        let v6 = Ipv6Addr::LOCALHOST;
        let mut open = Self {
            intake: vec![TcpListener::bind((v4, INTAKE_PORT))?],
            dns_udp: vec![UdpSocket::bind((v4, DNS_PORT))?, UdpSocket::bind((v4, RESPONDER_PORT))?],
            dns_tcp: vec![
                TcpListener::bind((v4, DNS_PORT))?,
                TcpListener::bind((v4, RESPONDER_PORT))?,
            ],
            shared: Vec::new(),
            connector: None,
        };
        match TcpListener::bind((v6, INTAKE_PORT)) {
            Ok(listener) => {
                open.intake.push(listener);
                open.dns_udp.push(UdpSocket::bind((v6, DNS_PORT))?);
                open.dns_tcp.push(TcpListener::bind((v6, DNS_PORT))?);
            }
            // A kernel without IPv6, or with it switched off: nothing can be sent by it either.
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(open)
    }

    /// All of them, to be sent to the gate.
    #[must_use]
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let tcp = self.intake.iter().chain(&self.dns_tcp).map(AsFd::as_fd);
        let shared = self.shared.iter().map(|(_, listener)| listener.as_fd());
        let connector = self.connector.iter().map(AsFd::as_fd);
        tcp.chain(self.dns_udp.iter().map(AsFd::as_fd)).chain(shared).chain(connector).collect()
    }

    /// All of them, given away.
    pub(crate) fn into_fds(self) -> Vec<OwnedFd> {
        let shared = self.shared.into_iter().map(|(_, listener)| listener);
        let tcp = self.intake.into_iter().chain(self.dns_tcp).chain(shared).map(OwnedFd::from);
        let udp = self.dns_udp.into_iter().map(OwnedFd::from);
        tcp.chain(udp).chain(self.connector.map(OwnedFd::from)).collect()
    }

    /// Recognises received descriptors by their type and port.
    ///
    /// # Errors
    /// When one is not such a socket, or there is no intake or responder among them. Which other ports may be
    /// [`Self::shared`] is for the caller to say.
    pub fn from_fds(fds: Vec<OwnedFd>) -> io::Result<Self> {
        let strange = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("not a listener of a run: {what}"))
        };
        let mut found = Self {
            intake: Vec::new(),
            dns_udp: Vec::new(),
            dns_tcp: Vec::new(),
            shared: Vec::new(),
            connector: None,
        };
        for fd in fds {
            let kind = sockopt::socket_type(&fd)?;
            if sockopt::socket_domain(&fd)? == AddressFamily::UNIX {
                if found.connector.replace(Connector::new(fd)).is_some() {
                    return Err(strange("a second connector"));
                }
                continue;
            }
            let at = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
            match (kind, at.port()) {
                (SocketType::STREAM, INTAKE_PORT) => found.intake.push(fd.into()),
                (SocketType::STREAM, DNS_PORT | RESPONDER_PORT) => found.dns_tcp.push(fd.into()),
                (SocketType::DGRAM, DNS_PORT | RESPONDER_PORT) => found.dns_udp.push(fd.into()),
                (SocketType::STREAM, port) if at.ip().is_loopback() => {
                    found.shared.push((port, fd.into()));
                }
                _ => return Err(strange(&at.to_string())),
            }
        }
        if found.intake.is_empty() || found.dns_udp.is_empty() || found.dns_tcp.is_empty() {
            return Err(strange("one kind is missing"));
        }
        Ok(found)
    }
}

pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
