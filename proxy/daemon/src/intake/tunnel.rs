//! A connection that goes to one place: what its client says first decides how it is read.

use std::sync::Arc;
use std::time::Duration;

use decide::case::Scheme;
use decide::policy::{Access, Contract};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

use super::{Connection, distrust, serve, serve_with, unless_ending};
use crate::answer::body::AnswerBody;
use crate::exchange::{self, Unanswered, settle};
use crate::listen::hello::{self, Hello, Limits, Opening, Replay};
use crate::listen::mint::MintError;
use crate::metrics::Distrust;
use crate::opaque;
use crate::route::{Route, named_as, normal};
use crate::subject::Subject;

/// How long a client may take over its half of the TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Where a connection was going when it came to the gate.
#[derive(Debug, Clone)]
pub(crate) struct Going {
    /// The name that was asked for; `None` where only the address is known.
    pub(crate) named: Option<String>,
    /// What stands for the destination where neither this nor the client's TLS names it: its address.
    pub(crate) literal: String,
    /// The port.
    pub(crate) port: u16,
    /// Where only the address is known, each request in clear says by its Host where it goes.
    pub(crate) by_host: bool,
}

impl Going {
    fn host(&self) -> &str {
        self.named.as_ref().unwrap_or(&self.literal)
    }
}

/// A connection whose requests can be read.
enum Begun<S> {
    /// By its Host, at this port.
    ByHost(u16, Replay<S>),
    Clear(Arc<Route>, Replay<S>),
    Tls {
        route: Arc<Route>,
        h2: bool,
        stream: Box<Replay<TlsStream<S>>>,
    },
}

/// Carries one connection. What its beginning needed is freed before the first request is read.
pub(crate) async fn carry<S>(connection: Arc<Connection>, stream: S, going: Going)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match Box::pin(begin(&connection, stream, going)).await {
        Some(Begun::ByHost(port, stream)) => {
            let at = Arc::clone(&connection);
            let ask = move |request| by_host(Arc::clone(&connection), port, request);
            Box::pin(serve_with(&at, ask, stream, false)).await;
        }
        Some(Begun::Clear(route, stream)) => {
            Box::pin(serve(connection, route, stream, false)).await;
        }
        Some(Begun::Tls { route, h2, stream }) => {
            Box::pin(serve(connection, route, stream, h2)).await;
        }
        None => {}
    }
}

async fn begin<S>(connection: &Arc<Connection>, stream: S, going: Going) -> Option<Begun<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let subject = connection.subject();
    let route = |scheme| {
        let host = going.host().to_owned();
        let provider = subject.terms.holdings.provider_of(&host);
        Arc::new(Route::new(host, going.port, scheme, provider))
    };
    if is_opaque(subject.terms.contract(), going.host(), going.port) {
        let route = route(Scheme::Opaque);
        opaque::carry(Arc::clone(connection), subject, route, stream).await;
        return None;
    }
    let opened = unless_ending(&connection.gate, hello::open(stream, Limits::default())).await?;
    match opened {
        Ok(Opening::Tls(hello)) => return tls(connection, subject, *hello, going).await,
        Ok(Opening::Http(stream)) => {
            return Some(match going {
                Going { named: None, by_host: true, port, .. } => Begun::ByHost(port, stream),
                Going { .. } => Begun::Clear(route(Scheme::Http), stream),
            });
        }
        Ok(Opening::Http2(stream) | Opening::Other(stream)) => {
            let route = route(Scheme::Opaque);
            opaque::carry(Arc::clone(connection), subject, route, stream).await;
        }
        Ok(Opening::Silent(stream)) => {
            let route = route(Scheme::Opaque);
            opaque::carry(Arc::clone(connection), subject, route, stream).await;
        }
        Ok(Opening::Closed) => {}
        Err(error) => {
            let host = going.host();
            tracing::info!(%error, host, "a connection's beginning cannot be read");
        }
    }
    None
}

/// A request in clear that goes where its own Host says.
async fn by_host(
    connection: Arc<Connection>,
    port: u16,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    // One that names nothing, or another port, goes nowhere.
    let (host, agrees) = match host.and_then(named_as) {
        Some((host, named)) => (host, named.unwrap_or(80) == port),
        None => (String::new(), false),
    };
    let provider = connection.subject().terms.holdings.provider_of(&host);
    let route = Route { agrees, ..Route::new(host, port, Scheme::Http, provider) };
    exchange::serve(connection, Arc::new(route), request).await
}

fn is_opaque(contract: Option<&Contract>, host: &str, port: u16) -> bool {
    contract.is_some_and(|contract| {
        contract.grants(host, port).any(|grant| grant.access == Access::Opaque)
    })
}

async fn tls<S>(
    connection: &Arc<Connection>,
    subject: Subject,
    hello: Hello<S>,
    going: Going,
) -> Option<Begun<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Going { named, literal, port, .. } = going;
    let host = hello.sni().map(|sni| normal(&sni)).or_else(|| named.clone()).unwrap_or(literal);
    let provider = subject.terms.holdings.provider_of(&host);
    let agrees = named.is_none_or(|named| named == host);
    let route = Route { agrees, ..Route::new(host, port, Scheme::Https, provider) };
    if let Some(refusal) = connection.refusal(&subject, &route) {
        let intake = Some(connection.intake(&route));
        settle::refuse_connection(&connection.gate, &subject, &route, intake, refusal).await;
        // The client may be gone already.
        drop(hello.refuse(hello::Refusal::AccessDenied).await);
        return None;
    }
    let gate = &connection.gate;
    let now = gate.clock.now();
    let may_mint = || subject.run.may_mint(now);
    let config = match gate.leaves.server_config_within(&route.host, now, may_mint) {
        Ok(config) => config,
        Err(error) => {
            if let MintError::TooMany = error {
                gate.metrics.certificates.unminted.inc();
            }
            let (agent, host) = (&subject.run.agent, &route.host);
            tracing::error!(%error, agent, host, "no certificate can be made");
            drop(hello.refuse(hello::Refusal::Unavailable).await);
            return None;
        }
    };
    let stream = match hello.accept(config, HANDSHAKE_WITHIN).await {
        Ok(stream) => stream,
        Err(error) => {
            if let Some(how) = distrust::of(&error) {
                distrust::tell(connection, &subject, &route, how);
            } else {
                let host = &route.host;
                tracing::info!(%error, host, "a client's TLS handshake failed");
            }
            return None;
        }
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let Some(stream) = distrust::unless_closed(stream).await else {
        distrust::tell(connection, &subject, &route, Distrust::Closed);
        return None;
    };
    Some(Begun::Tls { route: Arc::new(route), h2, stream: Box::new(stream) })
}
