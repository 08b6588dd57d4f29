//! One connection, held by the exchange that uses it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, Version, header};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::body::{Progress, RequestBody, Tracked};
use super::gathered::Gathered;
use super::lane::Lane;
use super::wire::{AnswerStream, Wire};
use crate::upstream::connect::{Dialled, Stream};

/// Streams that share one HTTP/2 connection before another is opened.
pub(super) const STREAMS: usize = 64;
/// What an HTTP/2 upstream may send ahead in one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And in all of a connection's streams, so that readers who stand still stall nobody else.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 64;
/// The most that HTTP/1 buffers of an answer, which is also the longest head it reads.
const BUFFER: usize = 64 * 1024;
/// An HTTP/2 connection with streams is probed after this much silence.
const PING: Duration = Duration::from_secs(30);

/// A request that got no answer.
pub(super) enum Failed<B> {
    /// The connection never took it.
    Unsent(Box<Request<B>>),
    /// Some of it may have left.
    Sent(hyper::Error),
}

/// Ends the task that drives an HTTP/2 connection when dropped, and with it the connection.
#[derive(Debug)]
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection in the hands of one exchange. Dropping it cuts the exchange: HTTP/1 closes, HTTP/2 ends the stream.
pub(super) enum Link<B: RequestBody> {
    H1(H1<B>),
    H2(H2<B>),
}

/// An HTTP/1 connection.
pub(super) struct H1<B: RequestBody> {
    pub(super) sender: http1::SendRequest<Tracked<B>>,
    pub(super) progress: Progress,
    pub(super) peer: SocketAddr,
    pub(super) wire: Wire,
}

/// A place on an HTTP/2 connection.
pub(super) struct H2<B: RequestBody> {
    pub(super) sender: http2::SendRequest<Tracked<B>>,
    pub(super) place: Place,
    pub(super) peer: SocketAddr,
    pub(super) driver: Arc<Driver>,
}

/// One of the streams in use on a connection. When dropped it is free, and no more of its request is sent.
pub(super) struct Place {
    used: Arc<AtomicUsize>,
    progress: Progress,
}

impl Place {
    pub(super) fn take(used: &Arc<AtomicUsize>) -> Self {
        used.fetch_add(1, Ordering::AcqRel);
        Self { used: Arc::clone(used), progress: Progress::new() }
    }

    pub(super) fn is_of(&self, used: &Arc<AtomicUsize>) -> bool {
        Arc::ptr_eq(&self.used, used)
    }

    pub(super) fn counter(&self) -> &Arc<AtomicUsize> {
        &self.used
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
        self.progress.cut();
    }
}

impl<B: RequestBody> Link<B> {
    /// Speaks HTTP over `dialled`, in the version that was agreed.
    pub(super) async fn over(dialled: Dialled) -> hyper::Result<Self> {
        let Dialled { stream, peer } = dialled;
        let h2 = stream.is_h2();
        match stream {
            Stream::Plain(tcp) => Self::h1(tcp, peer).await,
            Stream::Tls(tls) if h2 => Self::h2(*tls, peer).await,
            Stream::Tls(tls) => Self::h1(*tls, peer).await,
        }
    }

    async fn h1<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        io: T,
        peer: SocketAddr,
    ) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake::<_, Tracked<B>>(TokioIo::new(io))
            .await?;
        let wire = Wire::new(connection);
        Ok(Self::H1(H1 { sender, progress: Progress::new(), peer, wire }))
    }

    async fn h2<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        io: T,
        peer: SocketAddr,
    ) -> hyper::Result<Self> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .handshake::<_, Tracked<B>>(TokioIo::new(Gathered::new(io)))
            .await?;
        // How the connection ends shows in the exchanges that use it.
        let driver = Arc::new(Driver(tokio::spawn(connection).abort_handle()));
        let place = Place::take(&Arc::new(AtomicUsize::new(0)));
        Ok(Self::H2(H2 { sender, place, peer, driver }))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Self::H1(link) => link.peer,
            Self::H2(link) => link.peer,
        }
    }

    /// Sends `request` as `lane`'s and waits for the head of its answer.
    pub(super) async fn send(
        mut self,
        lane: &Lane<B>,
        request: Request<B>,
    ) -> Result<(Response<AnswerStream>, Self), Failed<B>> {
        let answer = match &mut self {
            Self::H1(link) => {
                link.progress.begin();
                let request = tracked(for_h1(lane, request), &link.progress);
                let answer = link.wire.drive(link.sender.try_send_request(request)).await;
                answer.map(|response| response.map(|body| link.wire.bring(body)))
            }
            Self::H2(link) => {
                let request = tracked(for_h2(lane, request), &link.place.progress);
                let answer = link.sender.try_send_request(request).await;
                answer.map(|response| response.map(AnswerStream::shared))
            }
        };
        match answer {
            Ok(response) => Ok((response, self)),
            Err(error) => {
                if let Self::H2(link) = &self {
                    lane.forget_if_closed(&link.place);
                }
                Err(failed(error))
            }
        }
    }
}

fn failed<B: RequestBody>(mut error: TrySendError<Request<Tracked<B>>>) -> Failed<B> {
    match error.take_message() {
        Some(request) => Failed::Unsent(Box::new(request.map(Tracked::into_inner))),
        None => Failed::Sent(error.into_error()),
    }
}

fn tracked<B: RequestBody>(request: Request<B>, progress: &Progress) -> Request<Tracked<B>> {
    request.map(|body| Tracked::new(body, progress.clone()))
}

/// Origin-form and one `Host`, whatever the agent's own form was.
fn for_h1<B: RequestBody>(lane: &Lane<B>, mut request: Request<B>) -> Request<B> {
    let path = path_of(&request);
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().insert(header::HOST, lane.host_header().clone());
    request
}

/// `:scheme` and `:authority` in place of `Host`.
fn for_h2<B: RequestBody>(lane: &Lane<B>, mut request: Request<B>) -> Request<B> {
    let path = path_of(&request);
    *request.uri_mut() = lane.uri(path);
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::HOST);
    request
}

fn path_of<B>(request: &Request<B>) -> PathAndQuery {
    request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}
