//! Money: integer millionths of a dollar, and what the books answered.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Millionths of a US dollar. Money is never a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct MicroUsd(pub u64);

impl fmt::Display for MicroUsd {
    /// Dollars with the cents that matter: `$5.00`, `$0.0042`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if part.is_multiple_of(10_000) {
            write!(f, "${whole}.{:02}", part / 10_000)
        } else if part.is_multiple_of(100) {
            write!(f, "${whole}.{:04}", part / 100)
        } else {
            write!(f, "${whole}.{part:06}")
        }
    }
}

/// Whose limit a reservation is taken against, from the narrowest to the widest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// One request.
    Request,
    /// One run of one agent.
    Run,
    /// A virtual key's day.
    KeyDay,
    /// An agent's day.
    AgentDay,
    /// An agent's month.
    AgentMonth,
    /// A team's day.
    TeamDay,
    /// A team's month.
    TeamMonth,
}

/// What the books answered when asked to set money aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reservation {
    /// The request costs nothing.
    NotNeeded,
    /// The worst case is set aside in every scope.
    Granted {
        /// What was set aside.
        worst: MicroUsd,
        /// The output limit in tokens that is to be written into the request so that the worst case
        /// fits; `None` leaves the request as it is.
        output_limit: Option<u64>,
    },
    /// A limit would be exceeded; nothing was set aside.
    Refused {
        /// The limit that does not fit.
        scope: BudgetScope,
        /// Worst case of the request.
        asked: MicroUsd,
        /// What is left under the limit.
        left: MicroUsd,
        /// The limit.
        limit: MicroUsd,
    },
    /// No price is known for this model, which is not a price of zero.
    Unpriced {
        /// The model.
        model: String,
    },
    /// The request can cost more than can be calculated.
    Unbounded {
        /// The field that moves the price.
        field: String,
    },
}
