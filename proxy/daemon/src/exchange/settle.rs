//! What is written down and paid at the end of an exchange, and what its caller is told.

use audit::{Fact, Kind};
use decide::case::{Address, BudgetScope, Case, MicroUsd, Presented, Timestamp};
use decide::{Decision, Known, Missing, Reason, Refusal, RuleId, Setting};
use http::Response;
use wire::{Heard, Told};

use super::forward::{Failure, Outbound};
use super::report::{self, Ending, Over};
use super::{Exchange, Reply};
use crate::answer::body::AnswerBody;
use crate::clock;
use crate::exchange::Unanswered;
use crate::gate::Gate;
use crate::intake::Connection;
use crate::journal::Unrecorded;
use crate::keys::KeyUsed;
use crate::metrics::{Intake, Step};
use crate::money::books::Booked;
use crate::money::{self, Settlement};
use crate::record::{Amended, Concluded, Decided, Outcome, Usage};
use crate::route::Route;
use crate::subject::Subject;
use crate::telemetry::ExchangeSpan;
use crate::upstream::resolve::Resolved;

/// What was asked where nothing of it was read.
const UNREAD: &str = "unread";
/// Headers in which providers name their own id of a request.
const PROVIDER_IDS: [&str; 2] = ["x-request-id", "request-id"];

impl Exchange {
    /// Puts the decision on disk. A refusal that only repeats many like it is counted instead.
    pub(super) async fn record(
        &mut self,
        decision: &Decision,
        out: Option<&Outbound>,
    ) -> Result<(), Unrecorded> {
        self.work.done(Step::Judge, &self.gate);
        let key = self.key();
        let written = Written {
            booked: self.booked.clone(),
            used: out.and(self.used.clone()),
            key: key.map(|key| key.id.as_str()),
            credential: key.map(|key| key.credential.clone()),
            amended: out.map_or_else(Amended::default, |out| out.amended),
            trace: &self.trace,
            ..Written::of(&self.gate, &self.subject, &self.route, &self.case, decision)
        };
        written.commit().await?;
        self.work.done(Step::Record, &self.gate);
        Ok(())
    }

    pub(crate) fn key(&self) -> Option<&decide::case::Key> {
        match &self.case.key {
            Known::Fact(Presented::Key(key)) => Some(key),
            Known::Fact(Presented::Nothing | Presented::Unknown | Presented::Ambiguous)
            | Known::Missing(_) => None,
        }
    }

    /// Gives back what was set aside for an exchange that was refused before it was recorded.
    pub(super) fn settle_nothing(&mut self) {
        if self.booked.take().is_some() {
            self.gate.books.cancel(&self.case.id, self.gate.clock.now());
        }
        if let Some(used) = self.used.take() {
            self.gate.keys.give_back(&used);
        }
    }

