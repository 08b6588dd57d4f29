//! What the gate writes into the ledger: the bodies of its entries, as JSON.
//!
//! No body holds content or a secret: names, classes, counts, sums and digests only. Readers ignore
//! fields that they do not know.

mod operator;
mod sharing;

use std::borrow::Cow;

use audit::Hash;
use decide::case::{Case, Identified, MicroUsd};
use decide::chain::Said;
use decide::policy::Mode;
use decide::{Decision, Refusal};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::gate::protocol::Target;
use crate::keys::KeyUsed;
use crate::money::books::{AccountId, Booked, Settled};

pub use operator::Operator;
pub use sharing::{Changed, SharedPort, SharedWay};

/// What was decided about an exchange, before anything of it left.
///
/// Generic over the case and the decision, so that it is written from what is at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided<C = Case, D = Decision> {
    /// Money that was set aside. First, so that the books need not read on.
    pub booked: Option<Booked>,
    /// The use of the virtual key that was entered.
    #[serde(default)]
    pub used: Option<KeyUsed>,
    /// The decision's id, a ULID.
    pub id: String,
    /// The trace that the caller named, or one made of the id.
    pub trace: String,
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// Observe or enforce.
    pub mode: Mode,
    /// The facts that were judged.
    pub case: C,
    /// What every rule said.
    pub decision: D,
    /// SHA-256 of the policy, hex.
    pub policy: String,
    /// The credential that is put in.
    pub credential: Option<String>,
    /// What is changed in the bytes that leave.
    pub amended: Amended,
}

/// A decision as its entry holds it.
///
/// Most trails are equal: such a one is a fact of its own, once in each segment, and named here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concluded<'a> {
    /// The conclusion.
    pub outcome: Cow<'a, decide::Outcome>,
    /// What observe let pass.
    pub observed: Cow<'a, Option<Refusal>>,
    /// What every rule said.
    pub trail: Trail<'a>,
}

/// What every rule said, as an entry holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Trail<'a> {
    /// In the fact of this name, before it in the same segment.
    Named(Hash),
    /// Written out: it says something that other exchanges do not.
    Whole(Cow<'a, [Said]>),
}

/// A trail as a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailFact<'a> {
    /// What every rule said.
    pub trail: Cow<'a, [Said]>,
}

impl<'a> Concluded<'a> {
    /// `decision`, whose trail is `named` where that is a fact.
    #[must_use]
    pub const fn of(decision: &'a Decision, named: Option<Hash>) -> Self {
        Self {
            outcome: Cow::Borrowed(&decision.outcome),
            observed: Cow::Borrowed(&decision.observed),
            trail: match named {
                Some(name) => Trail::Named(name),
                None => Trail::Whole(Cow::Borrowed(decision.trail.as_slice())),
            },
        }
    }

    /// The decision, whose trail is looked up by its name; `None` where there is none of that name.
    #[must_use]
    pub fn resolve(self, named: impl FnOnce(&Hash) -> Option<Vec<Said>>) -> Option<Decision> {
        let trail = match self.trail {
            Trail::Named(name) => named(&name)?,
            Trail::Whole(trail) => trail.into_owned(),
        };
        let (outcome, observed) = (self.outcome.into_owned(), self.observed.into_owned());
        Some(Decision { outcome, observed, trail })
    }
}

impl<C, D> Decided<C, D> {
    /// The same with another form of its decision.
    pub(crate) fn map<T>(self, form: impl FnOnce(D) -> Option<T>) -> Option<Decided<C, T>> {
        let Self { booked, used, id, trace, run, agent, mode, case, decision, policy, .. } = self;
        let (credential, amended) = (self.credential, self.amended);
        let decision = form(decision)?;
        Some(Decided {
            booked,
            used,
            id,
            trace,
            run,
            agent,
            mode,
            case,
            decision,
            policy,
            credential,
            amended,
        })
    }
}

/// What the gate changes in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amended {
    /// The stream's usage is asked for.
    pub include_usage: bool,
    /// The output limit that is written in, tokens.
    pub output_limit: Option<u64>,
    /// Secrets that were replaced.
    pub redacted: u64,
}

/// How an exchange ended and what it cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What becomes of the money. First, so that the books need not read on.
    pub settled: Option<Settled>,
    /// The decision's id.
    pub id: String,
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// The virtual key's id.
    pub key: Option<String>,
    /// The provider's status.
    pub status: Option<u16>,
    /// The model.
    pub model: Option<String>,
    /// Tokens by the provider's count.
    pub usage: Option<Usage>,
    /// What it cost.
    pub cost: Option<MicroUsd>,
    /// What it may have cost besides.
    pub in_doubt: Option<MicroUsd>,
    /// Why it was cut or not carried out.
    pub cut: Option<Refusal>,
    /// What observe let pass in the answer.
    pub observed: Option<Refusal>,
    /// The caller went away.
    pub gone: bool,
    /// The provider's connection broke.
    pub broken: bool,
    /// Bytes of the request's body that left.
    pub bytes_in: u64,
    /// Bytes of the answer's body that the caller was sent.
    pub bytes_out: u64,
    /// Microseconds from the request's head to the first byte released.
    pub first_byte_us: Option<u64>,
    /// Microseconds from the request's head to the end.
    pub took_us: u64,
    /// The provider's own id of the request.
    pub provider_id: Option<String>,
    /// Tools that the answer called, in order.
    pub calls: Vec<String>,
}

