//! One redirected connection: where it was going, whether it may go there, and what it speaks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::request::Parts;
use arc_swap::ArcSwapOption;
use decide::case::{Destination, Scheme};
use decide::policy::{Access, Contract, Mode};
use decide::{Reason, Refusal, RuleId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use wire::Provider;

use crate::exchange;
use crate::gate::Gate;
use crate::listen::hello::{self, Hello, Limits, Opening, Replay};
use crate::listen::http;
use crate::opaque;
use crate::run::Run;
use crate::upstream::resolve::Resolved;

/// How long a client may take over its half of the TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// One connection of an agent, and where it is going.
#[derive(Debug)]
pub struct Connection {
    pub(crate) gate: Arc<Gate>,
    pub(crate) run: Arc<Run>,
    pub(crate) host: String,
    /// The same, shared with the pool.
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    pub(crate) scheme: Scheme,
    pub(crate) provider: Option<Provider>,
    /// The name in the handshake and the address asked for mean the same host.
    pub(crate) agrees: bool,
    /// The addresses that the name stands for, once it was judged and looked up.
    pub(crate) resolved: ArcSwapOption<Resolved>,
    /// Breaks the connection.
    pub(crate) reset: CancellationToken,
}

impl Connection {
    /// Whether the request's Host or `:authority` names this connection's destination.
    pub(crate) fn is_meant_by(&self, head: &Parts) -> bool {
        // Whatever a tunnel is asked to, it is not where this connection goes.
        if head.method == ::http::Method::CONNECT {
            return false;
        }
        let host = head.headers.get(::http::header::HOST).and_then(|host| host.to_str().ok());
        let authority = head.uri.authority().map(::http::uri::Authority::as_str);
        match (authority, host) {
            (Some(authority), Some(host)) => self.is(authority) && self.is(host),
            (Some(one), None) | (None, Some(one)) => self.is(one),
            (None, None) => false,
        }
    }

    fn is(&self, named: &str) -> bool {
        let Ok(authority) = named.parse::<::http::uri::Authority>() else { return false };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port().map(|port| port.as_u16());
        !named.contains('@')
            && normal(host) == self.host
            && port.is_none_or(|port| port == self.port)
    }
}

/// Whether a connection of this scheme is one to a host at which the gate holds `credential`. A real
/// key is for who proves to be that host: in clear nobody does, and everybody on the way reads it.
pub(crate) const fn is_fit(scheme: Scheme, credential: Option<&str>) -> bool {
    match scheme {
        Scheme::Https | Scheme::Opaque => true,
        Scheme::Http => credential.is_none(),
    }
}

/// A host name in the form in which contracts and facts write it.
pub(crate) fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Accepts redirected connections until the run is over.
pub(crate) async fn accept(gate: Arc<Gate>, run: Arc<Run>, listener: TcpListener) {
    loop {
        let accepting = async {
            // Never closed: the run holds it.
            let room = Arc::clone(&run.connections).acquire_owned().await.ok();
            listener.accept().await.map(|accepted| (accepted, room))
        };
        let accepted = tokio::select! {
            biased;
            () = run.over.cancelled() => return,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok(((stream, peer), room)) => {
                let (gate, run) = (Arc::clone(&gate), Arc::clone(&run));
                let tasks = run.tasks.clone();
                tasks.spawn(async move {
                    let over = run.over.clone();
                    tokio::select! {
                        biased;
                        () = over.cancelled() => {}
                        () = one(gate, run, stream, peer) => {}
                    }
                    drop(room);
                });
            }
            // Descriptors are used up: the connection waits in the backlog until some are free.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Where a connection was going, as the kernel kept it: a name that the responder gave an address
/// for, or the bare address.
struct Going {
    asked: SocketAddr,
    named: Option<String>,
}

/// A connection whose requests can be read.
enum Begun {
    Clear(Arc<Connection>, Replay<TcpStream>),
    Tls(Arc<Connection>, Box<TlsStream<TcpStream>>),
}

/// One connection. What its beginning needed is freed before the first request is read.
async fn one(gate: Arc<Gate>, run: Arc<Run>, stream: TcpStream, peer: SocketAddr) {
    match Box::pin(begin(gate, run, stream, peer)).await {
        Some(Begun::Clear(connection, stream)) => Box::pin(serve(connection, stream, false)).await,
        Some(Begun::Tls(connection, stream)) => {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Box::pin(serve(connection, stream, h2)).await;
        }
        None => {}
    }
}

async fn begin(
    gate: Arc<Gate>,
    run: Arc<Run>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Begun> {
    let Some(asked) = run.enforcement.original_dst(peer) else {
        gate.metrics.strays.inc();
        return None;
    };
    // A request and its answer are whole messages: nothing is gained by waiting for more to send.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return None;
    }
    let named = match asked.ip().to_canonical() {
        IpAddr::V4(v4) => run.names.name_of(v4).map(|name| name.to_string()),
        IpAddr::V6(_) => None,
    };
    let going = Going { asked, named };
    let host = going.named.clone().unwrap_or_else(|| asked.ip().to_canonical().to_string());
    if is_opaque(run.contract(), &host, asked.port()) {
        let connection = Connection::to(gate, run, host, asked.port(), Scheme::Opaque, true);
        opaque::carry(connection, stream).await;
        return None;
    }
    match hello::open(stream, Limits::default()).await {
        Ok(Opening::Tls(hello)) => return tls(gate, run, *hello, going).await,
        Ok(Opening::Http(stream)) => {
            let connection = Connection::to(gate, run, host, asked.port(), Scheme::Http, true);
            return Some(Begun::Clear(connection, stream));
        }
        Ok(Opening::Http2(stream) | Opening::Other(stream)) => {
            let connection = Connection::to(gate, run, host, asked.port(), Scheme::Opaque, true);
            opaque::carry(connection, stream).await;
        }
        Ok(Opening::Silent(stream)) => {
            let connection = Connection::to(gate, run, host, asked.port(), Scheme::Opaque, true);
            opaque::carry(connection, stream).await;
        }
        Ok(Opening::Closed) => {}
        Err(error) => tracing::info!(%error, host, "a connection's beginning cannot be read"),
    }
    None
}

fn is_opaque(contract: Option<&Contract>, host: &str, port: u16) -> bool {
    contract.is_some_and(|contract| {
        contract.grants(host, port).any(|grant| grant.access == Access::Opaque)
    })
}

async fn tls(
    gate: Arc<Gate>,
    run: Arc<Run>,
    hello: Hello<TcpStream>,
    going: Going,
) -> Option<Begun> {
    let port = going.asked.port();
    let literal = || going.asked.ip().to_canonical().to_string();
    let host =
        hello.sni().map(|sni| normal(&sni)).or_else(|| going.named.clone()).unwrap_or_else(literal);
    let agrees = going.named.as_ref().is_none_or(|named| *named == host);
    let connection = Connection::to(gate, run, host, port, Scheme::Https, agrees);
    if let Some(refusal) = connection.refusal() {
        exchange::settle::refuse_connection(&connection, refusal).await;
        // The client may be gone already.
        drop(hello.refuse(hello::Refusal::AccessDenied).await);
        return None;
    }
    let config =
        match connection.gate.leaves.server_config(&connection.host, connection.gate.clock.now()) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, host = connection.host, "no certificate can be made");
                drop(hello.refuse(hello::Refusal::Unavailable).await);
                return None;
            }
        };
    match hello.accept(config, HANDSHAKE_WITHIN).await {
        Ok(stream) => Some(Begun::Tls(connection, Box::new(stream))),
        Err(error) => {
            tracing::info!(%error, host = connection.host, "a client does not accept the gate's certificate");
            None
        }
    }
}

async fn serve<S>(connection: Arc<Connection>, stream: S, h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = Arc::clone(&connection.name);
    let reset = connection.reset.clone();
    let service = |request, framed| exchange::serve(Arc::clone(&connection), request, framed);
    let limits = http::Limits::default();
    let served = http::serve(stream, h2, Some(Arc::clone(&name)), limits, service);
    tokio::select! {
        biased;
        () = reset.cancelled() => {}
        served = served => if let Err(error) = served {
            tracing::debug!(%error, host = &*name, "a connection ended");
        }
    }
}

impl Connection {
    /// A connection whose name was refused before there was a socket for it.
    pub(crate) fn refused(gate: Arc<Gate>, run: Arc<Run>, host: String, port: u16) -> Arc<Self> {
        Self::to(gate, run, host, port, Scheme::Https, true)
    }

    /// Where it goes, as the chain judges it.
    pub(crate) fn fact(&self, meant: bool) -> Destination {
        let credential = self.run.credential_for(&self.host);
        Destination {
            host: self.host.clone(),
            port: self.port,
            scheme: self.scheme,
            agrees: self.agrees && meant && is_fit(self.scheme, credential.as_deref()),
            credential,
        }
    }

    fn to(
        gate: Arc<Gate>,
        run: Arc<Run>,
        host: String,
        port: u16,
        scheme: Scheme,
        agrees: bool,
    ) -> Arc<Self> {
        let provider = wire::provider_of(&host);
        let resolved = ArcSwapOption::empty();
        let reset = CancellationToken::new();
        let name = host.as_str().into();
        Arc::new(Self { gate, run, host, name, port, scheme, provider, agrees, resolved, reset })
    }

    /// Why no request can be read on this connection, from the name alone: nothing was asked of
    /// the network for it, and no certificate was made.
    fn refusal(&self) -> Option<Refusal> {
        let destination = |reason| Some(Refusal { rule: RuleId("filtering/destination"), reason });
        if !self.agrees {
            return destination(Reason::DestinationsDisagree(self.host.clone()));
        }
        let admitted = self.run.admits(&self.host, self.port) || self.run.mode == Mode::Observe;
        (!admitted).then(|| Reason::DestinationNotAllowed(self.destination())).and_then(destination)
    }

    /// The destination as a contract would write it.
    pub(crate) fn destination(&self) -> String {
        match self.port {
            443 | 80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_credential_is_not_spoken_to_in_clear() {
        assert!(!is_fit(Scheme::Http, Some("openai")));
        assert!(is_fit(Scheme::Https, Some("openai")));
        assert!(is_fit(Scheme::Http, None));
    }
}
