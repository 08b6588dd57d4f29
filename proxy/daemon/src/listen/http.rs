//! The requests of one connection, over HTTP/1 or HTTP/2, as long as its client keeps within what a client needs.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::TRANSFER_ENCODING;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::hello::Replay;
use super::strict::{Faults, HEAD_BYTES, Strict};

mod patience;
use patience::Patience;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What one client may take of the gate.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the head of a request may take over HTTP/1, and the preface over HTTP/2. Between two requests it runs
    /// too: an idle HTTP/1 connection is closed.
    pub head_within: Duration,
    /// How often a client over HTTP/2 is asked whether it is there, and how long it may take to say so. One that is
    /// in the middle of a head cannot: the two together are what a head may take.
    pub ping_every: Duration,
    /// See [`Limits::ping_every`].
    pub ping_within: Duration,
    /// Requests that a client may give up on before their answer began, beyond those that it waited for.
    pub given_up: u32,
}

impl Default for Limits {
    /// 30 s for a head; a ping each minute, answered within 20 s; four full connections of requests given up.
    fn default() -> Self {
        Self {
            head_within: Duration::from_secs(30),
            ping_every: Duration::from_mins(1),
            ping_within: Duration::from_secs(20),
            given_up: 4 * STREAMS,
        }
    }
}

/// Streams that one HTTP/2 connection may have open at once: more than any agent asks at once, and what bounds all that
/// is held for one connection (heads, windows, send buffers).
const STREAMS: u32 = 128;
/// Bytes of a head over HTTP/2 as RFC 9113 6.5.2 counts them. Larger than what is forwarded
/// ([`wire::envelope::HEAD_LIST`]), so that what is too large is refused in its provider's format. h2 answers 431 by
/// itself beyond it, and closes the connection beyond four times as much; it counts while it unpacks, so that a head of
/// indexed fields grows no further (HPACK bomb). Of CONTINUATION frames it takes a quarter more than a head of this
/// size needs, then closes with `ENHANCE_YOUR_CALM`.
const HEAD_LIST: u32 = 96 << 10;
/// Streams that may wait to be accepted and are reset already (CVE-2023-44487); h2 closes with `ENHANCE_YOUR_CALM`
/// beyond. Those that were accepted before their reset are counted by [`Limits::given_up`].
const RESET_WAITING: usize = 20;
/// Streams that h2 may reset because the client broke the protocol in them, in a connection's life. h2 takes 1,024;
/// no client breaks it twice.
const BROKEN: usize = 64;
/// Bytes that one HTTP/2 stream may send before they are read; twice as many on the connection. What lies there is in
/// nobody's budget yet. h2 takes 100 empty DATA frames in a connection's life, and of small ones as many as half the
/// connection's window pays for at 256 bytes each.
const WINDOW: u32 = 256 << 10;
/// Bytes of an answer that one HTTP/2 stream holds for a client that does not read. Of SETTINGS and PING frames h2 holds
/// one each and reads no further until its answer is written, so that a flood of them holds up its own sender only.
const SENDING: usize = 64 << 10;
/// What hyper buffers of HTTP/1: more than any head that passes.
const BUFFER: usize = HEAD_BYTES + 1024;

/// How long requests that are on their way may still come when the gate takes no more connections. A client whose
/// connection was accepted, or that just asks again, has its answer; over HTTP/1 that says that it is the last.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// Why a connection ended otherwise than well.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client did not say in time that it speaks HTTP/2.
    #[error("the client began HTTP/2 and did not go on in time")]
    Slow,
    /// The client asks and does not wait for answers.
    #[error("the client gave up on too many requests")]
    GivenUp,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client broke the protocol, or a timer ended the connection.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Serves the requests of `stream` to its end, or once `stopping` is set to the end of those that are under way. One whose framing is faulty, or may yet turn out to be, has a [`Framed`](super::strict::Framed)
