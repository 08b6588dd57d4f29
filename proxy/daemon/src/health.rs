//! `/healthz`, `/readyz` and `/metrics`, on a listener and a thread of their own.
//!
//! Whoever asks is not identified, so nothing here says more than states and counts, and whoever asks too much or too
//! slowly takes nothing from the gate: few connections, small heads, one request each, a deadline.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use decide::case::Timestamp;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Connections at once; the next ones wait in the listener's backlog.
const CONNECTIONS: usize = 32;
/// Bytes of a request's head, the least that hyper can be told.
const HEAD: usize = 8 * 1024;
/// Headers of a request.
const HEADERS: usize = 32;
/// How long a connection may take, from its first byte to the last of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A listener that fails, because descriptors ran out, is not asked again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// One condition of readiness, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name, which stays the same: `ledger`, `policy`, `enforcement`, `attachments`, `draining`.
    pub name: &'static str,
    /// Whether the gate may be sent traffic as far as this goes.
    pub ready: bool,
    /// What an operator should know of it; no secret, nothing that a request said.
    pub says: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
}

/// What the gate says of itself when it is asked whether it is ready.
pub trait Readiness: Send + Sync {
    /// Every condition, ready or not.
    fn conditions(&self) -> Vec<Condition>;
}

impl<F: Fn() -> Vec<Condition> + Send + Sync> Readiness for F {
    fn conditions(&self) -> Vec<Condition> {
        self()
    }
}

/// What is answered from.
pub struct Sources {
    /// Whether the gate is ready.
    pub readiness: Box<dyn Readiness>,
    /// What it counts.
    pub metrics: Metrics,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// The server. Dropped, it stops.
#[derive(Debug)]
pub struct Health {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Health {
    /// Answers on `listener` from a thread of its own, so that it does also while the gate's threads are busy.
    ///
    /// # Errors
    ///
    /// There is no thread or no descriptor to be had.
    pub fn start(listener: TcpListener, sources: Sources) -> io::Result<Self> {
        Self::within(listener, sources, DEADLINE)
    }

    fn within(listener: TcpListener, sources: Sources, deadline: Duration) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, Arc::new(sources), deadline, stopped));
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say; had it panicked, the panic was logged.
            drop(thread.join());
        }
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    sources: Arc<Sources>,
    deadline: Duration,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&room).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let sources = Arc::clone(&sources);
                    tokio::spawn(async move {
                        converse(stream, &sources, deadline).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the health listener takes no connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    // What is being answered is dropped with the runtime.
    stop.run_until_cancelled(accept).await;
}

async fn converse(stream: tokio::net::TcpStream, sources: &Sources, deadline: Duration) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), sources);
                async move { Ok::<_, Infallible>(answer) }
            }),
        );
    // Whoever asked badly, slowly or went away has lost an answer; that is all.
    drop(timeout(deadline, connection).await);
}

fn answer(method: &Method, path: &str, sources: &Sources) -> Response<Full<Bytes>> {
    let (status, kind, body) = match path {
        "/healthz" | "/readyz" | "/metrics" if !matches!(*method, Method::GET | Method::HEAD) => {
            let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        "/healthz" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
        "/readyz" => ready(sources),
        "/metrics" => match show(sources) {
            Ok(text) => (StatusCode::OK, PROMETHEUS, text),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                (StatusCode::INTERNAL_SERVER_ERROR, TEXT, String::new())
            }
        },
        _ => (StatusCode::NOT_FOUND, TEXT, "there is /healthz, /readyz and /metrics\n".to_owned()),
    };
    reply(status, kind, body)
}

/// The metrics, with readiness as it is now.
fn show(sources: &Sources) -> Result<String, prometheus::Error> {
    is_ready(sources, &sources.readiness.conditions());
    sources.metrics.render()
}

/// A gate that has nothing to say for itself is not ready.
fn is_ready(sources: &Sources, conditions: &[Condition]) -> bool {
    let ready = !conditions.is_empty() && conditions.iter().all(|condition| condition.ready);
    sources.metrics.standing.ready.set(i64::from(ready));
    ready
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    conditions: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    ready: bool,
    says: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

fn ready(sources: &Sources) -> (StatusCode, &'static str, String) {
    let conditions = sources.readiness.conditions();
    let ready = is_ready(sources, &conditions);
    let lines = conditions.iter().map(|condition| Line {
        name: condition.name,
        ready: condition.ready,
        says: &condition.says,
        since: condition.since.and_then(rfc3339),
    });
    let report = Report { ready, conditions: lines.collect() };
    match serde_json::to_string(&report) {
        Ok(body) if ready => (StatusCode::OK, JSON, body + "\n"),
        Ok(body) => (StatusCode::SERVICE_UNAVAILABLE, JSON, body + "\n"),
        Err(error) => {
            tracing::error!(%error, "readiness cannot be written");
            (StatusCode::SERVICE_UNAVAILABLE, TEXT, String::new())
        }
    }
}

fn rfc3339(at: Timestamp) -> Option<String> {
    let micros = i64::try_from(at.0).ok()?;
    Some(jiff::Timestamp::from_microsecond(micros).ok()?.to_string())
}

#[cfg(test)]
mod tests;
