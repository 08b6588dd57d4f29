//! What a rule may say, and what the caller is told.

mod hint;

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

pub use hint::Setting;

use crate::case::{AddressClass, BudgetScope, EnvelopeFault, KillScope, MicroUsd, Missing};
use crate::scan::SecretClass;

/// One rule's answer.
#[must_use = "a verdict that is dropped is a decision that was never made"]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The rule does not concern this exchange.
    Abstain,
    /// The rule was checked and is satisfied.
    Pass,
    /// Satisfied once every finding of the scanner is replaced in the bytes that leave.
    Redact,
    /// The rule forbids it.
    Block(Reason),
}

/// Why an exchange is refused or cut. The text is for a program's author or a model: it says what
/// was wrong and, where there is one, the way that is open.
///
/// Deliberately not `#[non_exhaustive]`: a new reason must break the build of [`Reason::class`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No contract covers this agent.
    #[error("no contract covers the agent {0}")]
    NoContract(String),
    /// Nothing says who is calling.
    #[error("nothing says which agent this is")]
    UnknownCaller,
    /// A kill switch is set.
    #[error("{}", stopped(*.0))]
    Killed(KillScope),
    /// The destination takes a credential of ours and the request has no virtual key.
    #[error("no virtual key of this gate in the request")]
    NoKey,
    /// A key that is not, or no longer, one of this gate's.
    #[error("the key is not one of this gate's")]
    UnknownKey,
    /// The virtual key belongs to somebody or something else.
    #[error("the key is bound to {0}")]
    KeyBoundElsewhere(String),
    /// The key is not bound to the workload or the place that it is used from.
    #[error("the key {0} may not be used from here")]
    KeyUsedElsewhere(String),
    /// Whoever has the key could use it, and the contract does not say that this is meant.
    #[error("the key {0} is bound to no workload and no place")]
    KeyUnbound(String),
    /// The key is revoked, expired or used up.
    #[error("the key is {0}")]
    KeyOver(KeyEnd),
    /// A credential that the gate did not put there.
    #[error("{place} holds a credential of its own{}", issuer(*.class))]
    ForeignCredential {
        /// The place.
        place: String,
        /// The issuer, where the shape says it.
        class: Option<SecretClass>,
    },
    /// The destination is not in the contract.
    #[error("{0} (not in the contract)")]
    DestinationNotAllowed(String),
    /// Neither TLS nor HTTP/1 came, and the destination (`HOST:PORT`) is not allowed unread.
    #[error("{0} (neither TLS nor HTTP/1, and not allowed unread)")]
    NotRead(String),
    /// The destination is in the contract for reading only.
    #[error("{0} is allowed for reading only")]
    ReadOnly(String),
    /// SNI, Host and the connection's destination disagree.
    #[error("{0} is not where this connection goes: SNI, Host and address disagree")]
    DestinationsDisagree(String),
    /// The name has no address.
    #[error("{0} has no address")]
    NoSuchName(String),
    /// The name resolves to an address that is not dialled.
    #[error("{host} resolves to a {} address", address_name(*.class))]
    AddressNotAllowed {
        /// The host.
        host: String,
        /// The kind of address.
        class: AddressClass,
    },
    /// The request cannot be read, or can be read in two ways.
    #[error("{0}")]
    Envelope(EnvelopeFault),
    /// The operation is not governed, so not sent.
    #[error("{0} is not governed by this gate")]
    OperationNotGoverned(String),
    /// A tool that the provider would run, or a kind that is not known.
    #[error("the provider-side tool {0} is not in the contract")]
    ProviderTool(String),
    /// An object at the provider that this run was not given.
    #[error("{0} was not made by this run")]
    NotOurs(String),
    /// The model is not in the contract.
    #[error("{model} is not in this agent's contract. Allowed: {}", list(.allowed))]
    ModelNotAllowed {
        /// The model asked for.
        model: String,
        /// What is allowed, as the contract writes it.
        allowed: Vec<String>,
    },
    /// More output than the contract allows.
    #[error("{} of output, and {limit} tokens are allowed", output(*.asked))]
    OutputTooLong {
        /// The limit that the request sets; `None` sets none.
        asked: Option<u64>,
        /// The most tokens that the contract allows.
        limit: u64,
    },
    /// Too many requests.
    #[error("more than {limit} requests in the window, try again in {retry_after} s")]
    TooFast {
        /// Requests allowed in one window.
        limit: u32,
        /// Seconds until one is allowed again.
        retry_after: u32,
    },
    /// The agent takes as much of the gate at once as it may.
    #[error("{0}: wait until some are done")]
    Busy(String),
    /// It carries a secret.
    #[error("carries {}", .0.article_name())]
    Secret(SecretClass),
    /// It could cost more than is left.
    #[error("may cost {asked} with {left} left of the {} budget of {limit}", budget_name(*.scope))]
    OverBudget {
        /// The limit that does not fit.
        scope: BudgetScope,
        /// Worst case.
        asked: MicroUsd,
        /// Left under the limit.
        left: MicroUsd,
        /// The limit.
        limit: MicroUsd,
    },
    /// The destination did not answer as it should; nothing is wrong with the request.
    #[error("{0}")]
    Upstream(String),
    /// No price is known.
    #[error("no price is known for {0}")]
    Unpriced(String),
    /// The cost has no bound.
    #[error("{0} makes the cost of this request unbounded")]
    Unbounded(String),
    /// A fact the rule needs could not be established.
    #[error("cannot be checked: {0}")]
    Unverifiable(#[from] Missing),
    /// Not every rule was asked.
    #[error("the chain did not run to its end")]
    Unsealed,
}