    /// How the caller is told of a refusal.
    pub(crate) fn told<'a>(&'a self, refusal: &'a Refusal, hint: Option<&'a str>) -> Told<'a> {
        Told { refusal, decision: &self.case.id, hint, trace: Some(&self.trace) }
    }

    /// What can be done about a refusal, in a command that can be typed as it stands.
    pub(crate) fn hint(&self, refusal: &Refusal) -> Option<String> {
        hint_in(&self.run.id, self.run.setting, refusal)
    }

    /// Tells the caller, who may be gone.
    pub(crate) fn tell(&self, refusal: &Refusal, reply: Reply) {
        let hint = self.hint(refusal);
        let response = self.dialect.refuse(&self.told(refusal, hint.as_deref()));
        drop(reply.send(whole(response)));
    }

    /// Nothing may leave that is not recorded.
    pub(super) fn answer_unrecorded(&mut self, error: &Unrecorded, reply: Reply) {
        tracing::error!(%error, id = self.case.id, "refused: not recorded");
        self.tell(
            &Refusal { rule: RuleId("verdict/seal"), reason: Missing::Unreachable.into() },
            reply,
        );
        self.over(&Ending::unrecorded(self.gate.clock.now()));
    }

    /// Carried out, and nothing came back.
    pub(super) fn answer_failure(self: Box<Self>, failure: &Failure, reply: Reply) {
        let (refusal, sent) = match failure {
            Failure::NotSent(refusal) => (Some(refusal), false),
            Failure::Sent(refusal) => (Some(refusal), true),
            Failure::Gone => (None, true),
        };
        let mut ended = Ended { sent, ..Ended::default() };
        ended.outcome.gone = refusal.is_none();
        if let Some(refusal) = refusal {
            self.tell(refusal, reply);
        }
        ended.outcome.cut = refusal.cloned();
        self.close(ended);
    }

    /// The exchange ends where it stands: something may have been sent, and nothing is known of it.
    pub(super) fn doubt(&mut self) {
        self.open = false;
        let how = Settlement::InDoubt { estimate: MicroUsd(0), tokens: 0 };
        let now = self.gate.clock.now();
        let settled =
            self.booked.take().and_then(|_| self.gate.books.settle(&self.case.id, how, now));
        if let Some(settled) = &settled {
            self.count_money(settled, None);
        }
        let outcome = Outcome {
            id: self.case.id.clone(),
            run: self.run.id.clone(),
            agent: self.run.agent.clone(),
            key: self.key().map(|key| key.id.clone()),
            model: self.model().map(str::to_owned),
            in_doubt: settled.as_ref().map(|settled| settled.in_doubt),
            settled,
            broken: true,
            took_us: now.0.saturating_sub(self.case.received.0),
            ..Outcome::default()
        };
        self.gate.journal.ride(Kind::Outcome, self.run.who(outcome.key.as_deref()), &outcome);
    }

    /// Time left until the virtual key expires.
    pub(crate) fn expires_in(&self) -> Option<std::time::Duration> {
        let expires = self.key()?.expires?;
        Some(std::time::Duration::from_micros(expires.0.saturating_sub(self.gate.clock.now().0)))
    }

    /// Settles and writes down how it ended.
    pub(crate) fn close(mut self: Box<Self>, ended: Ended) {
        self.open = false;
        let now = self.gate.clock.now();
        let how = self.settlement(&ended);
        let Ended { mut outcome, usage, first_byte, answered_by, streamed, .. } = ended;
        if self.booked.take().is_some() {
            outcome.settled = self.gate.books.settle(&self.case.id, how, now);
        }
        if let Some(settled) = &outcome.settled {
            outcome.cost = Some(settled.spent);
            outcome.in_doubt = (settled.in_doubt.0 > 0).then_some(settled.in_doubt);
            self.count_money(settled, usage.as_ref());
        }
        outcome.id.clone_from(&self.case.id);
        outcome.run.clone_from(&self.run.id);
        outcome.agent.clone_from(&self.run.agent);
        outcome.key = self.key().map(|key| key.id.clone());
        outcome.model = self.model().map(str::to_owned);
        outcome.usage = usage.as_ref().map(counted);
        outcome.took_us = now.0.saturating_sub(self.case.received.0);
        outcome.first_byte_us = first_byte.map(|at| at.0.saturating_sub(self.case.received.0));
        if let Some(refusal) = &outcome.cut {
            self.run.note_refused(refusal, &self.route.host, &self.case.id);
            self.gate.metrics.cuts.with_label_values(&[refusal.rule.name()]).inc();
        }
        if let Some(observed) = &outcome.observed {
            self.run.note_observed(observed);
        }
        let who = self.run.who(outcome.key.as_deref());
        self.gate.journal.ride(Kind::Outcome, who, &outcome);
        let answered_by = answered_by.as_deref();
        self.over(&Ending { answered_by, streamed, ..Ending::of(&outcome, now) });
    }

    /// What becomes of the reservation. Only a whole answer's figure is the provider's last word;
    /// what was cut, or vanished, stays counted in full.
    fn settlement(&self, ended: &Ended) -> Settlement {
        let refused = ended.outcome.status.is_some_and(|status| status >= 400);
        if !ended.sent || refused {
            return Settlement::Zero;
        }
        let tokens = ended.usage.as_ref().map_or(0, money::Usage::tokens);
        let cost = self
            .price()
            .zip(ended.usage.as_ref())
            .and_then(|(price, usage)| money::actual(usage, price));
        match cost {
            Some(cost) if ended.finished => Settlement::Actual { cost, tokens },
            Some(estimate) => Settlement::InDoubt { estimate, tokens },
            None => Settlement::InDoubt { estimate: MicroUsd(0), tokens },
        }
    }

    fn count_money(&self, settled: &money::books::Settled, usage: Option<&money::Usage>) {
        let model = self.model().unwrap_or_default();
        self.run.note_spent(model, settled.tokens, settled.spent, settled.in_doubt);
        let metrics = &self.gate.metrics;
        metrics.spent.inc_by(settled.spent.0);
        metrics.in_doubt.inc_by(settled.in_doubt.0);
        if let Some(usage) = usage {
            metrics.tokens.with_label_values(&["input"]).inc_by(usage.all_input());
            metrics.tokens.with_label_values(&["output"]).inc_by(usage.output);
        }
        let limit = self.subject.terms.contract().and_then(|contract| contract.budgets.run);
        let limit = self.gate.books.run_limit(&self.run.id, limit);
        if let Some(line) = limit.and_then(|limit| self.run.warning(limit)) {
            self.run.notify(&line);
        }
    }

    fn model(&self) -> Option<&str> {
        report::asked(&self.case)
    }

    /// The price of the model that is asked.
    pub(super) fn price(&self) -> Option<&'static money::Model> {
        self.gate.catalog.model(self.dialect.name(), self.model()?)
    }
}

