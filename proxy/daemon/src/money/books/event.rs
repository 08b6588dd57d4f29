//! What happens to money, as the ledger keeps it: the books are these events, added up.

use decide::case::{BudgetScope, MicroUsd};
use serde::{Deserialize, Serialize};

use super::account::AccountId;

/// Who and what a sum is booked on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payer {
    /// The run, a ULID.
    pub run: String,
    /// The virtual key's id; empty for a request without one.
    pub key: String,
    /// The agent.
    pub agent: String,
    /// The team, where the contract names one.
    pub team: Option<String>,
    /// The model, as written in the request.
    pub model: String,
    /// Where the contract has the money booked.
    #[serde(default)]
    pub cost_center: Option<String>,
}

/// A worst case was set aside. Belongs into the decision that it was set aside for; an exchange that
/// is refused in the end books nothing and is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booked {
    /// The exchange.
    pub id: String,
    /// When; it decides the day and the month that pay.
    pub at: u64,
    /// Who pays.
    pub payer: Payer,
    /// What was set aside.
    pub worst: MicroUsd,
    /// The output limit that must be written into the request for it.
    pub output_limit: Option<u64>,
}

/// A reservation came to its end. Belongs into the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The exchange.
    pub id: String,
    /// What it cost, or the estimate where the provider's figure is missing.
    pub spent: MicroUsd,
    /// What else of the reservation stays counted, because nobody knows.
    pub in_doubt: MicroUsd,
    /// Tokens that the provider counted.
    pub tokens: u64,
}

/// What was in doubt is known: a later figure of the provider's, or an operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The exchange.
    pub id: String,
    /// What it cost.
    pub spent: MicroUsd,
}

/// An operator raised the limit of a run, or of somebody's day or month. The window that comes after has
/// the contract's limit again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// What the limit is held against.
    pub account: AccountId,
    /// Its limit from now on, where it is above the one that held.
    pub limit: MicroUsd,
}

/// A run is over and asks for nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The run.
    pub run: String,
}

/// Anything that happens to money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoneyEvent {
    /// See [`Booked`].
    Booked(Booked),
    /// See [`Settled`].
    Settled(Settled),
    /// See [`Released`].
    Released(Released),
    /// See [`Raised`].
    Raised(Raised),
    /// See [`Closed`].
    Closed(Closed),
}

/// The limits that hold for one request. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The request's own worst case.
    pub request: Option<MicroUsd>,
    /// The run, unless an operator has raised it.
    pub run: Option<MicroUsd>,
    /// The virtual key's day.
    pub key_day: Option<MicroUsd>,
    /// The agent's day.
    pub agent_day: Option<MicroUsd>,
    /// The agent's month.
    pub agent_month: Option<MicroUsd>,
    /// The team's day.
    pub team_day: Option<MicroUsd>,
    /// The team's month.
    pub team_month: Option<MicroUsd>,
}

impl Limits {
    /// The limit of one scope.
    #[must_use]
    pub const fn of(&self, scope: BudgetScope) -> Option<MicroUsd> {
        match scope {
            BudgetScope::Request => self.request,
            BudgetScope::Run => self.run,
            BudgetScope::KeyDay => self.key_day,
            BudgetScope::AgentDay => self.agent_day,
            BudgetScope::AgentMonth => self.agent_month,
            BudgetScope::TeamDay => self.team_day,
            BudgetScope::TeamMonth => self.team_month,
        }
    }
}
