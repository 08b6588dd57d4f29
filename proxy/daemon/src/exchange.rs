//! One request, from top to bottom: observe, judge, record, enact.
//!
//! An exchange is a task of its own, to which its connection only listens: a caller that vanished
//! is something that happened to the exchange, and never leaves money or a record half done.

pub mod body;
mod forward;
mod gather;
pub(crate) mod settle;

use std::sync::Arc;

use decide::case::{Case, Endpoint, KillScope};
use decide::chain::CHAIN;
use decide::{Band, Decision, Outcome, Refusal, RequestContext};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use wire::Dialect;

use crate::answer;
use crate::answer::body::AnswerBody;
use crate::clock;
use crate::gate::Gate;
use crate::intake::Connection;
use crate::keys::KeyUsed;
use crate::kills::{Entry, Guard};
use crate::money::books::Booked;
use crate::record;
use crate::run::Run;

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
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Unanswered> {
    let (reply, answer) = oneshot::channel();
    let tasks = connection.run.tasks.clone();
    tasks.spawn(async move {
        let (head, body) = request.into_parts();
        match Exchange::open(connection, &head) {
            Ok(exchange) => exchange.conduct(head, body, reply).await,
            Err(error) => tracing::error!(%error, "no random numbers: the request is dropped"),
        }
    });
    answer.await.map_err(|_ended| Unanswered)
}

/// One exchange and what is known of it so far.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) gate: Arc<Gate>,
    pub(crate) run: Arc<Run>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) trace: String,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) case: Case,
    pub(crate) live: Guard,
    pub(crate) booked: Option<Booked>,
    pub(crate) used: Option<KeyUsed>,
}

impl Exchange {
    fn open(connection: Arc<Connection>, head: &Parts) -> std::io::Result<Self> {
        let gate = Arc::clone(&connection.gate);
        let run = Arc::clone(&connection.run);
        let received = gate.clock.now();
        let id = clock::ulid(received)?;
        let dialect = wire::dialect(connection.provider);
        let entry = Entry {
            exchange: id.clone(),
            agent: run.agent.clone(),
            key: None,
            reset: connection.reset.clone(),
        };
        let live = gate.kills.enter(entry);
        gate.metrics.live.inc();
        Ok(Self {
            trace: record::trace(&head.headers, &id),
            dialect,
            endpoint: dialect.endpoint(&head.method, &head.uri),
            case: Case::opened(id, received),
            booked: None,
            used: None,
            live,
            gate,
            run,
            connection,
        })
    }

    async fn conduct(mut self, head: Parts, mut body: Incoming, mut reply: Reply) {
        let run = Arc::clone(&self.run);
        let mut judging = CHAIN.open(&run.policy, run.mode);
        self.gather_ingress(&head);
        if !judging.band(Band::Ingress, &self.case) {
            return self.refuse(judging.decide(), Some(body), reply).await;
        }
        let held = match self.read_body(&head, &mut body).await {
            Ok(held) => held,
            Err(scope) => return self.refuse_killed(scope, Some(body), reply).await,
        };
        let reading = self.dialect.read(&self.endpoint, &head, &held.decoded);
        if let Err(scope) = self.gather_filtering(&head, &held, &reading).await {
            return self.refuse_killed(scope, Some(body), reply).await;
        }
        if !judging.band(Band::Filtering, &self.case) {
            return self.refuse(judging.decide(), Some(body), reply).await;
        }
        let scanned = self.gather_content(&head, &held, &reading);
        if !judging.band(Band::Content, &self.case) {
            return self.refuse(judging.decide(), None, reply).await;
        }
        if let Err(scope) = self.gather_engines(&reading, reply.closed()).await {
            return self.refuse_killed(scope, None, reply).await;
        }
        if judging.band(Band::Engines, &self.case) {
            judging.band(Band::Verdict, &self.case);
        }
        let decision = judging.decide();
        let Outcome::Forward { redact } = decision.outcome else {
            return self.refuse(decision, None, reply).await;
        };
        let outbound = self.amend(&held, &reading, &scanned, redact);
        drop(reading);
        drop(held);
        self.enact(head, outbound, decision, reply).await;
    }

    /// Carries out a decision to forward: on disk first, then the last look at the switches, then
    /// the first byte that leaves.
    async fn enact(
        mut self,
        head: Parts,
        out: forward::Outbound,
        decision: Decision,
        reply: Reply,
    ) {
        if let Err(error) = self.record(&decision, Some(&out)).await {
            self.settle_nothing();
            return self.answer_unrecorded(&error, reply);
        }
        if let Some(scope) = self.live.is_killed() {
            let refusal = killed(scope);
            return self.answer_failure(&forward::Failure::NotSent(refusal), reply);
        }
        let judge = {
            let cx = RequestContext {
                case: &self.case,
                policy: &self.run.policy,
                trail: &decision.trail,
            };
            decide::stream::StreamJudge::open(&CHAIN, &cx, self.run.mode)
        };
        if let Some(observed) = &decision.observed {
            self.run.note_observed(observed);
            self.gate.metrics.observed.with_label_values(&[observed.rule.name()]).inc();
        }
        let terms = out.terms;
        match self.send(head, out).await {
            Ok(sent) => answer::carry(self, sent, terms, judge, reply).await,
            Err(failure) => self.answer_failure(&failure, reply),
        }
    }

    async fn refuse_killed(mut self, scope: KillScope, body: Option<Incoming>, reply: Reply) {
        self.case.kills = decide::Known::Fact([scope].into());
        let run = Arc::clone(&self.run);
        let decision = CHAIN.judge(&self.case, &run.policy, run.mode);
        self.refuse(decision, body, reply).await;
    }

    /// Carries out a refusal: recorded, then told, then what the caller still sends is thrown away
    /// so that it gets to see the answer.
    async fn refuse(mut self, decision: Decision, body: Option<Incoming>, reply: Reply) {
        let refusal = match &decision.outcome {
            Outcome::Refuse(refusal) => refusal.clone(),
            Outcome::Forward { .. } => unsealed(),
        };
        self.settle_nothing();
        match self.record(&decision, None).await {
            Ok(()) => self.tell(&refusal, reply),
            Err(error) => self.answer_unrecorded(&error, reply),
        }
        if let Some(body) = body {
            body::discard(body).await;
        }
    }
}

pub(crate) fn killed(scope: KillScope) -> Refusal {
    Refusal { rule: decide::RuleId("ingress/kill_switch"), reason: decide::Reason::Killed(scope) }
}

fn unsealed() -> Refusal {
    Refusal { rule: decide::RuleId("verdict/seal"), reason: decide::Reason::Unsealed }
}