/// What can be done about a refusal in this run.
pub(crate) fn hint_in(run: &str, setting: Setting, refusal: &Refusal) -> Option<String> {
    let hint = refusal.hint(setting)?;
    let of_the_run = matches!(refusal.reason, Reason::OverBudget { scope: BudgetScope::Run, .. });
    Some(if of_the_run { hint.replace("--run ID", &format!("--run {run}")) } else { hint })
}

/// How an exchange ended, while it ends.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// What is known for the record.
    pub(crate) outcome: Outcome,
    /// The provider's latest figure.
    usage: Option<money::Usage>,
    /// Something may have reached the provider.
    sent: bool,
    /// The provider's answer came to its end.
    pub(crate) finished: bool,
    /// The answer is a stream of events.
    streamed: bool,
    /// The model that the answer names.
    answered_by: Option<String>,
    first_byte: Option<Timestamp>,
}

impl Ended {
    /// Of an exchange whose answer begins with `head` and is a stream of events, or is not.
    pub(crate) fn answered(head: &http::response::Parts, streamed: bool) -> Self {
        let provider_id = PROVIDER_IDS
            .iter()
            .find_map(|name| head.headers.get(*name)?.to_str().ok())
            .map(|id| id.chars().take(128).collect());
        let outcome =
            Outcome { status: Some(head.status.as_u16()), provider_id, ..Outcome::default() };
        Self { outcome, sent: true, streamed, ..Self::default() }
    }

    /// Takes in what one event of the answer says.
    pub(crate) fn note(&mut self, heard: &Heard) {
        if let Some(usage) = &heard.usage {
            self.usage = Some(money_usage(usage));
        }
        if let (Some(model), None) = (&heard.model, &self.answered_by) {
            self.answered_by = Some(model.chars().take(128).collect());
        }
        self.outcome.calls.extend(heard.calls.iter().map(|call| call.name.clone()));
    }

    /// Counts bytes that the caller was sent.
    pub(crate) fn released(&mut self, exchange: &Exchange, bytes: usize) {
        if self.first_byte.is_none() {
            let now = exchange.gate.clock.now();
            self.first_byte = Some(now);
            let waited =
                std::time::Duration::from_micros(now.0.saturating_sub(exchange.case.received.0));
            exchange.gate.metrics.first_byte.observe(waited.as_secs_f64());
        }
        self.outcome.bytes_out += bytes as u64;
    }
}

/// A decision on its way to the ledger.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    gate: &'a Gate,
    subject: &'a Subject,
    route: &'a Route,
    case: &'a Case,
    decision: &'a Decision,
    trace: &'a str,
    booked: Option<Booked>,
    used: Option<KeyUsed>,
    key: Option<&'a str>,
    credential: Option<String>,
    amended: Amended,
}

impl<'a> Written<'a> {
    /// A decision that books nothing and uses no key.
    pub(crate) fn of(
        gate: &'a Gate,
        subject: &'a Subject,
        route: &'a Route,
        case: &'a Case,
        decision: &'a Decision,
    ) -> Self {
        Self {
            gate,
            subject,
            route,
            case,
            decision,
            trace: &case.id,
            booked: None,
            used: None,
            key: None,
            credential: None,
            amended: Amended::default(),
        }
    }