/// How a virtual key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum KeyEnd {
    /// Taken back.
    #[error("revoked")]
    Revoked,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its uses are spent.
    #[error("used up")]
    UsedUp,
}

/// The few ways a caller can be refused. Status codes and provider dialects map from this, never
/// from [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// We do not know who is calling.
    Unauthenticated,
    /// Do not retry.
    Forbidden,
    /// The request itself is wrong.
    Malformed,
    /// The money is spent.
    Exhausted,
    /// Retry after a while.
    Throttled,
    /// We could not check.
    Unavailable,
}

/// In which mode a reason stops an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bite {
    /// In observe and in enforce.
    Always,
    /// In enforce; observe records it and goes on.
    InEnforce,
}

impl Reason {
    /// How the caller experiences this reason.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::UnknownCaller | Self::NoKey | Self::UnknownKey => Class::Unauthenticated,
            Self::NoContract(_)
            | Self::Killed(
                KillScope::Key | KillScope::Agent | KillScope::Team | KillScope::Global,
            )
            | Self::KeyBoundElsewhere(_)
            | Self::KeyUsedElsewhere(_)
            | Self::KeyUnbound(_)
            | Self::KeyOver(_)
            | Self::ForeignCredential { .. }
            | Self::DestinationNotAllowed(_)
            | Self::NotRead(_)
            | Self::ReadOnly(_)
            | Self::DestinationsDisagree(_)
            | Self::AddressNotAllowed { .. }
            | Self::OperationNotGoverned(_)
            | Self::ProviderTool(_)
            | Self::NotOurs(_)
            | Self::ModelNotAllowed { .. }
            | Self::OutputTooLong { .. }
            | Self::Secret(_) => Class::Forbidden,
            Self::Envelope(_) => Class::Malformed,
            Self::OverBudget { .. } | Self::Unpriced(_) | Self::Unbounded(_) => Class::Exhausted,
            Self::TooFast { .. } => Class::Throttled,
            Self::NoSuchName(_)
            | Self::Upstream(_)
            | Self::Busy(_)
            | Self::Killed(KillScope::Drain)
            | Self::Unverifiable(_)
            | Self::Unsealed => Class::Unavailable,
        }
    }

    /// In which mode this reason stops an exchange. Kills, credential binding, the address policy,
    /// money and the seal hold in observe too (DESIGN §4).
    #[must_use]
    pub const fn bite(&self) -> Bite {
        match self {
            Self::UnknownCaller
            | Self::Killed(_)
            | Self::NoKey
            | Self::UnknownKey
            | Self::KeyBoundElsewhere(_)
            | Self::KeyUsedElsewhere(_)
            | Self::KeyOver(_)
            | Self::ForeignCredential { .. }
            | Self::DestinationsDisagree(_)
            | Self::NoSuchName(_)
            | Self::Upstream(_)
            | Self::Busy(_)
            | Self::AddressNotAllowed { .. }
            | Self::OverBudget { .. }
            | Self::Unpriced(_)
            | Self::Unbounded(_)
            | Self::Unverifiable(_)
            | Self::Unsealed => Bite::Always,
            Self::NoContract(_)
            | Self::KeyUnbound(_)
            | Self::DestinationNotAllowed(_)
            | Self::NotRead(_)
            | Self::ReadOnly(_)
            | Self::Envelope(_)
            | Self::OperationNotGoverned(_)
            | Self::ProviderTool(_)
            | Self::NotOurs(_)
            | Self::ModelNotAllowed { .. }
            | Self::OutputTooLong { .. }
            | Self::TooFast { .. }
            | Self::Secret(_) => Bite::InEnforce,
        }
    }
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Self::Block(reason)
    }
}

const fn stopped(scope: KillScope) -> &'static str {
    match scope {
        KillScope::Key => "stopped by an operator (this key)",
        KillScope::Agent => "stopped by an operator (this agent)",
        KillScope::Team => "stopped by an operator (this team)",
        KillScope::Global => "stopped by an operator (every agent)",
        KillScope::Drain => "the gate is going down for an upgrade or a restart",
    }
}

const fn address_name(class: AddressClass) -> &'static str {
    match class {
        AddressClass::Public => "public",
        AddressClass::Loopback => "loopback",
        AddressClass::Private => "private",
        AddressClass::LinkLocal => "link-local",
        AddressClass::Embedded => "translated",
        AddressClass::Reserved => "reserved",
    }
}

const fn budget_name(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Request => "request",
        BudgetScope::Run => "run",
        BudgetScope::KeyDay => "key's daily",
        BudgetScope::AgentDay => "agent's daily",
        BudgetScope::AgentMonth => "agent's monthly",
        BudgetScope::TeamDay => "team's daily",
        BudgetScope::TeamMonth => "team's monthly",
    }
}

fn issuer(class: Option<SecretClass>) -> &'static str {
    class.map_or("", SecretClass::in_brackets)
}

fn output(asked: Option<u64>) -> String {
    asked.map_or_else(
        || String::from("the request sets no limit"),
        |asked| alloc::format!("the request asks for up to {asked} tokens"),
    )
}

fn list(allowed: &[String]) -> String {
    if allowed.is_empty() { String::from("none") } else { allowed.join(", ") }
}
