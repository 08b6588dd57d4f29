//! The port that agents are told of: an explicit proxy (CONNECT, absolute form) and a gateway (a path
//! for each provider).

mod gateway;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use decide::case::Scheme;
use decide::{Refusal, Setting};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::Told;
use zeroize::Zeroizing;

use super::peer::Peer;
use super::strangers::Stranger;
use super::tunnel::{self, Going};
use super::{Callers, Connection, Far, serve_with};
use crate::agents::Agents;
use crate::answer::body::AnswerBody;
use crate::clock;
use crate::exchange::{self, Unanswered, settle};
use crate::gate::Gate;
use crate::keys::Owner;
use crate::listen::strict::Framed;
use crate::metrics::Intake;
use crate::route::{Route, named_as};
use crate::subject::Subject;

pub(crate) use gateway::Gateway;

/// What the port needs to serve.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) gate: Arc<Gate>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) gateway: Gateway,
}

/// Serves one connection, in clear or after its TLS.
pub(crate) async fn one<S>(
    front: Arc<Front>,
    stream: S,
    (peer, stranger): (Peer, Stranger),
    h2: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let far = Far { agents: Arc::clone(&front.agents), peer, key: None, stranger };
    let connection =
        Connection::of(Arc::clone(&front.gate), Callers::Peer(far.clone()), Intake::Gateway);
    let at = Arc::clone(&connection);
    let caller = Arc::new(Caller { front, connection, far });
    let ask = move |request| ask(Arc::clone(&caller), request);
    serve_with(&at, ask, stream, h2).await;
}

/// One connection to the port.
struct Caller {
    front: Arc<Front>,
    connection: Arc<Connection>,
    far: Far,
}

async fn ask(
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    if request.method() == Method::CONNECT {
        return Box::pin(tunnel(&caller, request)).await;
    }
    // Over HTTP/2 every request names a scheme, also one to the gateway.
    let absolute = request.uri().scheme().is_some() && request.version() < http::Version::HTTP_2;
    if absolute { forward(&caller, request).await } else { through(&caller, request).await }
}

/// A request to a path of the gateway.
async fn through(
    caller: &Caller,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let Some((route, rest)) = caller.front.gateway.route(request.uri().path()) else {
        return Ok(caller.front.gateway.nowhere());
    };
    let rest = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let Some(uri) = origin_form(&rest) else { return Ok(caller.front.gateway.nowhere()) };
    *request.uri_mut() = uri;
    // Its own name is nothing to the provider, who is sent the name of the route.
    request.headers_mut().remove(header::HOST);
    exchange::serve(Arc::clone(&caller.connection), route, request).await
}

/// A request whose target is a whole URL.
async fn forward(
    caller: &Caller,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let proxied = asked_with(&caller.front.gate, request.headers_mut());
    let route = absolute(caller, request.uri(), request.headers());
    let Some((route, origin)) = route else { return Ok(caller.front.gateway.nowhere()) };
    *request.uri_mut() = origin;
    let connection = match proxied {
        Asked::Nothing => Arc::clone(&caller.connection),
        Asked::Key(key) => {
            let far = Far { key: Some(key), ..caller.far.clone() };
            Connection::of(Arc::clone(&caller.front.gate), Callers::Peer(far), Intake::Absolute)
        }
        Asked::Unknown => return Box::pin(unauthenticated(caller, &route)).await,
    };
    exchange::serve(connection, Arc::new(route), request).await
}

/// Where a whole URL leads, and what is asked there.
fn absolute(caller: &Caller, uri: &Uri, headers: &HeaderMap) -> Option<(Route, Uri)> {
    let (scheme, usual) = match uri.scheme_str()? {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return None,
    };
    let authority = uri.authority()?.as_str();
    let (host, port) = named_as(authority)?;
    let port = port.unwrap_or(usual);
    let said = headers.get(header::HOST).map(|said| said.to_str().ok().and_then(named_as));
    let agrees = said.is_none_or(|said| {
        said.is_some_and(|(name, at)| name == host && at.unwrap_or(usual) == port)
    });
    let provider = caller.front.agents.provider_of(&host);
    // What the request says of its host has been held against the URL here.
    let (named_by_request, absolute) = (false, true);
    let route =
        Route { agrees, named_by_request, absolute, ..Route::new(host, port, scheme, provider) };
    let origin = origin_form(uri.path_and_query().map_or("/", PathAndQuery::as_str))?;
    Some((route, origin))
}

