//! Ways in: connections of agents, each of whose requests ends in the one exchange.

pub(crate) mod attached;
mod distrust;
pub(crate) mod front;
pub mod peer;
pub(crate) mod redirected;
pub(crate) mod routed;
pub(crate) mod strangers;
pub(crate) mod tunnel;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use decide::Refusal;
use decide::case::{Bound, Identified, Key};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::agents::Agents;
use crate::answer::body::AnswerBody;
use crate::exchange::{self, Unanswered};
use crate::gate::Gate;
use crate::intake::peer::Peer;
use crate::intake::strangers::Stranger;
use crate::keys::Owner;
use crate::listen;
use crate::listen::http::Limits;
use crate::metrics::Intake;
use crate::places;
use crate::route::Route;
use crate::run::Run;
use crate::subject::Subject;

/// How long a client whose connection was accepted has to say something when the gate is ending.
const SPOKEN_WITHIN: Duration = Duration::from_secs(1);

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    pub(crate) gate: Arc<Gate>,
    callers: Callers,
    came: Intake,
    /// Breaks the connection.
    pub(crate) reset: CancellationToken,
    /// Its place among the connections that its agent may have open, once the agent is known.
    counted: OnceLock<Option<OwnedSemaphorePermit>>,
}

/// Who the requests of a connection are from.
#[derive(Debug)]
pub(crate) enum Callers {
    /// The one command of a `tollgate exec`, which has its place already.
    Run(Arc<Run>),
    /// Somebody of many.
    Peer(Far),
}

/// The far end of a connection to a `tollgate serve`.
#[derive(Debug, Clone)]
pub(crate) struct Far {
    /// Everybody who may call.
    pub(crate) agents: Arc<Agents>,
    /// What the gate knows of it by itself.
    pub(crate) peer: Peer,
    /// The virtual key with which it asked for the tunnel that this connection is.
    pub(crate) key: Option<Owner>,
    /// The connection's place as long as nobody is known to call.
    pub(crate) stranger: Stranger,
}

impl Far {
    fn subject(&self, gate: &Gate, key: Option<&Owner>) -> Subject {
        let subject = self.agents.subject(gate, &self.peer, key);
        if subject.by != Identified::Nobody {
            self.stranger.is_known();
        }
        subject
    }
}

impl Connection {
    /// A connection that came in that way and whose requests are from `callers`.
    pub(crate) fn of(gate: Arc<Gate>, callers: Callers, came: Intake) -> Arc<Self> {
        let reset = CancellationToken::new();
        Arc::new(Self { gate, callers, came, reset, counted: OnceLock::new() })
    }

    /// The way in of a request that goes there.
    pub(crate) const fn intake(&self, route: &Route) -> Intake {
        if route.absolute { Intake::Absolute } else { self.came }
    }

    /// Who is known to call before a request is read.
    pub(crate) fn subject(&self) -> Subject {
        match &self.callers {
            Callers::Run(run) => Subject::of_run(run),
            Callers::Peer(far) => far.subject(&self.gate, far.key.as_ref()),
        }
    }

    /// Who the request is from, and whose virtual key it carries where that had to be asked for it.
    pub(crate) fn subject_of(&self, head: &Parts, route: &Route) -> (Subject, Option<Owner>) {
        let far = match &self.callers {
            Callers::Peer(far) if far.key.is_none() => far,
            Callers::Run(_) | Callers::Peer(_) => return (self.subject(), None),
        };
        let found = places::standing(head, wire::dialect(route.provider).places());
        let values: Vec<&str> = found.iter().map(|found| found.value.as_str()).collect();
        let key = self.gate.keys.owner(&values);
        (far.subject(&self.gate, key.as_ref()), key)
    }

    /// How the use of a standing key in a request of `subject` is bound to where it comes from. `owner`
    /// is whose it is, where that was asked already.
    pub(crate) fn bound(&self, subject: &Subject, owner: Option<Owner>, values: &[&str]) -> Bound {
        let key = owner.or_else(|| self.gate.keys.owner(values));
        match (&self.callers, key) {
            (Callers::Peer(far), Some(key)) => Agents::bound(subject, &far.peer, &key),
            // The user of a run names its agent, so the agent's name alone binds nothing.
            (Callers::Run(_), Some(key)) if key.from.is_empty() => Bound::Bearer,
            (Callers::Run(_), Some(_)) | (_, None) => Bound::Elsewhere,
        }
    }

    /// The key that the caller showed the proxy, as it stands now.
    pub(crate) fn proxied(&self, subject: &Subject) -> Option<Key> {
        let Callers::Peer(Far { peer, key: Some(owner), .. }) = &self.callers else { return None };
        let key = self.gate.keys.fact(&owner.id)?;
        Some(Key { bound: Agents::bound(subject, peer, owner), ..key })
    }

    /// Why a connection there is refused, before anything of it is read or answered.
    pub(crate) fn refusal(&self, subject: &Subject, route: &Route) -> Option<Refusal> {
        match &self.callers {
            Callers::Peer(far) if subject.by == Identified::Nobody => {
                route.refusal_unless(far.agents.admits_for_anybody(&route.host, route.port))
            }
            Callers::Run(_) | Callers::Peer(_) => route.refusal(&subject.terms),
        }
    }

    /// Whether the agent may have this connection open besides its others. Asked at each request,
    /// counted at the first.
    pub(crate) fn has_place(&self, run: &Run) -> bool {
        match &self.callers {
            Callers::Run(_) => true,
            Callers::Peer(_) => self
                .counted
                .get_or_init(|| Arc::clone(&run.room.load().connections).try_acquire_owned().ok())
                .is_some(),
        }
    }
}

/// Serves the requests of one connection, HTTP/1.1 or HTTP/2, all going one way.
pub(crate) async fn serve<S>(connection: Arc<Connection>, route: Arc<Route>, stream: S, h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let at = Arc::clone(&connection);
    let ask = move |request| exchange::serve(Arc::clone(&connection), Arc::clone(&route), request);
    serve_with(&at, ask, stream, h2).await;
}

/// Serves the requests of one connection with `ask`, until it ends or is reset. When the gate is
/// about to end it takes no more of them, and says so to its client.
pub(crate) async fn serve_with<S, A, F>(connection: &Connection, ask: A, stream: S, h2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<AnswerBody>, Unanswered>> + Send + 'static,
{
    let Connection { gate, reset, .. } = connection;
    let served = listen::http::serve(stream, h2, Limits::default(), &gate.stopping, ask);
    tokio::select! {
        biased;
        () = reset.cancelled() => {}
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

/// What comes of the beginning of a connection; `None` where the gate is ending and nothing came soon. A client that
/// says nothing would hold up the end.
pub(crate) async fn unless_ending<T>(gate: &Gate, beginning: impl Future<Output = T>) -> Option<T> {
    let ending = async {
        gate.stopping.cancelled().await;
        tokio::time::sleep(SPOKEN_WITHIN).await;
    };
    tokio::select! {
        biased;
        begun = beginning => Some(begun),
        () = ending => None,
    }
}
