//! One request, from top to bottom: observe, judge, record, enact.
//!
//! Its connection lends an exchange a task and only listens: a caller that vanished is something that
//! happened to the exchange, which goes on without it and never leaves money or a record half done.

pub mod body;
mod forward;
mod gather;
mod report;
pub(crate) mod settle;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use decide::case::{Case, Endpoint, KillScope};
use decide::chain::CHAIN;
use decide::stream::StreamJudge;
use decide::{Band, Decision, Outcome, Refusal, RequestContext};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use wire::Dialect;

use crate::answer;
use crate::answer::body::AnswerBody;
use crate::answer::echo::Echo;
use crate::clock;
use crate::gate::Gate;
use crate::intake::Connection;
use crate::keys::{KeyUsed, Owner};
use crate::kills::{Entry, Guard};
use crate::money::books::Booked;
use crate::record;
use crate::route::Route;
use crate::run::Run;
use crate::subject::Subject;
use crate::telemetry::{ExchangeSpan, Opened};
use crate::terms::Terms;
use crate::upstream::resolve::Resolved;

use report::Work;
pub(crate) use report::{Ending, Over};

/// Where the connection waits for the head of its answer.
pub(crate) type Reply = oneshot::Sender<Response<AnswerBody>>;

/// The exchange ended without an answer; the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the exchange ended without an answer")]
pub struct Unanswered;

/// Carries one request through. The connection waits here; the exchange goes on without it.
///
/// # Errors
///
/// [`Unanswered`] when the exchange was reset.
pub async fn serve(
    connection: Arc<Connection>,
    route: Arc<Route>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let (head, body) = request.into_parts();
    let (subject, owner) = connection.subject_of(&head, &route);
    let run = &subject.run;
    if !connection.has_place(run) {
        let what = "too many connections";
        return Box::pin(settle::refuse_busy(&connection, &subject, &route, what)).await;
    }
    let exchanges = Arc::clone(&run.room.load().exchanges);
    let Ok(room) = exchanges.try_acquire_owned() else {
        let what = "too many requests at once";
        return Box::pin(settle::refuse_busy(&connection, &subject, &route, what)).await;
    };
    let (reply, answer) = oneshot::channel();
    let tasks = run.tasks.clone();
    let exchange = async move {
        match Exchange::open(connection, (subject, owner), route, &head, room) {
            Ok(exchange) => {
                let lines = tracing::debug_span!("exchange", decision = exchange.case.id);
                exchange.carry(head, body, reply).instrument(lines).await;
            }
            Err(error) => tracing::error!(%error, "no random numbers: the request is dropped"),
        }
    };
    Attended { exchange: Some(Box::pin(exchange)), answer, tasks }.await
}

/// An exchange and its connection, which lends it its own task for as long as it waits for the head
/// of the answer. What is left of the exchange by then, or when the connection waits no longer,
/// becomes a task of its own.
struct Attended {
    exchange: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    answer: oneshot::Receiver<Response<AnswerBody>>,
    tasks: TaskTracker,
}

impl Attended {
    fn release(&mut self) {
        // Without a runtime everything ends with the gate, and the exchange is in doubt.
        if let (Some(exchange), Ok(runtime)) = (self.exchange.take(), Handle::try_current()) {
            self.tasks.spawn_on(exchange, &runtime);
        }
    }
}

impl Future for Attended {
    type Output = Result<Response<AnswerBody>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.exchange.as_mut().is_some_and(|going| going.as_mut().poll(cx).is_ready()) {
            self.exchange = None;
        }
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        self.release();
        Poll::Ready(answer.map_err(|_ended| Unanswered))
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.release();
    }
}

/// One exchange and what is known of it so far.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) gate: Arc<Gate>,
    pub(crate) run: Arc<Run>,
    pub(crate) subject: Subject,
    /// Whose the virtual key in the request is, where that was asked to know the subject.
    owner: Option<Owner>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) route: Arc<Route>,
    /// The addresses that the route's name stands for, once it was judged and looked up: this request
    /// goes to one of these, whatever another finds out meanwhile.
    pub(crate) resolved: Option<Resolved>,
    pub(crate) trace: String,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) case: Case,
    pub(crate) live: Guard,
    pub(crate) booked: Option<Booked>,
    pub(crate) used: Option<KeyUsed>,
    /// The real key that was put in, as it is sought in the answer.
    pub(crate) echo: Option<Box<Echo>>,
    span: ExchangeSpan,
    work: Work,
    /// Its decision to forward is on disk, and how it ended is not written yet.
    open: bool,
    _room: OwnedSemaphorePermit,
}

/// Why an exchange waits no longer.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A kill switch was set.
    Killed(KillScope),
    /// The caller went away before anything was decided.
    Gone,
}

