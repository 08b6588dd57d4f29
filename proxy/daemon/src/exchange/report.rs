//! What metrics, trace and log are told of an exchange, when it is over and of the gate's own work on it.

use std::time::Duration;

use decide::case::{Case, MicroUsd, Presented, Timestamp};
use decide::verdict::KeyEnd;
use decide::{Known, Reason, Refusal};
use http::HeaderMap;

use super::Exchange;
use crate::clock::Clock;
use crate::gate::Gate;
use crate::metrics::{Ended, Finished, Intake, KeyFault, Step, UpstreamFault};
use crate::record::Outcome;
use crate::route::Route;
use crate::subject::Subject;
use crate::telemetry::{ExchangeSpan, Opened};

impl Gate {
    /// The span of what begins here; nothing at all where no service has set up telemetry.
    pub(crate) fn span(&self, headers: &HeaderMap, opened: Opened<'_>) -> ExchangeSpan {
        self.spans.get().map_or_else(ExchangeSpan::none, |spans| spans.open(headers, opened))
    }
}

/// How an exchange ended, for those who look on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) ended: Ended,
    pub(crate) rule: Option<&'a str>,
    pub(crate) outcome: Option<&'a Outcome>,
    pub(crate) answered_by: Option<&'a str>,
    pub(crate) streamed: bool,
    pub(crate) now: Timestamp,
}

impl<'a> Ending<'a> {
    /// Of what was refused.
    pub(crate) const fn refused(rule: &'a str, now: Timestamp) -> Self {
        let ended = Ended::Refused;
        Self { ended, rule: Some(rule), outcome: None, answered_by: None, streamed: false, now }
    }

    /// Of what the ledger did not take.
    pub(crate) const fn unrecorded(now: Timestamp) -> Self {
        Self { ended: Ended::Unrecorded, rule: None, ..Self::refused("", now) }
    }

    /// Of one whose caller went away before anything was decided.
    pub(crate) const fn gone(now: Timestamp) -> Self {
        Self { ended: Ended::Gone, rule: None, ..Self::refused("", now) }
    }

    /// Of what was carried out.
    pub(crate) fn of(outcome: &'a Outcome, now: Timestamp) -> Self {
        let cut = outcome.cut.as_ref();
        let upstream = cut.is_some_and(|cut| matches!(cut.reason, Reason::Upstream(_)));
        let ended = match cut {
            _ if outcome.gone => Ended::Gone,
            Some(_) if upstream && outcome.status.is_none() => Ended::Failed,
            Some(_) if upstream => Ended::Broken,
            Some(_) => Ended::Cut,
            None if outcome.broken => Ended::Broken,
            None => Ended::Answered,
        };
        let rule = cut.filter(|_| ended == Ended::Cut).map(|cut| cut.rule.0);
        Self { ended, rule, outcome: Some(outcome), ..Self::refused("", now) }
    }
}

/// What is over, where its intake, subject and route say the rest.
#[derive(Debug)]
pub(crate) struct Over<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) subject: &'a Subject,
    pub(crate) route: &'a Route,
    pub(crate) intake: Intake,
    pub(crate) case: &'a Case,
    pub(crate) operation: &'a str,
}

impl Over<'_> {
    /// Tells everybody who looks on.
    pub(crate) fn tell(&self, span: ExchangeSpan, ending: &Ending<'_>) {
        let outcome = ending.outcome;
        let finished = Finished {
            ended: ending.ended,
            rule: ending.rule,
            intake: self.intake,
            agent: &self.subject.run.agent,
            dialect: wire::dialect(self.route.provider).name(),
            operation: self.operation,
            host: &self.route.host,
            port: self.route.port,
            model: asked(self.case),
            answered_by: ending.answered_by,
            status: outcome.and_then(|outcome| outcome.status),
            provider_id: outcome.and_then(|outcome| outcome.provider_id.as_deref()),
            usage: outcome.and_then(|outcome| outcome.usage),
            spent: outcome.and_then(|outcome| outcome.cost).unwrap_or(MicroUsd(0)),
            streamed: ending.streamed,
            first_byte_us: outcome.and_then(|outcome| outcome.first_byte_us),
            took_us: ending.now.0.saturating_sub(self.case.received.0),
        };
        let (ended, rule) = (finished.ended.name(), finished.rule.unwrap_or_default());
        let (status, took_us) = (finished.status, finished.took_us);
        tracing::debug!(ended, rule, status, took_us, host = finished.host, "the exchange is over");
        if finished.ended == Ended::Broken {
            self.gate.metrics.upstream_failed(UpstreamFault::Closed);
        }
        // A `tollgate exec` has nobody who would ask, and does without.
        if self.gate.spans.get().is_some() {
            self.gate.metrics.finished(&finished);
        }
        span.finish(&finished);
    }
}

