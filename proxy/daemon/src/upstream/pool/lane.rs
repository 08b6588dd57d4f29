//! The connections of one key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::client::conn::http2;
use tokio::time::{Instant, timeout};

use super::body::{RequestBody, Tracked};
use super::link::{Driver, H1, H2, Link, Place, STREAMS};
use super::{PoolKey, UpstreamError};
use crate::upstream::connect::Connector;

/// How long a connection may lie idle. Common servers close after 60 to 75 s.
const IDLE: Duration = Duration::from_mins(1);
/// Idle HTTP/1 connections kept for one key.
const KEPT: usize = 256;
/// How long a connection whose last answer was just read may take to become free.
const SETTLING: Duration = Duration::from_millis(50);
/// How long to wait for another's dialling, which may end in a connection to share.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Unknown,
    H1,
    H2,
}

pub(super) struct Lane<B: RequestBody> {
    host: Arc<str>,
    host_header: HeaderValue,
    authority: Authority,
    secure: bool,
    state: Mutex<State<B>>,
    dialling: tokio::sync::Mutex<()>,
}

struct State<B: RequestBody> {
    speaks: Speaks,
    /// The last one put back is the first one taken.
    idle: Vec<(H1<B>, Instant)>,
    shared: Vec<Shared<B>>,
}

/// An HTTP/2 connection.
struct Shared<B: RequestBody> {
    sender: http2::SendRequest<Tracked<B>>,
    used: Arc<AtomicUsize>,
    last: Instant,
    peer: SocketAddr,
    driver: Arc<Driver>,
}

impl<B: RequestBody> Lane<B> {
    /// `None` where the host cannot stand in a request.
    pub(super) fn new(key: &PoolKey) -> Option<Self> {
        let usual = if key.secure { 443 } else { 80 };
        let host =
            if key.host.contains(':') { format!("[{}]", key.host) } else { key.host.to_string() };
        let text = if key.port == usual { host } else { format!("{host}:{}", key.port) };
        let authority = Authority::try_from(text.as_str())
            .ok()
            .filter(|parsed| !parsed.as_str().contains('@'))?;
        Some(Self {
            host: Arc::clone(&key.host),
            host_header: HeaderValue::try_from(text).ok()?,
            authority,
            secure: key.secure,
            state: Mutex::new(State {
                speaks: if key.secure { Speaks::Unknown } else { Speaks::H1 },
                idle: Vec::new(),
                shared: Vec::new(),
            }),
            dialling: tokio::sync::Mutex::new(()),
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// `path` at this lane's place.
    pub(super) fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.secure { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to one of `addresses` that is open and free.
    pub(super) async fn take(&self, addresses: &[SocketAddr]) -> Option<Link<B>> {
        let mut settling = match self.state().take(addresses, Instant::now()) {
            Taken::Ready(link) => return Some(link),
            Taken::Settling(link) => link,
            Taken::None => return None,
        };
        match timeout(SETTLING, settling.wire.drive(settling.sender.ready())).await {
            Ok(Ok(())) => Some(Link::H1(settling)),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// A new connection, or one that another dialled meanwhile and that can be shared; and whether it was.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        addresses: &[SocketAddr],
    ) -> Result<(Link<B>, bool), UpstreamError> {
        // Where HTTP/2 may come of it, one dials and the others share. HTTP/1 has nothing to share.
        let mut turn = None;
        if self.state().speaks != Speaks::H1 {
            turn = timeout(PATIENCE, self.dialling.lock()).await.ok();
            if let Some(link) = self.take(addresses).await {
                return Ok((link, true));
            }
            if self.state().speaks == Speaks::H1 {
                drop(turn.take());
            }
        }
        let dialled = connector.dial(&self.host, addresses, self.secure).await?;
        let link =
            Link::over(dialled).await.map_err(|error| UpstreamError::of(&self.host, &error))?;
        self.state().learn(&link, Instant::now());
        drop(turn);
        Ok((link, false))
    }

    /// Puts a link back after a whole exchange.
    pub(super) fn keep(&self, link: Link<B>) {
        let now = Instant::now();
        match link {
            Link::H1(link) => {
                link.wire.look();
                // What is still being sent after the answer's end was answered early.
                if !link.progress.is_sent() || link.sender.is_closed() {
                    return;
                }
                let mut state = self.state();
                if state.idle.len() < KEPT {
                    state.idle.push((link, now));
                }
            }
            Link::H2(link) => {
                if let Some(shared) =
                    self.state().shared.iter_mut().find(|shared| link.place.is_of(&shared.used))
                {
                    shared.last = now;
                }
            }
        }
    }

    /// Takes an HTTP/2 connection that ended out of use.
    pub(super) fn forget_if_closed(&self, place: &Place) {
        self.state()
            .shared
            .retain(|shared| !(place.is_of(&shared.used) && shared.sender.is_closed()));
    }

    /// Closes what was idle too long. Whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.idle.retain(|(link, since)| {
            link.wire.look();
            !link.sender.is_closed() && now - *since < IDLE
        });
        state.shared.retain(|shared| {
            let idle = shared.used.load(Ordering::Acquire) == 0 && now - shared.last >= IDLE;
            !shared.sender.is_closed() && !idle
        });
        !(state.idle.is_empty() && state.shared.is_empty())
    }

    pub(super) fn kept(&self) -> usize {
        let state = self.state();
        state.idle.len() + state.shared.len()
    }
}

enum Taken<B: RequestBody> {
    Ready(Link<B>),
    /// Its last exchange is over but for its own tidying up.
    Settling(H1<B>),
    None,
}

impl<B: RequestBody> State<B> {
    fn take(&mut self, addresses: &[SocketAddr], now: Instant) -> Taken<B> {
        let free = |shared: &&mut Shared<B>| {
            shared.used.load(Ordering::Acquire) < STREAMS
                && !shared.sender.is_closed()
                && addresses.contains(&shared.peer)
        };
        if let Some(shared) = self.shared.iter_mut().find(free) {
            shared.last = now;
            return Taken::Ready(Link::H2(H2 {
                sender: shared.sender.clone(),
                place: Place::take(&shared.used),
                peer: shared.peer,
                driver: Arc::clone(&shared.driver),
            }));
        }
        // What has died below the last is left to the sweep.
        let usable = |(link, since): &(H1<B>, Instant)| {
            now - *since < IDLE && addresses.contains(&link.peer)
        };
        while let Some(at) = self.idle.iter().rposition(usable) {
            let (link, _) = self.idle.remove(at);
            link.wire.look();
            match (link.sender.is_closed(), link.sender.is_ready()) {
                (true, _) => {}
                (false, true) => return Taken::Ready(Link::H1(link)),
                (false, false) => return Taken::Settling(link),
            }
        }
        Taken::None
    }

    fn learn(&mut self, link: &Link<B>, now: Instant) {
        match link {
            Link::H1(_) => self.speaks = Speaks::H1,
            Link::H2(link) => {
                self.speaks = Speaks::H2;
                self.shared.push(Shared {
                    sender: link.sender.clone(),
                    used: Arc::clone(link.place.counter()),
                    last: now,
                    peer: link.peer,
                    driver: Arc::clone(&link.driver),
                });
            }
        }
    }
}