impl Drop for Exchange {
    /// An exchange that ends without its own word, because its task was ended with the gate or
    /// failed, is in doubt; one of which nothing was decided keeps nothing.
    fn drop(&mut self) {
        self.gate.metrics.live.dec();
        if self.open {
            self.doubt();
        } else {
            self.settle_nothing();
        }
    }
}

impl Exchange {
    fn open(
        connection: Arc<Connection>,
        (subject, owner): (Subject, Option<Owner>),
        route: Arc<Route>,
        head: &Parts,
        room: OwnedSemaphorePermit,
    ) -> std::io::Result<Box<Self>> {
        let gate = Arc::clone(&connection.gate);
        let run = Arc::clone(&subject.run);
        let received = gate.clock.now();
        let id = clock::ulid(received)?;
        let span = gate.span(&head.headers, Opened { received, decision: &id });
        let dialect = wire::dialect(route.provider);
        let entry = Entry {
            exchange: id.clone(),
            agent: run.agent.clone(),
            team: subject.terms.policy.team.clone(),
            key: None,
            reset: connection.reset.clone(),
        };
        let live = gate.kills.enter(entry);
        gate.metrics.live.inc();
        Ok(Box::new(Self {
            trace: record::trace(&head.headers, &id),
            dialect,
            endpoint: dialect.endpoint(&head.method, &head.uri),
            case: Case::opened(id, received),
            booked: None,
            used: None,
            echo: None,
            span,
            work: Work::default(),
            open: false,
            _room: room,
            live,
            gate,
            run,
            subject,
            owner,
            connection,
            route,
            resolved: None,
        }))
    }

    /// From its head to its end.
    async fn carry(self: Box<Self>, head: Parts, body: Incoming, reply: Reply) {
        // Each step is freed before the next, so that a quiet stream holds no more than it needs.
        let Some(judged) = Box::pin(self.judge(head, body, reply)).await else { return };
        let Some(carried) = Box::pin(judged.enact()).await else { return };
        Box::pin(answer::carry(carried)).await;
    }

    /// Observes and judges. What is refused ends here.
    async fn judge(
        mut self: Box<Self>,
        head: Parts,
        mut body: Incoming,
        mut reply: Reply,
    ) -> Option<Judged> {
        let terms = Arc::clone(&self.subject.terms);
        let mut judging = CHAIN.open(&terms.policy, terms.mode);
        self.gather_ingress(&head);
        if !judging.band(Band::Ingress, &self.case) {
            Box::pin(self.refuse(judging.decide(), Some(body), reply)).await;
            return None;
        }
        let whole = match self.read_body(&head, &mut body, &mut reply).await {
            Ok(whole) => whole,
            Err(stop) => {
                Box::pin(self.stopped(stop, Some(body), reply)).await;
                return None;
            }
        };
        let reading = match self.gather_filtering(&head, &whole, &mut reply).await {
            Ok(reading) => reading,
            Err(stop) => {
                Box::pin(self.stopped(stop, Some(body), reply)).await;
                return None;
            }
        };
        if !judging.band(Band::Filtering, &self.case) {
            Box::pin(self.refuse(judging.decide(), Some(body), reply)).await;
            return None;
        }
        let scanned = match self.gather_content(&head, &whole, &reading, &mut reply).await {
            Ok(scanned) => scanned,
            Err(stop) => {
                Box::pin(self.stopped(stop, None, reply)).await;
                return None;
            }
        };
        if !judging.band(Band::Content, &self.case) {
            Box::pin(self.refuse(judging.decide(), None, reply)).await;
            return None;
        }
        if let Err(stop) = self.gather_engines(&whole, &reading, &mut reply).await {
            Box::pin(self.stopped(stop, None, reply)).await;
            return None;
        }
        if judging.band(Band::Engines, &self.case) {
            judging.band(Band::Verdict, &self.case);
        }
        let decision = judging.decide();
        let Outcome::Forward { redact } = decision.outcome else {
            Box::pin(self.refuse(decision, None, reply)).await;
            return None;
        };
        let amended = self.amend(&head, &whole, &reading, &scanned, redact, &mut reply).await;
        drop(reading);
        drop(whole);
        match amended {
            Ok(outbound) => Some(Judged { exchange: self, head, outbound, decision, reply }),
            Err(stop) => {
                Box::pin(self.stopped(stop, None, reply)).await;
                None
            }
        }
    }

    /// Ends an exchange of which nothing was decided yet. A kill is a refusal; of a caller that is
    /// gone there is nobody to refuse, and nothing was asked of anybody.
    async fn stopped(mut self: Box<Self>, stop: Stop, body: Option<Incoming>, reply: Reply) {
        let scope = match stop {
            Stop::Killed(scope) => scope,
            Stop::Gone => return self.over(&Ending::gone(self.gate.clock.now())),
        };
        self.case.kills = decide::Known::Fact([scope].into());
        let terms = Arc::clone(&self.subject.terms);
        let decision = CHAIN.judge(&self.case, &terms.policy, terms.mode);
        self.refuse(decision, body, reply).await;
    }