/// among its extensions.
///
/// # Errors
///
/// How the connection ended, where it is not by agreement.
pub async fn serve<S, F, R, B, E>(
    stream: S,
    h2: bool,
    limits: Limits,
    stopping: &CancellationToken,
    service: F,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    let patience = Patience::of(limits.given_up);
    if h2 {
        let stream = preface(stream, limits.head_within).await?;
        let service = service_fn(|request| patience.waits(Box::pin(service(request))));
        let served = pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEAD_LIST)
                .max_pending_accept_reset_streams(RESET_WAITING)
                .max_local_error_reset_streams(BROKEN)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW * 2)
                .max_send_buf_size(SENDING)
                .keep_alive_interval(limits.ping_every)
                .keep_alive_timeout(limits.ping_within)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
        );
        let served = to_the_last(served, stopping, http2::Connection::graceful_shutdown);
        until(&patience, pin!(served)).await
    } else {
        let (stream, faults) = Strict::new(stream);
        let service = service_fn(|request: Request<Incoming>| {
            let connect = request.method() == Method::CONNECT;
            // hyper keeps room for what answers as long as the connection lives, also while nothing is asked.
            let answered = Box::pin(service(framed(&faults, request)));
            patience.waits(answer(connect, stopping, answered))
        });
        let served = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_within)
                .max_buf_size(BUFFER)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let shut = http1::UpgradeableConnection::graceful_shutdown;
        let served = to_the_last(served, stopping, shut);
        until(&patience, pin!(served)).await
    }
}

/// The request, with its framing where there is something to say of it, or a tunnel to open. A body of a stated length
/// ends where it ends.
fn framed(faults: &Arc<Faults>, mut request: Request<Incoming>) -> Request<Incoming> {
    let framed = faults.next();
    let tunnel = request.method() == Method::CONNECT;
    if tunnel || framed.fault().is_some() || request.headers().contains_key(TRANSFER_ENCODING) {
        request.extensions_mut().insert(framed);
    }
    request
}

/// Serves a connection to its end. When the gate has taken no more connections for a while, `shut` lets
/// this one take no more requests.
async fn to_the_last<C: Future>(
    mut served: Pin<&mut C>,
    stopping: &CancellationToken,
    shut: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let last = async {
        stopping.cancelled().await;
        tokio::time::sleep(LAST_WITHIN).await;
    };
    tokio::select! {
        biased;
        () = last => shut(served.as_mut()),
        served = served.as_mut() => return served,
    }
    served.await
}

/// The answer. After one that does not grant a CONNECT the connection closes: what follows the request may be meant for
/// the tunnel already. When the gate is about to end it closes too.
async fn answer<B, E>(
    connect: bool,
    stopping: &CancellationToken,
    answer: impl Future<Output = Result<Response<B>, E>>,
) -> Result<Response<B>, E> {
    let mut answer = answer.await?;
    let tunnel = connect && answer.status().is_success();
    if !tunnel && (connect || stopping.is_cancelled()) {
        let close = http::HeaderValue::from_static("close");
        answer.headers_mut().insert(http::header::CONNECTION, close);
    }
    Ok(answer)
}

async fn until(
    patience: &Patience,
    served: Pin<&mut impl Future<Output = Result<(), hyper::Error>>>,
) -> Result<(), Ended> {
    tokio::select! {
        biased;
        () = patience.lost() => Err(Ended::GivenUp),
        served = served => Ok(served?),
    }
}

/// Waits for the first bytes of HTTP/2: for those hyper sets no time.
async fn preface<S>(mut stream: S, within: Duration) -> Result<Replay<S>, Ended>
where
    S: AsyncRead + Unpin,
{
    /// The length of the preface (RFC 9113 3.4).
    const PREFACE: usize = 24;
    let mut first = BytesMut::with_capacity(512);
    let reading = async {
        while first.len() < PREFACE {
            if stream.read_buf(&mut first).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    tokio::time::timeout(within, reading).await.map_err(|_elapsed| Ended::Slow)??;
    Ok(Replay::new(first.freeze(), stream))
}

#[cfg(test)]
mod tests;
