//! An upstream is dialled at the addresses that were judged, and over TLS only as the name that was judged.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::paced::Paced;

/// How long connecting and the TLS handshake may take together.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long one address may take while there is another to try.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Bytes the kernel may hold unsent: what is cut must not still be on its way.
const UNSENT: u32 = 16 * 1024;
/// A peer that is gone is noticed after this much silence and three unanswered probes.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// Time between probes.
const PROBE: Duration = Duration::from_secs(10);

/// What is wrong with an upstream's certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// No trusted authority issued it.
    #[error(
        "it was issued by nobody that this machine trusts; if that is right, give the issuer with --upstream-ca PEM"
    )]
    UnknownIssuer,
    /// It is for other names.
    #[error("it is for {0}; check the host name, or where --connect-to leads")]
    WrongName(String),
    /// Its time is over.
    #[error("it has expired; check this machine's clock, or tell the upstream's operator")]
    Expired,
    /// Its time has not begun.
    #[error("it is not valid yet; check this machine's clock")]
    NotYetValid,
    /// Anything else that verification found.
    #[error("it cannot be verified ({0}); tell the upstream's operator")]
    Unverifiable(String),
}

/// Why there is no connection. Nothing of a request has been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there.
    #[error(
        "{host} ({address}) refuses connections: check that it runs and that the port is right"
    )]
    Refused {
        /// The name dialled.
        host: String,
        /// The last address tried.
        address: SocketAddr,
    },
    /// No route, or the connection broke.
    #[error("{host} ({address}) cannot be reached: {why}")]
    Unreachable {
        /// The name dialled.
        host: String,
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// It took too long.
    #[error("{host} ({address}) did not take a connection within {deadline} s", deadline = DEADLINE.as_secs())]
    Timeout {
        /// The name dialled.
        host: String,
        /// The last address tried.
        address: SocketAddr,
    },
    /// The certificate is wrong.
    #[error("{host} showed a certificate that is not accepted: {fault}")]
    Certificate {
        /// The name dialled.
        host: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// TLS failed otherwise.
    #[error("no TLS with {host}: {why}")]
    Tls {
        /// The name dialled.
        host: String,
        /// What failed.
        why: String,
    },
    /// There is nothing to dial.
    #[error("{0} has no address that can be dialled")]
    Nowhere(String),
}

/// A connection made.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) stream: Stream,
    /// The address it leads to.
    pub(super) peer: SocketAddr,
}

/// Its bytes.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Paced<TcpStream>),
    Tls(Box<TlsStream<Paced<TcpStream>>>),
}

impl Stream {
    /// Whether HTTP/2 was agreed.
    pub(super) fn is_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// Dials upstreams. Clones share the TLS configuration and its sessions.
#[derive(Debug, Clone)]
pub struct Connector {
    tls: Arc<ClientConfig>,
}

impl Connector {
    /// Trusts what this machine trusts, or where it trusts nothing the roots of Mozilla, and `more` besides.
    ///
    /// # Errors
    ///
    /// One of `more` is no certificate of an authority.
    pub fn new(more: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for certificate in more {
            roots.add(certificate.clone())?;
        }
        Self::trusting(roots)
    }

    /// Trusts `roots` and nothing else.
    ///
    /// # Errors
    ///
    /// The TLS library supports none of the versions asked for.
    pub fn trusting(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Connects to the first of `addresses` that answers, as `host` over TLS where `secure`.
    pub(super) async fn dial(
        &self,
        host: &str,
        addresses: &[SocketAddr],
        secure: bool,
    ) -> Result<Dialled, ConnectError> {
        let deadline = Instant::now() + DEADLINE;
        let (stream, peer) = reach(host, addresses, deadline).await?;
        if !secure {
            return Ok(Dialled { stream: Stream::Plain(stream), peer });
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|invalid| ConnectError::Tls {
            host: host.to_owned(),
            why: invalid.to_string(),
        })?;
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        match timeout_at(deadline, handshake).await {
            Ok(Ok(tls)) => Ok(Dialled { stream: Stream::Tls(Box::new(tls)), peer }),
            Ok(Err(error)) => Err(tls_fault(host, &error)),
            Err(_elapsed) => Err(ConnectError::Timeout { host: host.to_owned(), address: peer }),
        }
    }
}

/// The certificates of a PEM file given with `--upstream-ca`.
///
/// # Errors
///
/// What is wrong with the text, in words for the user.
pub fn read_authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot be read as PEM ({error})"))?;
    if certificates.is_empty() {
        return Err("holds no certificate (no BEGIN CERTIFICATE line)".to_owned());
    }
    Ok(certificates)
}

async fn reach(
    host: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<(Paced<TcpStream>, SocketAddr), ConnectError> {
    let mut last = ConnectError::Nowhere(host.to_owned());
    let mut left = addresses.iter().copied().peekable();
    while let Some(address) = left.next() {
        let until =
            if left.peek().is_some() { deadline.min(Instant::now() + ATTEMPT) } else { deadline };
        last = match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match tune(&stream) {
                Ok(()) => return Ok((Paced::new(stream), address)),
                Err(error) => unreachable(host, address, &error),
            },
            Ok(Err(error)) => unreachable(host, address, &error),
            Err(_elapsed) => ConnectError::Timeout { host: host.to_owned(), address },
        };
    }
    Err(last)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE).with_retries(3),
    )
}

fn unreachable(host: &str, address: SocketAddr, error: &io::Error) -> ConnectError {
    let host = host.to_owned();
    if error.kind() == io::ErrorKind::ConnectionRefused {
        ConnectError::Refused { host, address }
    } else if error.kind() == io::ErrorKind::TimedOut {
        ConnectError::Timeout { host, address }
    } else {
        ConnectError::Unreachable { host, address, why: error.to_string() }
    }
}

fn tls_fault(host: &str, error: &io::Error) -> ConnectError {
    let host = host.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(fault)) => {
            ConnectError::Certificate { host, fault: certificate_fault(fault) }
        }
        Some(other) => ConnectError::Tls { host, why: other.to_string() },
        None => ConnectError::Tls { host, why: error.to_string() },
    }
}

fn certificate_fault(fault: &CertificateError) -> CertificateFault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open: what it adds later is told in its own words"
    )]
    match fault {
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName => CertificateFault::WrongName("other names".to_owned()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            CertificateFault::WrongName(if presented.is_empty() {
                "no name".to_owned()
            } else {
                presented.join(", ")
            })
        }
        other => CertificateFault::Unverifiable(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