    /// Carries out a refusal: recorded, then told, then what the caller still sends is thrown away
    /// so that it gets to see the answer.
    async fn refuse(mut self: Box<Self>, decision: Decision, body: Option<Incoming>, reply: Reply) {
        let refusal = match &decision.outcome {
            Outcome::Refuse(refusal) => refusal.clone(),
            Outcome::Forward { .. } => unsealed(),
        };
        self.settle_nothing();
        match self.record(&decision, None).await {
            Ok(()) => {
                self.tell(&refusal, reply);
                self.over(&Ending::refused(refusal.rule.0, self.gate.clock.now()));
            }
            Err(error) => self.answer_unrecorded(&error, reply),
        }
        if let Some(body) = body {
            body::discard(body).await;
        }
    }
}

/// A decision to forward, on its way.
struct Judged {
    exchange: Box<Exchange>,
    head: Parts,
    outbound: forward::Outbound,
    decision: Decision,
    reply: Reply,
}

impl Judged {
    /// Carries the decision out: on disk first, then the last look at the switches, then the first
    /// byte that leaves.
    async fn enact(self) -> Option<answer::Carried> {
        let Self { mut exchange, head, outbound, decision, mut reply } = self;
        if let Err(error) = exchange.record(&decision, Some(&outbound)).await {
            exchange.settle_nothing();
            exchange.answer_unrecorded(&error, reply);
            return None;
        }
        exchange.open = true;
        // The use of the key is the ledger's now: nothing gives it back.
        exchange.used = None;
        if let Some(scope) = exchange.live.is_killed() {
            exchange.answer_failure(&forward::Failure::NotSent(killed(scope)), reply);
            return None;
        }
        let judge = exchange.watch(&decision);
        let terms = outbound.terms;
        match exchange.send(head, outbound, &mut reply).await {
            Ok(sent) => {
                exchange.span.answered();
                Some(answer::Carried { exchange, sent, terms, judge, reply })
            }
            Err(failure) => {
                exchange.answer_failure(&failure, reply);
                None
            }
        }
    }
}

impl Exchange {
    /// Opens the watches on the answer, and counts what observe let pass in the request.
    fn watch(&self, decision: &Decision) -> StreamJudge {
        if let Some(observed) = &decision.observed {
            self.run.note_observed(observed);
            self.gate.metrics.observed.with_label_values(&[observed.rule.name()]).inc();
        }
        let Terms { policy, mode, .. } = self.subject.terms.as_ref();
        let cx = RequestContext { case: &self.case, policy, trail: &decision.trail };
        StreamJudge::open(&CHAIN, &cx, *mode)
    }
}

pub(crate) fn killed(scope: KillScope) -> Refusal {
    Refusal { rule: decide::RuleId("ingress/kill_switch"), reason: decide::Reason::Killed(scope) }
}

pub(crate) fn expired() -> Refusal {
    Refusal {
        rule: decide::RuleId("ingress/key_lifetime"),
        reason: decide::Reason::KeyOver(decide::verdict::KeyEnd::Expired),
    }
}

fn unsealed() -> Refusal {
    Refusal { rule: decide::RuleId("verdict/seal"), reason: decide::Reason::Unsealed }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// An exchange that ends when it is let, what lets it, and what tells that it has ended.
    fn attended() -> (Attended, oneshot::Sender<()>, oneshot::Receiver<()>, Reply) {
        let (letting, wait) = oneshot::channel::<()>();
        let (tell, ended) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let exchange = async move {
            wait.await.unwrap();
            tell.send(()).unwrap();
        };
        let tasks = TaskTracker::new();
        (Attended { exchange: Some(Box::pin(exchange)), answer, tasks }, letting, ended, reply)
    }

    fn poll(attended: &mut Attended) -> Poll<Result<Response<AnswerBody>, Unanswered>> {
        Pin::new(attended).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn an_exchange_goes_on_when_its_connection_waits_no_longer() {
        let (mut attended, letting, ended, _reply) = attended();
        assert!(poll(&mut attended).is_pending());
        drop(attended);
        letting.send(()).unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn an_exchange_goes_on_when_the_head_of_its_answer_is_there() {
        let (mut attended, letting, ended, reply) = attended();
        assert!(poll(&mut attended).is_pending());
        reply.send(Response::new(AnswerBody::whole(bytes::Bytes::new()))).unwrap();
        assert!(poll(&mut attended).is_ready());
        letting.send(()).unwrap();
        ended.await.unwrap();
    }
}
