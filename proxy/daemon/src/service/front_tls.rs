//! TLS of the port that agents are told of: its certificate, and whose client certificates it takes.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ebpf::sockets::Transport;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;

use super::ServeError;
use crate::attached::Attachments;
use crate::config::{Listen, Tls};
use crate::gate::Gate;
use crate::intake::front::{self, Front};
use crate::intake::peer::Peer;
use crate::intake::strangers::Stranger;
use crate::intake::unless_ending;
use crate::listen::hello::{self, Limits, Opening, Replay};
use crate::paced::Paced;
use crate::upstream::connect::read_authorities;

/// How long a client may take over its half of the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// How the port is spoken to.
#[derive(Debug)]
pub(super) struct FrontTls {
    config: ArcSwapOption<ServerConfig>,
    /// Whether it is spoken to in clear too.
    plain: bool,
}

/// A connection whose requests can be read.
enum Begun {
    Tls { stream: Box<TlsStream<Paced<TcpStream>>>, h2: bool, certificates: Vec<String> },
    Clear { stream: Replay<Paced<TcpStream>>, h2: bool },
}

/// As the configuration says.
pub(super) fn of(listen: &Listen) -> Result<Arc<FrontTls>, ServeError> {
    let config = listen.tls.as_ref().map(read).transpose()?.map(Arc::new);
    let loopback = listen.proxy.iter().all(|at| at.ip().is_loopback());
    let plain = listen.plain || loopback;
    Ok(Arc::new(FrontTls { config: ArcSwapOption::new(config), plain }))
}

impl FrontTls {
    /// Reads certificate and key again; connections that are open keep theirs.
    pub(super) fn reload(&self, listen: &Listen) -> Result<(), ServeError> {
        if let Some(tls) = &listen.tls {
            self.config.store(Some(Arc::new(read(tls)?)));
        }
        Ok(())
    }

    /// Serves one connection to the port.
    pub(super) async fn one(
        &self,
        front: Arc<Front>,
        attachments: &Attachments,
        stream: TcpStream,
        (peer, stranger): (SocketAddr, Stranger),
    ) {
        // A program in an attached control group may ask the proxy itself; it is the same agent.
        let near = stream.local_addr().ok();
        let member = near.and_then(|at| attachments.asker(Transport::Tcp, peer, at));
        let cgroup = member.map(|member| member.cgroup.to_string());
        let peer = Peer { cgroup, ..Peer::at(peer.ip()) };
        // What the beginning needs is freed before the first request is read.
        match Box::pin(self.begin(&front.gate, stream, peer.address)).await {
            Some(Begun::Tls { stream, h2, certificates }) => {
                let peer = Peer { certificates, ..peer };
                Box::pin(front::one(front, stream, (peer, stranger), h2)).await;
            }
            Some(Begun::Clear { stream, h2 }) => {
                Box::pin(front::one(front, stream, (peer, stranger), h2)).await;
            }
            None => {}
        }
    }

    /// The connection once its requests can be read; `None` where it comes to none.
    async fn begin(&self, gate: &Gate, stream: TcpStream, peer: IpAddr) -> Option<Begun> {
        let beginning = hello::open(Paced::new(stream), Limits::default());
        match unless_ending(gate, beginning).await? {
            Ok(Opening::Tls(hello)) => {
                let Some(config) = self.config.load_full() else {
                    drop(hello.refuse(hello::Refusal::Unavailable).await);
                    return None;
                };
                let handshake = hello.accept(config, HANDSHAKE_WITHIN);
                match unless_ending(gate, handshake).await? {
                    Ok(stream) => {
                        let (_, session) = stream.get_ref();
                        let h2 = session.alpn_protocol() == Some(b"h2");
                        let certificates = names(session.peer_certificates());
                        Some(Begun::Tls { h2, certificates, stream: Box::new(stream) })
                    }
                    Err(error) => {
                        tracing::info!(%error, "a handshake with a client failed");
                        None
                    }
                }
            }
            Ok(Opening::Http(stream)) if self.plain => Some(Begun::Clear { stream, h2: false }),
            Ok(Opening::Http2(stream)) if self.plain => Some(Begun::Clear { stream, h2: true }),
            Ok(Opening::Http(_) | Opening::Http2(_)) => {
                tracing::info!(%peer, "a client spoke in clear to a port with TLS");
                None
            }
            Ok(Opening::Other(_) | Opening::Silent(_) | Opening::Closed) => None,
            Err(error) => {
                tracing::info!(%error, "a connection's beginning cannot be read");
                None
            }
        }
    }
}

/// The names (DNS and URI) in the client's own certificate, which the handshake has verified.
fn names(chain: Option<&[CertificateDer<'_>]>) -> Vec<String> {
    let Some(own) = chain.and_then(<[_]>::first) else { return Vec::new() };
    let Ok((_, own)) = x509_parser::parse_x509_certificate(own) else { return Vec::new() };
    let Ok(Some(names)) = own.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| {
        let (GeneralName::DNSName(name) | GeneralName::URI(name)) = name else { return None };
        Some((*name).to_owned())
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn read(tls: &Tls) -> Result<ServerConfig, ServeError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes("listen.tls.cert", &tls.cert)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault("listen.tls.cert", &tls.cert, &error))?;
    let key = zeroize::Zeroizing::new(bytes("listen.tls.key", &tls.key)?);
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| fault("listen.tls.key", &tls.key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("listen.tls", &tls.cert, &error))?;
    let config = match &tls.client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let all = read_authorities(&bytes("listen.tls.client_ca", path)?)
                .map_err(|why| fault("listen.tls.client_ca", path, &why))?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(all);
            // A client without a certificate may still have a key; one with a bad certificate is refused.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| fault("listen.tls.client_ca", path, &error))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config
        .with_single_cert(chain, key)
        .map_err(|error| fault("listen.tls.key", &tls.key, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn bytes(path: &str, file: &Path) -> Result<Vec<u8>, ServeError> {
    std::fs::read(file).map_err(|error| fault(path, file, &error))
}

fn fault(path: &str, file: &Path, error: &dyn std::fmt::Display) -> ServeError {
    ServeError::Named { path: path.to_owned(), why: format!("{}: {error}", file.display()) }
}
