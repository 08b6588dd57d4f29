//! Ways in: connections of agents, each of whose requests ends in the one exchange.

pub mod peer;
pub(crate) mod redirected;
pub(crate) mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use decide::Refusal;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::answer::body::AnswerBody;
use crate::exchange::{self, Unanswered};
use crate::gate::Gate;
use crate::route::Route;
use crate::subject::Subject;

/// How long a client may take over the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// The most bytes of a request's head.
const HEAD_BYTES: u16 = u16::MAX;
/// Streams that one HTTP/2 connection may have open at once.
const STREAMS: u32 = 128;

/// Bytes that one HTTP/2 stream may send before they are read; twice as many on the connection. What
/// lies there is in nobody's budget yet.
const WINDOW: u32 = 256 << 10;
/// Bytes of an answer that one HTTP/2 stream holds for a client that does not read.
const SENDING: usize = 64 << 10;

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    pub(crate) gate: Arc<Gate>,
    pub(crate) callers: Callers,
    /// Breaks the connection.
    pub(crate) reset: CancellationToken,
}

/// Who the requests of a connection are from.
#[derive(Debug)]
pub(crate) enum Callers {
    /// The one command of a `tollgate exec`.
    Run(Arc<crate::run::Run>),
}

impl Connection {
    /// A connection whose requests are from `callers`.
    pub(crate) fn of(gate: Arc<Gate>, callers: Callers) -> Arc<Self> {
        Arc::new(Self { gate, callers, reset: CancellationToken::new() })
    }

    /// Who is known to call before a request is read.
    pub(crate) fn subject(&self) -> Subject {
        match &self.callers {
            Callers::Run(run) => Subject::of_run(run),
        }
    }

    /// Why a connection there is refused, before anything of it is read or answered.
    pub(crate) fn refusal(&self, subject: &Subject, route: &Route) -> Option<Refusal> {
        match &self.callers {
            Callers::Run(_) => route.refusal(&subject.terms),
        }
    }
}

/// Serves the requests of one connection, HTTP/1.1 or HTTP/2, all going one way.
pub(crate) async fn serve<S>(connection: Arc<Connection>, route: Arc<Route>, stream: S, h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let reset = connection.reset.clone();
    let ask = move |request| exchange::serve(Arc::clone(&connection), Arc::clone(&route), request);
    serve_with(ask, reset, stream, h2).await;
}

/// Serves the requests of one connection with `ask`, until it ends or is reset.
pub(crate) async fn serve_with<S, A, F>(ask: A, reset: CancellationToken, stream: S, h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<AnswerBody>, Unanswered>> + Send + 'static,
{
    let io = TokioIo::new(stream);
    let service = service_fn(ask);
    let served = async {
        if h2 {
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEAD_BYTES.into())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW * 2)
                .max_send_buf_size(SENDING)
                .auto_date_header(false)
                .serve_connection(io, service)
                .await
        } else {
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(HEAD_BYTES.into())
                .auto_date_header(false)
                .serve_connection(io, service)
                .await
        }
    };
    tokio::select! {
        biased;
        () = reset.cancelled() => {}
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
