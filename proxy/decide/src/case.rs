//! Everything a rule may look at: one exchange as it stood when it was judged.

mod ask;
mod caller;
mod destination;
mod framing;
mod money;

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

pub use ask::{
    Ask, Endpoint, EndpointClass, Envelope, EnvelopeFault, Findings, ToolKind, ToolOffered,
};
pub use caller::{
    Bound, Caller, CredentialStanding, Identified, Key, KillScope, Presented, Rate, Standing,
};
pub use destination::{Address, AddressClass, Destination, Scheme};
pub use framing::Framing;
pub use money::{BudgetScope, MicroUsd, Reservation};

use crate::Policy;

/// A fact, or the reason it could not be established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known<T> {
    /// Established.
    Fact(T),
    /// Not established.
    Missing(Missing),
}

impl<T> Known<T> {
    /// The fact.
    ///
    /// # Errors
    ///
    /// [`Missing`] when it was not established.
    pub const fn get(&self) -> Result<&T, Missing> {
        match self {
            Self::Fact(fact) => Ok(fact),
            Self::Missing(missing) => Err(*missing),
        }
    }
}

/// Why a fact is not available.
///
/// A rule propagates this with `?`; the chain turns it into a refusal. That is the whole of
/// fail-closed: no rule has to remember it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The band that gathers this fact has not run yet: the rule is in the wrong band.
    #[error("not gathered yet")]
    NotGathered,
    /// What holds it did not answer in time.
    #[error("its source did not answer")]
    Unreachable,
    /// The bytes that should contain it could not be understood.
    #[error("its source is malformed")]
    Malformed,
}

/// Microseconds since the Unix epoch, sampled once when the request arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

/// One exchange as it stood when it was judged. Holds classes, counts, names and digests; never
/// content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The decision's id, a ULID; the caller sees it in `x-tollgate-decision`.
    pub id: String,
    /// When the request arrived.
    pub received: Timestamp,
    /// Who the gate itself established is calling.
    pub caller: Known<Caller>,
    /// Kill switches that cover this caller or its key.
    pub kills: Known<BTreeSet<KillScope>>,
    /// The virtual key that the request carries.
    pub key: Known<Presented>,
    /// What stands in each place that can authenticate or choose an account.
    pub credentials: Known<Vec<CredentialStanding>>,
    /// Where the request wants to go.
    pub destination: Known<Destination>,
    /// What the destination's name resolved to; looked up only once the name itself is admitted.
    pub address: Known<Address>,
    /// Whether the request can be read in one way only.
    pub envelope: Known<Envelope>,
    /// Which operation of the destination is asked for.
    pub endpoint: Known<Endpoint>,
    /// What is asked of a model; `None` where the request is not to a model.
    pub ask: Known<Option<Ask>>,
    /// How the request stands against its rate limit, which it has already entered.
    pub rate: Known<Rate>,
    /// What the scanner found, by class.
    pub findings: Known<Findings>,
    /// Outcome of the reservation taken before the engines band ran.
    pub budget: Known<Reservation>,
}

impl Case {
    /// A case of which only the id and the time are known yet.
    #[must_use]
    pub const fn opened(id: String, received: Timestamp) -> Self {
        Self {
            id,
            received,
            caller: Known::Missing(Missing::NotGathered),
            kills: Known::Missing(Missing::NotGathered),
            key: Known::Missing(Missing::NotGathered),
            credentials: Known::Missing(Missing::NotGathered),
            destination: Known::Missing(Missing::NotGathered),
            address: Known::Missing(Missing::NotGathered),
            envelope: Known::Missing(Missing::NotGathered),
            endpoint: Known::Missing(Missing::NotGathered),
            ask: Known::Missing(Missing::NotGathered),
            rate: Known::Missing(Missing::NotGathered),
            findings: Known::Missing(Missing::NotGathered),
            budget: Known::Missing(Missing::NotGathered),
        }
    }
}

/// A case, the policy it is judged under and what was said so far: the one argument of every rule.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// The facts.
    pub case: &'a Case,
    /// The compiled contracts, identified by digest.
    pub policy: &'a Policy,
    /// What the rules before this one said, in order.
    pub trail: &'a [crate::chain::Said],
}