/// A tunnel: who asks and for which name is judged before it is opened, the rest in it.
async fn tunnel(
    caller: &Arc<Caller>,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let front = &caller.front;
    let named = request.uri().authority().and_then(|authority| named_as(authority.as_str()));
    let Some((host, Some(port))) = named else { return Ok(front.gateway.nowhere()) };
    let provider = front.agents.provider_of(&host);
    let route = Route::new(host.clone(), port, Scheme::Https, provider);
    let key = match asked_with(&front.gate, request.headers_mut()) {
        Asked::Nothing => None,
        Asked::Key(key) => Some(key),
        Asked::Unknown => return unauthenticated(caller, &route).await,
    };
    let far = Far { key, ..caller.far.clone() };
    let connection = Connection::of(Arc::clone(&front.gate), Callers::Peer(far), Intake::Connect);
    let subject = connection.subject();
    if let Some(refusal) = connection.refusal(&subject, &route) {
        return refused(caller, &subject, &route, refusal, StatusCode::FORBIDDEN).await;
    }
    if !connection.has_place(&subject.run) {
        let what = "too many connections";
        return settle::refuse_busy(&connection, &subject, &route, what).await;
    }
    let going = Going { named: Some(host), literal: String::new(), port, by_host: false };
    if let Some(framed) = request.extensions().get::<Framed>() {
        framed.open_tunnel();
    }
    let upgrading = hyper::upgrade::on(request);
    subject.run.tasks.spawn(async move {
        match upgrading.await {
            Ok(stream) => tunnel::carry(connection, TokioIo::new(stream), going).await,
            Err(error) => tracing::debug!(%error, "a tunnel was not opened"),
        }
    });
    Ok(Response::new(AnswerBody::whole(Bytes::new())))
}

/// Refuses who shows a key for the proxy that is none of this gate's.
async fn unauthenticated(
    caller: &Caller,
    route: &Route,
) -> Result<Response<AnswerBody>, Unanswered> {
    let rule = decide::RuleId("ingress/virtual_key");
    let refusal = Refusal { rule, reason: decide::Reason::UnknownKey };
    let stranger = caller.front.agents.stranger(Some(caller.far.peer.address));
    let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    let mut told = refused(caller, &stranger, route, refusal, status).await?;
    let scheme = header::HeaderValue::from_static("Basic realm=\"tollgate\"");
    told.headers_mut().insert(header::PROXY_AUTHENTICATE, scheme);
    Ok(told)
}

/// Refuses a tunnel: recorded, then told in words for the client's own user.
async fn refused(
    caller: &Caller,
    subject: &Subject,
    route: &Route,
    refusal: Refusal,
    status: StatusCode,
) -> Result<Response<AnswerBody>, Unanswered> {
    let gate = &caller.front.gate;
    let id = clock::ulid(gate.clock.now()).map_err(|_no_random| Unanswered)?;
    let hint = refusal.hint(Setting::Serve);
    let told = Told { refusal: &refusal, decision: &id, hint: hint.as_deref(), trace: Some(&id) };
    let mut response = wire::dialect(None).refuse(&told).map(AnswerBody::whole);
    *response.status_mut() = status;
    let intake = if route.absolute { Intake::Absolute } else { Intake::Connect };
    settle::refuse(gate, subject, route, Some(intake), (id, refusal)).await;
    Ok(response)
}

/// What somebody showed the proxy.
enum Asked {
    Nothing,
    Key(Owner),
    Unknown,
}

/// Takes `Proxy-Authorization` out of a request: a virtual key as the user, the password or a bearer
/// token. It goes no further.
fn asked_with(gate: &Gate, headers: &mut HeaderMap) -> Asked {
    let header::Entry::Occupied(shown) = headers.entry(header::PROXY_AUTHORIZATION) else {
        return Asked::Nothing;
    };
    let (_, mut values) = shown.remove_entry_mult();
    let (Some(value), None) = (values.next(), values.next()) else { return Asked::Unknown };
    let Ok(value) = value.to_str() else { return Asked::Unknown };
    let Some((scheme, token)) = value.split_once(' ') else { return Asked::Unknown };
    let token = token.trim();
    let owner = if scheme.eq_ignore_ascii_case("bearer") {
        gate.keys.owner(&[token])
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = Zeroizing::new(STANDARD.decode(token).unwrap_or_default());
        let text = std::str::from_utf8(&decoded).unwrap_or_default();
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        gate.keys.owner(&[user, password])
    } else {
        None
    };
    owner.map_or(Asked::Unknown, Asked::Key)
}

/// `text` as the target of a request to an origin server.
fn origin_form(text: &str) -> Option<Uri> {
    let target: PathAndQuery = text.parse().ok()?;
    target.path().starts_with('/').then(|| Uri::from(target))
}
