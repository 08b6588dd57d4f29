//! Connections to upstreams are kept, each for one tenant, one credential and one destination.
//!
//! A connection is used again only after a whole exchange: its request sent to the end, its answer read to the end,
//! nothing after it. What was cut, answered early or said more is closed. A request is sent once; only one that the
//! connection never took is given to another.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};

use super::connect::{ConnectError, Connector};
use super::resolve::Resolved;

mod body;
mod gathered;
mod lane;
mod link;
mod wire;
pub use body::RequestBody;
use lane::Lane;
use link::{Failed, Link};
pub use wire::AnswerStream;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(15);

/// Whose connection it is and where it leads. Only equal keys share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Agent and team.
    pub tenant: Arc<str>,
    /// The credential that is put in, by id.
    pub credential: Option<Arc<str>>,
    /// TLS or in clear.
    pub secure: bool,
    /// The name that was judged: what TLS verifies and what `Host` says.
    pub host: Arc<str>,
    /// The port that was judged.
    pub port: u16,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// There is no connection; nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The host cannot stand in a request; nothing was sent.
    #[error("{0:?} cannot be named in a request")]
    Host(String),
    /// The upstream ended the connection before it answered.
    #[error("{0} closed the connection before it answered")]
    Closed(String),
    /// The answer is not HTTP, or switches to what the gate does not speak.
    #[error("{host} answered with what cannot be read: {why}")]
    Malformed {
        /// The upstream.
        host: String,
        /// What the parser said.
        why: String,
    },
    /// The connection failed.
    #[error("the connection to {host} failed: {why}")]
    Broken {
        /// The upstream.
        host: String,
        /// What failed.
        why: String,
    },
}

impl UpstreamError {
    /// Whether any part of the request may have left.
    #[must_use]
    pub fn may_have_sent(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Host(_) => false,
            Self::Closed(_) | Self::Malformed { .. } | Self::Broken { .. } => true,
        }
    }

    fn of(host: &str, error: &hyper::Error) -> Self {
        let host = host.to_owned();
        if error.is_parse() {
            Self::Malformed { host, why: said(error) }
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Self::Closed(host)
        } else {
            Self::Broken { host, why: said(error) }
        }
    }
}

/// An error in words, with its cause.
fn said(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// An answer and the connection it comes over.
pub struct Sent<B: RequestBody> {
    /// The answer. Its headers are as they came; see [`super::headers::inbound`].
    pub response: Response<AnswerStream>,
    /// The connection, to be kept as long as the answer is read.
    pub connection: ConnHandle<B>,
}

impl<B: RequestBody> fmt::Debug for Sent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("status", &self.response.status()).finish_non_exhaustive()
    }
}

/// The connection of one exchange.
///
/// Dropped without [`ConnHandle::finished`], an HTTP/1 connection is closed at once. Of an HTTP/2 connection only the
/// stream ends: no more of the request's body is sent, and dropping the answer's body resets it.
pub struct ConnHandle<B: RequestBody> {
    lane: Arc<Lane<B>>,
    link: Link<B>,
    peer: SocketAddr,
    reused: bool,
}

impl<B: RequestBody> fmt::Debug for ConnHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnHandle")
            .field("peer", &self.peer)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

impl<B: RequestBody> ConnHandle<B> {
    /// The address that was dialled.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether an earlier exchange used this connection.
    #[must_use]
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// The answer was read to its end: the connection may serve another exchange.
    pub fn finished(self) {
        self.lane.keep(self.link);
    }
}

/// The connections of one gate. Clones share them.
pub struct Pool<B: RequestBody>(Arc<Shared<B>>);

impl<B: RequestBody> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: RequestBody> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("lanes", &self.0.lanes().len()).finish()
    }
}

struct Shared<B: RequestBody> {
    connector: Connector,
    lanes: Mutex<HashMap<PoolKey, Arc<Lane<B>>>>,
}

impl<B: RequestBody> Shared<B> {
    fn lanes(&self) -> std::sync::MutexGuard<'_, HashMap<PoolKey, Arc<Lane<B>>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: RequestBody> Pool<B> {
    /// A pool that dials with `connector`. It sweeps out idle connections on the current tokio runtime.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        let shared = Arc::new(Shared { connector, lanes: Mutex::default() });
        tokio::spawn(sweep(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// Sends `request` for `key` to one of the addresses of `target` and waits for the head of the answer.
    ///
    /// The request's path is used; its scheme, authority, version and `Host` are set from `key`. Dropping the future
    /// cuts the exchange.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::may_have_sent`] tells those after which money may have been spent.
    pub async fn send(
        &self,
        key: &PoolKey,
        target: &Resolved,
        request: Request<B>,
    ) -> Result<Sent<B>, UpstreamError> {
        let lane = self.lane(key)?;
        let mut request = request;
        if let Some(link) = lane.take(&target.addresses).await {
            match link.send(&lane, request).await {
                Ok((response, link)) => return answered(lane, response, link, true),
                Err(Failed::Unsent(back)) => request = *back,
                Err(Failed::Sent(error)) => return Err(UpstreamError::of(&key.host, &error)),
            }
        }
        // A handshake's future is large, and most requests find a connection.
        let connecting = lane.connect(&self.0.connector, &target.addresses);
        let (link, reused) = Box::pin(connecting).await?;
        match link.send(&lane, request).await {
            Ok((response, link)) => answered(lane, response, link, reused),
            Err(Failed::Unsent(_)) => Err(UpstreamError::Closed(key.host.to_string())),
            Err(Failed::Sent(error)) => Err(UpstreamError::of(&key.host, &error)),
        }
    }

    /// Connections that wait to be used again, and HTTP/2 connections.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.0.lanes().values().map(|lane| lane.kept()).sum()
    }

    fn lane(&self, key: &PoolKey) -> Result<Arc<Lane<B>>, UpstreamError> {
        let mut lanes = self.0.lanes();
        if let Some(lane) = lanes.get(key) {
            return Ok(Arc::clone(lane));
        }
        let lane =
            Arc::new(Lane::new(key).ok_or_else(|| UpstreamError::Host(key.host.to_string()))?);
        lanes.insert(key.clone(), Arc::clone(&lane));
        Ok(lane)
    }
}

/// Hands the answer on, unless the upstream switched to a protocol nobody asked for.
fn answered<B: RequestBody>(
    lane: Arc<Lane<B>>,
    response: Response<AnswerStream>,
    link: Link<B>,
    reused: bool,
) -> Result<Sent<B>, UpstreamError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpstreamError::Malformed {
            host: lane.host().to_owned(),
            why: "101 without a request to switch protocols".to_owned(),
        });
    }
    // Where the answer ends is said twice, and the next server might believe the other word.
    let twice = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    if twice.iter().all(|length| response.headers().contains_key(length)) {
        return Err(UpstreamError::Malformed {
            host: lane.host().to_owned(),
            why: "a length beside a transfer coding".to_owned(),
        });
    }
    let peer = link.peer();
    Ok(Sent { response, connection: ConnHandle { lane, link, peer, reused } })
}

/// Closes what was idle too long, until the pool is gone.
async fn sweep<B: RequestBody>(pool: Weak<Shared<B>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.lanes().retain(|_, lane| lane.sweep() || Arc::strong_count(lane) > 1);
    }
}

#[cfg(test)]
mod tests;
