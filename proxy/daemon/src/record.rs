//! What the entries of the ledger say: one body a kind, as JSON. Whoever reads ignores fields that
//! it does not know, so that a later version may add some.
//!
//! A body never holds content of a request or an answer, and no secret: classes, counts, names.

use decide::case::{Case, MicroUsd};
use decide::policy::Mode;
use decide::{Decision, Refusal};
use serde::{Deserialize, Serialize};

use crate::gate::protocol::Target;

/// [`audit::Kind::Decision`]: what was decided about an exchange, before anything of it left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The decision's id, a ULID; the caller saw it in `x-tollgate-decision`.
    pub id: String,
    /// The trace that the exchange belongs to, as the caller saw it in `x-tollgate-trace`.
    pub trace: String,
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// The mode that it was judged in.
    pub mode: Mode,
    /// The facts.
    pub case: Case,
    /// The conclusion and every rule's word.
    pub decision: Decision,
    /// Digest of the policy in force, in hexadecimal.
    pub policy: String,
    /// What the books entered, in their own form; `None` where the exchange costs nothing.
    pub booked: Option<serde_json::Value>,
    /// The credential that is put in, by its name in the vault.
    pub credential: Option<String>,
    /// What was changed in the bytes that leave.
    pub amended: Amended,
}

/// What was changed in the bytes that leave; all else leaves as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amended {
    /// `stream_options.include_usage` was added.
    pub include_usage: bool,
    /// The output limit that was written in, in tokens.
    pub output_limit: Option<u64>,
    /// How many findings were replaced.
    pub redacted: u32,
}

/// [`audit::Kind::Outcome`]: how an exchange ended and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The decision's id.
    pub id: String,
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// The virtual key's id.
    pub key: Option<String>,
    /// The answer's status; `None` where there was no answer.
    pub status: Option<u16>,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// What the provider counted.
    pub usage: Option<Usage>,
    /// What it cost, by the provider's own numbers or estimated.
    pub cost: Option<MicroUsd>,
    /// What else it may have cost.
    pub in_doubt: Option<MicroUsd>,
    /// Why the answer was cut.
    pub cut: Option<Refusal>,
    /// What observe let pass in the answer.
    pub observed: Option<Refusal>,
    /// The caller went away before the end.
    pub gone: bool,
    /// Bytes of the request that left.
    pub bytes_out: u64,
    /// Bytes of the answer that came.
    pub bytes_in: u64,
    /// From the request's last byte to the answer's first, in microseconds.
    pub first_byte_us: Option<u64>,
    /// From the request's arrival to the end, in microseconds.
    pub took_us: u64,
    /// The provider's own id of the request.
    pub provider_id: Option<String>,
    /// Names of the tools that the answer called, in order.
    pub calls: Vec<String>,
}

/// Tokens as the provider counted them; no token is counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Input that was not cached.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to a cache of five minutes.
    pub cache_write_5m: u64,
    /// Input written to a cache of an hour.
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

/// [`audit::Kind::Run`]: a run began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The run.
    pub run: String,
    /// The agent.
    pub agent: String,
    /// The command's file name.
    pub command: String,
    /// Digest of its policy, in hexadecimal.
    pub policy: String,
    /// The contract's own name.
    pub policy_id: String,
    /// The mode.
    pub mode: Mode,
    /// Who started it.
    pub by: String,
    /// Which of the two.
    pub event: RunEvent,
    /// The command's exit code, once it has ended.
    pub exit: Option<i32>,
}

/// A run's beginning or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// It began.
    Started,
    /// It ended.
    Ended,
}

/// [`audit::Kind::Kill`] and [`audit::Kind::Unkill`]: a kill switch was set or lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Whom it stops.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
}

/// [`audit::Kind::Budget`]: a run's limit was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSet {
    /// The run.
    pub run: String,
    /// Its limit from now on.
    pub limit: MicroUsd,
    /// By whom.
    pub by: String,
}

/// [`audit::Kind::Refusals`]: many equal refusals of one second, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// The agent.
    pub agent: String,
    /// The rule that refused.
    pub rule: String,
    /// Why, in words.
    pub reason: String,
    /// How many.
    pub count: u64,
}
