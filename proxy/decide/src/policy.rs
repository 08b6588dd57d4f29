//! The compiled policy: immutable, named by digest.

pub mod builtin;
mod compile;
mod destination;
mod glob;
mod identity;
mod narrow;
pub mod raw;
#[cfg(feature = "schema")]
mod schema;
mod units;

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::case::MicroUsd;

pub use compile::{PolicyError, compile, with_profile};
pub use destination::{DestinationError, parse as parse_destination};
pub use glob::Glob;
#[cfg(feature = "schema")]
pub use schema::schema;
pub use units::bytes as parse_bytes;

/// Whether refusals bite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// Record what would be refused, forward it.
    Observe,
    /// Refuse.
    Enforce,
}

/// Everything operators have declared, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The contract's own name.
    pub id: String,
    /// The contract's version, as written.
    pub version: String,
    /// SHA-256 of the canonical form of the source.
    pub digest: [u8; 32],
    /// The team.
    pub team: Option<String>,
    /// Where the money is booked.
    pub cost_center: Option<String>,
    /// Limits of the team together.
    pub budgets: Budgets,
    /// One contract an agent, in the order written; the first whose name matches holds.
    pub agents: Vec<(Glob, Contract)>,
}

impl Policy {
    /// The contract that covers `agent`: the first, in the order written, whose name matches or
    /// that names a key of this name.
    #[must_use]
    pub fn contract(&self, agent: &str) -> Option<&Contract> {
        let covers = |(name, contract): &&(Glob, Contract)| {
            name.matches(agent) || contract.identity.keys.iter().any(|key| key == agent)
        };
        self.agents.iter().find(covers).map(|(_, contract)| contract)
    }
}

/// What one agent may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// Observe or enforce.
    pub mode: Mode,
    /// By what a gate that serves many agents knows this one.
    pub identity: Identity,
    /// Whoever has a virtual key of this agent may use it, from anywhere.
    pub bearer: bool,
    /// What the agent may take of the gate at once.
    pub limits: Limits,
    /// Models, as written; one that a run was narrowed to is written `A & B` and must match both.
    pub models: Vec<Glob>,
    /// Destinations.
    pub destinations: Vec<Grant>,
    /// Hosts refused like any other that is not named, but only counted: telemetry that a known
    /// program sends on its own. They are left out of the closing summary.
    pub quiet: Vec<Glob>,
    /// Limits.
    pub budgets: Budgets,
    /// The most output tokens one request may ask for.
    pub max_tokens: Option<u64>,
    /// Requests a window.
    pub rate: Option<RateLimit>,
    /// What happens to a secret in a request.
    pub secrets: SecretsIn,
    /// Credentials of the agent's own may go to hosts for which the gate holds none.
    pub own_credentials: bool,
    /// Tools that the provider may run (`web_search`).
    pub provider_tools: Vec<Glob>,
    /// Calls of those tools that one request is reckoned with where it sets no bound itself. `None`
    /// refuses such a request, because nobody can say what it may cost.
    pub provider_calls: Option<u64>,
    /// Bounds of the run's virtual keys.
    pub keys: KeyTerms,
}

impl Contract {
    /// The grants that cover `host` at `port`. A grant without a port covers 443 and 80.
    pub fn grants<'a>(&'a self, host: &'a str, port: u16) -> impl Iterator<Item = &'a Grant> {
        let at = move |grant: &&Grant| match grant.port {
            Some(named) => named == port,
            None => matches!(port, 443 | 80),
        };
        self.destinations.iter().filter(at).filter(move |grant| grant.host.matches(host))
    }

    /// Whether anything may be done at `host` and `port`. This is all that is known before TLS and
    /// before a look-up; what may be done there is judged with the request.
    #[must_use]
    pub fn admits(&self, host: &str, port: u16) -> bool {
        self.grants(host, port).next().is_some()
    }

    /// Whether anything may be done at `host`, at any port: what the DNS responder asks.
    #[must_use]
    pub fn admits_name(&self, host: &str) -> bool {
        self.destinations.iter().any(|grant| grant.host.matches(host))
    }

    /// Whether a refusal of `host` is counted only.
    #[must_use]
    pub fn is_quiet(&self, host: &str) -> bool {
        self.quiet.iter().any(|glob| glob.matches(host))
    }

    /// Whether `model`, exactly as the request writes it, may be asked.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob.matches(model))
    }
}

/// By what the gate knows an agent: any of these. Empty is known by keys that were made for its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Names of virtual keys.
    pub keys: Vec<String>,
    /// Names (DNS or URI) in the certificate that it connects with.
    pub certificates: Vec<String>,
    /// Control groups, as paths from the root of the cgroup v2 hierarchy.
    pub cgroups: Vec<String>,
    /// Addresses that it connects from, one (`10.1.2.3`) or a range (`10.1.0.0/16`).
    pub addresses: Vec<String>,
}

impl Identity {
    /// Whether nothing is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.certificates.is_empty()
            && self.cgroups.is_empty()
            && self.addresses.is_empty()
    }
}

/// What one agent may take of the gate at once. `None` is the gate's own bound for every agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Connections open.
    pub connections: Option<u32>,
    /// Exchanges under way.
    pub streams: Option<u32>,
    /// Bytes of request bodies held.
    pub bytes: Option<u64>,
}

/// Limits in money. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budgets {
    /// One request's worst case.
    pub request: Option<MicroUsd>,
    /// One run.
    pub run: Option<MicroUsd>,
    /// One day (UTC) of each virtual key, over all runs.
    pub key_day: Option<MicroUsd>,
    /// One day (UTC).
    pub day: Option<MicroUsd>,
    /// One calendar month (UTC).
    pub month: Option<MicroUsd>,
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Requests allowed in one window.
    pub requests: u32,
    /// Length of the window in seconds.
    pub per_seconds: u32,
}

/// What happens to a secret in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SecretsIn {
    /// The request is refused.
    Deny,
    /// Each is replaced in the bytes that leave; where that cannot be done, refused.
    Redact,
}

/// Bounds of the virtual keys that a run is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyTerms {
    /// Seconds from the start of the run.
    pub lifetime_seconds: Option<u64>,
    /// Requests in all.
    pub uses: Option<u64>,
}

/// A destination that a contract allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The host, or a wildcard for its subdomains (`*.example.com`).
    pub host: Glob,
    /// The port; `None` is 443 and 80.
    pub port: Option<u16>,
    /// What may be done there.
    pub access: Access,
    /// The most bytes of a request's body that are read; `None` is the default limit.
    pub upload: Option<u64>,
}

/// What may be done at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// GET, HEAD and a git fetch; at a known provider, its operations.
    Read,
    /// Every method.
    Write,
    /// Bytes that the gate does not read.
    Opaque,
}
