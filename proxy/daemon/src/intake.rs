//! Ways in: connections of agents, each of whose requests ends in the one exchange.

pub mod peer;
pub(crate) mod redirected;
pub(crate) mod tunnel;

use std::sync::Arc;

use decide::Refusal;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::answer::body::AnswerBody;
use crate::exchange::{self, Unanswered};
use crate::gate::Gate;
use crate::listen;
use crate::listen::http::Limits;
use crate::route::Route;
use crate::subject::Subject;

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
    let served = listen::http::serve(stream, h2, Limits::default(), ask);
    tokio::select! {
        biased;
        () = reset.cancelled() => {}
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
