//! The gate's pen: enters decisions, outcomes and acts into the ledger, and keeps a flood of
//! refusals from filling it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use audit::{
    Admission, Body, Counted, Draft, Fact, Flood, Kind, Ledger, LedgerError, Receipt, Refused,
    Source, Urgency, Who,
};
use decide::chain::Said;
use decide::{Refusal, Verdict};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::record::{Refusals, TrailFact};

/// How many trails are at hand as facts. A contract brings forth a handful.
const TRAILS: usize = 16;

/// The ledger, as exchanges write to it.
#[derive(Debug)]
pub struct Journal {
    ledger: Ledger,
    flood: Mutex<Flood>,
    trails: Mutex<Vec<(Vec<Said>, Arc<Fact>)>>,
    clock: Clock,
}

/// Why something is not recorded, and so not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unrecorded {
    /// The ledger did not acknowledge it.
    #[error("the decision could not be recorded: {0}")]
    Ledger(#[from] LedgerError),
    /// The body cannot be written as JSON: a fault of this program.
    #[error("the decision could not be written down: {0}")]
    Form(String),
    /// The agent has used up its share of the ledger for this second.
    #[error("this agent writes more than {} entries a second", audit::AGENT_ENTRIES)]
    Share,
}

impl From<serde_json::Error> for Unrecorded {
    fn from(error: serde_json::Error) -> Self {
        Self::Form(error.to_string())
    }
}

impl Journal {
    /// Writes into `ledger`.
    #[must_use]
    pub fn new(ledger: Ledger, clock: Clock) -> Self {
        Self { ledger, flood: Mutex::new(Flood::new()), trails: Mutex::default(), clock }
    }

    /// The ledger.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Enters `body` and waits until it is durable.
    ///
    /// # Errors
    ///
    /// It is not acknowledged; whatever it was to precede must not happen.
    pub async fn commit(
        &self,
        kind: Kind,
        who: Who,
        body: &impl Serialize,
    ) -> Result<Receipt, Unrecorded> {
        self.commit_naming(kind, who, body, None).await
    }

    /// As [`Journal::commit`], for a body that names `fact`.
    ///
    /// # Errors
    ///
    /// As [`Journal::commit`].
    pub async fn commit_naming(
        &self,
        kind: Kind,
        who: Who,
        body: &impl Serialize,
        fact: Option<Arc<Fact>>,
    ) -> Result<Receipt, Unrecorded> {
        let draft = Draft { kind, who, body: Body::of(body)?, commitment: None };
        let (acknowledge, acknowledged) = oneshot::channel();
        // Who does not wait any more does not want to know.
        let ack = move |result| drop(acknowledge.send(result));
        match fact {
            Some(fact) => self.ledger.append_naming(draft, fact, Urgency::Commit, ack),
            None => self.ledger.append(draft, Urgency::Commit, ack),
        }
        let stopped = |_| LedgerError::Poisoned("its writer ended".to_owned());
        Ok(acknowledged.await.map_err(stopped)??)
    }

    /// The fact that a trail is, for entries to name. `None` where it gives a reason, which is one
    /// exchange's own: it is written out.
    ///
    /// # Errors
    ///
    /// It cannot be written as JSON.
    pub fn trail(&self, trail: &[Said]) -> Result<Option<Arc<Fact>>, Unrecorded> {
        if trail.iter().any(|said| matches!(said.verdict, Verdict::Block(_))) {
            return Ok(None);
        }
        let mut known = self.trails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fact)) = known.iter().find(|(said, _)| said == trail) {
            return Ok(Some(Arc::clone(fact)));
        }
        let body = Body::of(&TrailFact { trail: Cow::Borrowed(trail) })?;
        let fact = Arc::new(Fact::of(body));
        known.truncate(TRAILS - 1);
        known.insert(0, (trail.to_vec(), Arc::clone(&fact)));
        Ok(Some(fact))
    }

    /// Enters `body` with the next commit. Nobody waits for it.
    pub fn ride(&self, kind: Kind, who: Who, body: &impl Serialize) {
        match Body::of(body) {
            Ok(body) => {
                let draft = Draft { kind, who, body, commitment: None };
                self.ledger.append(draft, Urgency::Ride, |result| {
                    if let Err(error) = result {
                        tracing::error!(%error, "an outcome is not recorded; it stays in doubt");
                    }
                });
            }
            Err(error) => tracing::error!(%error, "an outcome cannot be written down"),
        }
    }

    /// Whether a refusal is an entry of its own, or only counted with its like.
    pub fn is_single(&self, source: Source, refusal: &Refusal) -> bool {
        let refused = Refused { source, rule: refusal.rule.0.to_owned(), reason: kind_of(refusal) };
        let now = self.clock.now().0;
        let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
        let due = flood.due(now);
        let admission = flood.refuse(refused, now);
        drop(flood);
        self.enter_counted(due);
        admission == Admission::Entry
    }

    /// Whether the agent may write one more entry this second.
    #[must_use]
    pub fn has_share(&self, agent: &str) -> bool {
        let now = self.clock.now().0;
        self.flood.lock().unwrap_or_else(PoisonError::into_inner).share(agent, now)
    }

    /// Enters what was counted and is due, or all of it at the end.
    pub fn flush(&self, all: bool) {
        let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
        let due = if all { flood.drain() } else { flood.due(self.clock.now().0) };
        drop(flood);
        self.enter_counted(due);
    }

    fn enter_counted(&self, counted: Vec<Counted>) {
        for Counted { refused, count, .. } in counted {
            let agent = match refused.source {
                Source::Agent(agent) => agent,
                Source::Peer(peer) => peer,
                Source::Others => "others".to_owned(),
            };
            let who = Who { agent: Some(agent.clone()), ..Who::default() };
            let body = Refusals { agent, rule: refused.rule, reason: refused.reason, count };
            self.ride(Kind::Refusals, who, &body);
        }
    }
}

/// The kind of a reason, from a closed list. Its text may hold what the agent wrote (a model, a host),
/// and would make each refusal of a flood one of a kind.
fn kind_of(refusal: &Refusal) -> String {
    match serde_json::to_value(&refusal.reason) {
        Ok(serde_json::Value::String(kind)) => kind,
        Ok(serde_json::Value::Object(kinds)) => kinds.keys().next().cloned().unwrap_or_default(),
        Ok(_) | Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use decide::{Reason, RuleId};

    use super::*;

    #[test]
    fn what_an_agent_writes_does_not_make_another_kind_of_refusal() {
        let kind = |reason| kind_of(&Refusal { rule: RuleId("filtering/destination"), reason });
        for host in ["a.example", "b.example"] {
            let reason = Reason::DestinationNotAllowed(host.to_owned());
            assert_eq!(kind(reason), "destination_not_allowed");
        }
        let model =
            |model: &str| Reason::ModelNotAllowed { model: model.to_owned(), allowed: vec![] };
        assert_eq!(kind(model("a")), kind(model("b")));
        assert_eq!(kind(Reason::NoKey), "no_key");
    }
}