    /// Waits until it is on disk.
    ///
    /// # Errors
    ///
    /// It is not, so it must not be carried out.
    pub(crate) async fn commit(self) -> Result<(), Unrecorded> {
        let Self { gate, subject, route, .. } = self;
        let Subject { run, terms, .. } = subject;
        match &self.decision.outcome {
            decide::Outcome::Refuse(refusal) => {
                run.note_refused(refusal, &route.host, &self.case.id);
                if let Some(fault) = report::key_fault(refusal, self.case, &run.agent) {
                    gate.metrics.key_refused(fault);
                }
                let rule = refusal.rule.name();
                gate.metrics.decisions.with_label_values(&["refuse", rule]).inc();
                if !gate.journal.is_single(subject.source(), refusal) {
                    return Ok(());
                }
            }
            decide::Outcome::Forward { .. } => {
                if !gate.journal.has_share(&run.agent) {
                    return Err(Unrecorded::Share);
                }
                gate.metrics.decisions.with_label_values(&["forward", ""]).inc();
            }
        }
        let trail = gate.journal.trail(&self.decision.trail)?;
        let body = Decided::<&Case, Concluded<'_>> {
            booked: self.booked,
            used: self.used,
            id: self.case.id.clone(),
            trace: self.trace.to_owned(),
            run: run.id.clone(),
            agent: run.agent.clone(),
            mode: terms.mode,
            case: self.case,
            decision: Concluded::of(self.decision, trail.as_deref().map(Fact::digest)),
            policy: terms.policy_digest.clone(),
            credential: self.credential,
            amended: self.amended,
        };
        let timer = gate.metrics.commit.start_timer();
        gate.journal.commit_naming(Kind::Decision, run.who(self.key), &body, trail).await?;
        timer.observe_duration();
        Ok(())
    }
}

/// Records a connection that is refused before a request could be read on it.
pub(crate) async fn refuse_connection(
    gate: &Gate,
    subject: &Subject,
    route: &Route,
    intake: Option<Intake>,
    refusal: Refusal,
) {
    let Ok(id) = clock::ulid(gate.clock.now()) else { return };
    refuse(gate, subject, route, intake, (id, refusal)).await;
}

/// Records the refusal of what was not read, under its id. What came in by no intake, a question for
/// an address, is not counted among the requests.
pub(crate) async fn refuse(
    gate: &Gate,
    subject: &Subject,
    route: &Route,
    intake: Option<Intake>,
    (id, refusal): (String, Refusal),
) {
    let received = gate.clock.now();
    let mut case = Case::opened(id, received);
    case.caller = Known::Fact(subject.caller());
    case.destination = Known::Fact(route.fact(&subject.terms, None, true));
    let rule = refusal.rule.0;
    let decision =
        Decision { outcome: decide::Outcome::Refuse(refusal), observed: None, trail: Vec::new() };
    let mut ending = Ending::refused(rule, received);
    if let Err(error) = Written::of(gate, subject, route, &case, &decision).commit().await {
        tracing::error!(%error, "a refused connection is not recorded");
        ending = Ending::unrecorded(received);
    }
    if let Some(intake) = intake {
        let over = Over { gate, subject, route, intake, case: &case, operation: UNREAD };
        over.tell(ExchangeSpan::none(), &ending);
    }
}

/// Refuses a request of an agent that takes as much of the gate as it may; nothing of it is read.
///
/// # Errors
///
/// The system has no random numbers, so the refusal has no id.
pub(crate) async fn refuse_busy(
    connection: &Connection,
    subject: &Subject,
    route: &Route,
    what: &str,
) -> Result<Response<AnswerBody>, Unanswered> {
    let gate = &connection.gate;
    let id = clock::ulid(gate.clock.now()).map_err(|_no_random| Unanswered)?;
    let reason = Reason::Busy(format!("the agent has {what}"));
    let refusal = Refusal { rule: RuleId("filtering/throttle"), reason };
    let hint = hint_in(&subject.run.id, subject.run.setting, &refusal);
    let told = Told { refusal: &refusal, decision: &id, hint: hint.as_deref(), trace: Some(&id) };
    let response = whole(wire::dialect(route.provider).refuse(&told));
    let intake = Some(connection.intake(route));
    refuse(gate, subject, route, intake, (id, refusal)).await;
    Ok(response)
}

/// The fact of where a name leads.
pub(crate) fn address(resolved: &Resolved) -> Address {
    Address::Resolved {
        ip: resolved.addresses.first().map(|at| at.ip().to_string()).unwrap_or_default(),
        class: resolved.class,
        named: resolved.named,
    }
}

fn whole(response: Response<bytes::Bytes>) -> Response<AnswerBody> {
    response.map(AnswerBody::whole)
}

fn counted(usage: &money::Usage) -> Usage {
    Usage {
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write_5m: usage.cache_write_5m,
        cache_write_1h: usage.cache_write_1h,
        output: usage.output,
    }
}

fn money_usage(usage: &wire::Usage) -> money::Usage {
    let server = |name: &str| usage.server_tools.get(name).copied().unwrap_or_default();
    money::Usage {
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write_5m: usage.cache_write_5m,
        cache_write_1h: usage.cache_write_1h,
        output: usage.output,
        searches: server("web_search"),
        file_searches: server("file_search"),
        service_tier: usage.service_tier.clone(),
        geography: None,
        speed: None,
    }
}