impl Exchange {
    /// Tells everybody who looks on how it ended.
    pub(super) fn over(&mut self, ending: &Ending<'_>) {
        let over = Over {
            gate: &self.gate,
            subject: &self.subject,
            route: &self.route,
            intake: self.connection.intake(&self.route),
            case: &self.case,
            operation: &self.endpoint.operation,
        };
        over.tell(std::mem::take(&mut self.span), ending);
    }
}

/// The model that is asked.
pub(crate) fn asked(case: &Case) -> Option<&str> {
    match &case.ask {
        Known::Fact(ask) => ask.as_ref().map(|ask| ask.model.as_str()),
        Known::Missing(_) => None,
    }
}

/// What was wrong with the virtual key, where that is why a request was refused.
pub(super) fn key_fault(refusal: &Refusal, case: &Case, agent: &str) -> Option<KeyFault> {
    if !matches!(refusal.rule.0, "ingress/virtual_key" | "ingress/key_lifetime") {
        return None;
    }
    let presented = match &case.key {
        Known::Fact(presented) => Some(presented),
        Known::Missing(_) => None,
    };
    if matches!(refusal.reason, Reason::UnknownKey) {
        let several = matches!(presented, Some(Presented::Ambiguous));
        return Some(if several { KeyFault::Ambiguous } else { KeyFault::Unknown });
    }
    let of_another = matches!(presented, Some(Presented::Key(key)) if key.agent != agent);
    if let Reason::KeyOver(end) = &refusal.reason {
        let used_up = matches!(end, KeyEnd::UsedUp);
        return Some(if used_up { KeyFault::UsedUp } else { KeyFault::Over });
    }
    if matches!(refusal.reason, Reason::KeyUsedElsewhere(_) | Reason::KeyUnbound(_)) || of_another {
        return Some(KeyFault::Elsewhere);
    }
    matches!(refusal.reason, Reason::KeyBoundElsewhere(_)).then_some(KeyFault::OtherCredential)
}

/// The time that the gate itself works on an exchange, step by step; where nobody looks on it is not
/// measured.
#[derive(Debug, Default)]
pub(crate) struct Work(Option<Timestamp>);

impl Work {
    /// The first step begins, in a service.
    pub(super) fn begin(&mut self, gate: &Gate) {
        if gate.spans.get().is_some() {
            self.0 = Some(gate.clock.now());
        }
    }

    /// A step is done and the next one begins.
    pub(super) fn done(&mut self, step: Step, gate: &Gate) {
        if let Some(began) = self.0 {
            let now = gate.clock.now();
            gate.metrics.added(step, Duration::from_micros(now.0.saturating_sub(began.0)));
            self.0 = Some(now);
        }
    }

    /// Since when it waits for somebody else, which is no work of the gate's own.
    pub(super) fn pause(&self, clock: &Clock) -> Option<Timestamp> {
        self.0.map(|_| clock.now())
    }

    /// It goes on after a wait that began then.
    pub(super) fn resume(&mut self, paused: Option<Timestamp>, clock: &Clock) {
        if let (Some(began), Some(paused)) = (&mut self.0, paused) {
            began.0 = began.0.saturating_add(clock.now().0.saturating_sub(paused.0));
        }
    }
}

#[cfg(test)]
mod tests;
