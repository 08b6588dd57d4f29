//! Holds the sockets inside a run's network that the gate accepts on.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{SocketType, sockopt};

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
        tcp.chain(self.dns_udp.iter().map(AsFd::as_fd)).collect()
    }

    /// All of them, given away.
    pub(crate) fn into_fds(self) -> Vec<OwnedFd> {
        let tcp = self.intake.into_iter().chain(self.dns_tcp).map(OwnedFd::from);
        tcp.chain(self.dns_udp.into_iter().map(OwnedFd::from)).collect()
    }

    /// Recognises received descriptors by their type and port.
    ///
    /// # Errors
    /// When one is not such a socket, or there is no intake or responder among them.
    pub fn from_fds(fds: Vec<OwnedFd>) -> io::Result<Self> {
        let strange = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("not a listener of a run: {what}"))
        };
        let mut found = Self { intake: Vec::new(), dns_udp: Vec::new(), dns_tcp: Vec::new() };
        for fd in fds {
            let kind = sockopt::socket_type(&fd)?;
            let at = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
            match (kind, at.port()) {
                (SocketType::STREAM, INTAKE_PORT) => found.intake.push(fd.into()),
                (SocketType::STREAM, DNS_PORT | RESPONDER_PORT) => found.dns_tcp.push(fd.into()),
                (SocketType::DGRAM, DNS_PORT | RESPONDER_PORT) => found.dns_udp.push(fd.into()),
                _ => return Err(strange(&at.to_string())),
            }
        }
        if found.intake.is_empty() || found.dns_udp.is_empty() || found.dns_tcp.is_empty() {
            return Err(strange("one kind is missing"));
        }
        Ok(found)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