/// Tokens by the provider's count; a token is in one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input that is in no other count.
    pub input: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
}

impl Usage {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.output)
    }
}

/// A run began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// The command's file name.
    pub command: String,
    /// SHA-256 of the policy, hex.
    pub policy: String,
    /// The contract's own name and version.
    pub policy_id: String,
    /// Observe or enforce.
    pub mode: Mode,
    /// Who ran it.
    pub by: String,
    /// How it was cut off ([`launch::Form::word`]); empty in entries of versions that had one form.
    #[serde(default)]
    pub form: String,
    /// Which of the two.
    pub event: RunEvent,
    /// The command's exit code, at the end.
    pub exit: Option<i32>,
    /// The user's words that widen what the run may do.
    #[serde(default)]
    pub widened: Widened,
    /// What went over the ports that it shared, at the end.
    #[serde(default)]
    pub ports: Vec<SharedPort>,
    /// What it left behind that others execute, at the end; `None` where its front did not say.
    #[serde(default)]
    pub changed: Option<Changed>,
}

/// The user's words that widen what a run may do beyond its contract.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Widened {
    /// `--connect-to`, as typed.
    pub connect_to: Vec<String>,
    /// SHA-256 of each `--upstream-ca` file, hex.
    pub upstream_ca: Vec<String>,
    /// `--share-fd`.
    pub share_fd: Vec<i32>,
    /// `--share-socket`.
    #[serde(default)]
    pub share_socket: Vec<String>,
    /// `--write`.
    pub write: Vec<String>,
    /// `--keep-env`, by name.
    pub keep_env: Vec<String>,
    /// `--reach-port`.
    #[serde(default)]
    pub reach_port: Vec<u16>,
    /// `--publish-port`.
    #[serde(default)]
    pub publish_port: Vec<u16>,
}

/// Whether a run began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// It began.
    Started,
    /// It ended.
    Ended,
}

/// An agent's first request to a `tollgate serve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The agent.
    pub agent: String,
    /// The run that begins with it.
    pub run: String,
    /// By what the gate knows it.
    pub by: Identified,
    /// Observe or enforce.
    pub mode: Mode,
    /// SHA-256 of its contract's file, hex.
    pub policy: String,
}

/// What an operator did to a service, or it did itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Service {
    /// A `tollgate serve` began.
    Started {
        /// SHA-256 of the configuration, hex; no secret is part of it.
        config: String,
        /// `upstream.connect_to`, as written: the operator's word that widens the address policy.
        connect_to: Vec<String>,
        /// This program's version.
        version: String,
        /// Who started it.
        by: String,
    },
    /// It read its configuration again.
    Reloaded {
        /// SHA-256 of the configuration, hex.
        config: String,
        /// Keys that have changed and hold after a restart only.
        waiting: Vec<String>,
    },
    /// It ended in order.
    Stopped {
        /// Exchanges that were ended before they were done.
        cut: u64,
    },
    /// A control group's connections come to the gate.
    Attached {
        /// Its path from the root of the hierarchy.
        cgroup: String,
        /// Since when, microseconds since the epoch.
        at: u64,
        /// Who did it.
        by: String,
    },
    /// They no longer do.
    Detached {
        /// Its path.
        cgroup: String,
        /// Who did it.
        by: String,
    },
}

/// Of an operator's entry, what has to be known later.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Operated {
    /// A control group's connections come to the gate.
    Attached {
        /// Its path from the root of the hierarchy.
        cgroup: String,
        /// Since when, microseconds since the epoch.
        at: u64,
    },
    /// They no longer do.
    Detached {
        /// Its path.
        cgroup: String,
    },
    /// Anything else.
    #[serde(other)]
    Other,
}

/// Contracts that come into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// SHA-256 over all of them, hex.
    pub policies: String,
    /// Each file: its name, `policy_id`, version, and SHA-256, hex.
    pub files: Vec<(String, String, String, String)>,
}

/// A kill switch was set or lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Whom it stops.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub by: String,
}

/// The limit of a run, or of somebody's day or month, was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSet {
    /// What the limit is held against: `"run": "01J…"`, `"agent_day": ["bot", 20778]`.
    #[serde(flatten)]
    pub account: AccountId,
    /// Its new limit.
    pub limit: MicroUsd,
    /// Who did it.
    pub by: String,
}

/// Equal refusals of one second beyond those that are entries of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// The agent, or where they came from.
    pub agent: String,
    /// The rule.
    pub rule: String,
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The trace that a request belongs to: the trace id of a W3C `traceparent`, or the decision's id.
pub(crate) fn trace(headers: &HeaderMap, id: &str) -> String {
    crate::telemetry::context::TraceParent::read(headers)
        .map_or_else(|| id.to_owned(), |parent| parent.trace.hex())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::trace;

    #[test]
    fn the_trace_of_a_request_is_its_caller_s_only_where_the_header_is_valid() {
        let mut headers = HeaderMap::new();
        assert_eq!(trace(&headers, "01JD"), "01JD");
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", valid.parse().unwrap());
        assert_eq!(trace(&headers, "01JD"), "4bf92f3577b34da6a3ce929d0e0e4736");
        headers.insert("traceparent", valid.to_uppercase().parse().unwrap());
        assert_eq!(trace(&headers, "01JD"), "01JD");
    }
}
