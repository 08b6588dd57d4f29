//! What policy and configuration decide about one agent: fixed for an exchange when it opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use decide::Policy;
use decide::policy::{Contract, Mode};
use wire::{Place, Provider};

use crate::money::books::Limits;
use crate::vault::known::Kind;

/// What holds for one agent, under one version of the policy.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The agent, as contracts name it.
    pub agent: String,
    /// The contract in force.
    pub policy: Arc<Policy>,
    /// Observe or enforce.
    pub mode: Mode,
    /// SHA-256 of the policy, hex.
    pub policy_digest: String,
    /// What these terms are taken from.
    pub version: Version,
    /// What the gate holds and knows.
    pub holdings: Arc<Holdings>,
}

/// From which contracts and which configuration terms are taken; others replace them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// SHA-256 of all contracts.
    pub policies: [u8; 32],
    /// How often the configuration was read.
    pub configuration: u64,
}

/// Credentials, account values and private providers of a gate, as terms refer to them.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// Credentials that the gate puts in, by host; the first is the one that a request without a key is
    /// told of.
    pub credentials: BTreeMap<String, Vec<Held>>,
    /// Account values that the gate sets: header to value.
    pub accounts: BTreeMap<String, String>,
    /// Providers that are not public, by host.
    pub providers: BTreeMap<String, Private>,
}

/// One credential at one host.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: &'static Kind,
    /// The one port at which it is put in.
    pub port: u16,
}

/// A provider of this deployment's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Private {
    /// The dialect that it speaks; `None` is plain.
    pub provider: Option<Provider>,
    /// Whether its models cost nothing.
    pub free: bool,
}

impl Holdings {
    /// The provider that a host is.
    #[must_use]
    pub fn provider_of(&self, host: &str) -> Option<Provider> {
        match self.providers.get(host) {
            Some(private) => private.provider,
            None => wire::provider_of(host),
        }
    }

    /// Whether nothing is paid for what is asked at `host`.
    #[must_use]
    pub fn is_free(&self, host: &str) -> bool {
        self.providers.get(host).is_some_and(|private| private.free)
    }

    fn at(&self, host: &str) -> &[Held] {
        self.credentials.get(host).map_or(&[], Vec::as_slice)
    }
}

impl Terms {
    /// The contract of the agent; `None` is refused by `peer_identity`.
    #[must_use]
    pub fn contract(&self) -> Option<&Contract> {
        self.policy.contract(&self.agent)
    }

    /// Whether the contract admits the destination by name.
    #[must_use]
    pub fn admits(&self, host: &str, port: u16) -> bool {
        self.contract().is_some_and(|contract| contract.admits(host, port))
    }

    /// The limits in money that hold for one request.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let agent = self.contract().map(|contract| contract.budgets).unwrap_or_default();
        let team = self.policy.budgets;
        Limits {
            request: agent.request,
            run: agent.run,
            key_day: agent.key_day,
            agent_day: agent.day,
            agent_month: agent.month,
            team_day: team.day,
            team_month: team.month,
        }
    }

    /// The credential that the gate holds for `host`: of those that it puts in at `port`, or else of all, the one
    /// that the caller's key stands for, or else the first. At another port than its own it is not put in.
    #[must_use]
    pub fn credential_for(&self, host: &str, port: u16, key: Option<&str>) -> Option<&Held> {
        let held = self.holdings.at(host);
        let here = || held.iter().filter(|held| held.port == port);
        let own = key.and_then(|name| {
            let own = |held: &&Held| held.name == name;
            here().find(own).or_else(|| held.iter().find(own))
        });
        own.or_else(|| here().next()).or_else(|| held.first())
    }

    /// Whether `value` is exactly what the gate would set in this place itself.
    #[must_use]
    pub fn sets_account(&self, place: &Place, value: &str) -> bool {
        match place.kind {
            wire::Kind::Header(name) => {
                self.holdings.accounts.get(name).is_some_and(|own| own == value)
            }
            wire::Kind::Query(_) => false,
        }
    }
}
