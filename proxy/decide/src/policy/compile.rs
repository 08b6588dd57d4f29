//! Turns a contract as written into one that cannot be invalid, or says everything that is wrong
//! with it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

use super::destination;
use super::identity;
use super::raw;
use super::{
    Budgets, Contract, Glob, Grant, KeyTerms, Limits, Policy, RateLimit, SecretsIn, units,
};
use crate::case::{MicroUsd, Timestamp};

/// One thing that is wrong with a contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct PolicyError {
    /// The key path: `agents.refund-bot.budgets.run`.
    pub path: String,
    /// What is wrong there, with the text at fault and what would be right.
    pub message: String,
}

/// Compiles a contract as of `now`.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the file.
pub fn compile(bundle: &raw::Bundle, now: Timestamp) -> Result<Policy, Vec<PolicyError>> {
    let mut faults = Faults::default();
    faults.unknown("", &bundle.unknown);
    in_force(bundle.effective_at.as_deref(), now, &mut faults);
    let budgets = budgets("budgets", &bundle.budgets, &mut faults);
    for (key, limit) in
        [("request", budgets.request), ("run", budgets.run), ("key_day", budgets.key_day)]
    {
        if limit.is_some() {
            faults.add(format!("budgets.{key}"), "is a limit of one agent: set it under `agents`");
        }
    }
    let mut names = BTreeSet::new();
    let mut agents = Vec::new();
    for (name, agent) in &bundle.agents.0 {
        let path = format!("agents.{name}");
        if !names.insert(name) {
            faults.add(path.clone(), "stands twice");
        }
        agents.push((Glob::new(name.clone()), contract(&path, agent, bundle, &mut faults)));
    }
    if bundle.agents.0.is_empty() {
        faults.add("agents", "names no agent, so nothing could be sent");
    }
    faults.or(Policy {
        id: bundle.policy_id.clone(),
        version: bundle.version.clone(),
        digest: digest(bundle),
        team: bundle.team.clone(),
        cost_center: bundle.cost_center.clone(),
        budgets,
        agents,
    })
}

/// Adds what a program's profile allows to every agent of a policy.
///
/// # Errors
///
/// Everything that is wrong with the profile.
pub fn with_profile(policy: &Policy, profile: &raw::Profile) -> Result<Policy, Vec<PolicyError>> {
    let mut faults = Faults::default();
    faults.unknown("", &profile.unknown);
    let destinations = grants("destinations", &profile.destinations, &mut faults);
    let quiet = hosts("quiet", &profile.quiet, &mut faults);
    let tools = globs(&profile.provider_tools);
    faults.or(policy.edited("profile", profile, |contract| {
        contract.destinations.extend(destinations.iter().cloned());
        contract.quiet.extend(quiet.iter().cloned());
        contract.provider_tools.extend(tools.iter().cloned());
        contract.provider_calls = contract.provider_calls.or(profile.provider_calls);
    }))
}

#[derive(Default)]
pub(super) struct Faults(Vec<PolicyError>);

impl Faults {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(PolicyError { path: path.into(), message: message.into() });
    }

    pub(super) fn unknown(&mut self, path: &str, unknown: &raw::Unknown) {
        for key in &unknown.0 {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.add(path, "is not a key of this version; remove it");
        }
    }

    /// `text` as `read` understands it.
    fn read<T>(
        &mut self,
        path: impl Into<String>,
        text: Option<&String>,
        read: impl Fn(&str) -> Option<T>,
        like: &str,
    ) -> Option<T> {
        let text = text?;
        let value = read(text);
        if value.is_none() {
            self.add(path, format!("`{text}` is not {like}"));
        }
        value
    }

    fn or<T>(self, value: T) -> Result<T, Vec<PolicyError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

fn in_force(effective_at: Option<&str>, now: Timestamp, faults: &mut Faults) {
    let Some(text) = effective_at else { return };
    match units::timestamp(text) {
        None => {
            faults.add("effective_at", format!("`{text}` is not a time like 2026-11-21T00:00:00Z"));
        }
        Some(from) if from > now => {
            faults.add("effective_at", format!("the contract is not in force before {text}"));
        }
        Some(_) => {}
    }
}

fn contract(path: &str, agent: &raw::Agent, bundle: &raw::Bundle, faults: &mut Faults) -> Contract {
    unknown_keys(path, agent, faults);
    if agent.output.max_tokens == Some(0) {
        faults.add(format!("{path}.output.max_tokens"), "0 lets nothing be answered");
    }
    Contract {
        mode: agent.mode.unwrap_or(bundle.mode),
        identity: identity::read(path, agent.identity.as_ref(), faults),
        bearer: agent.bearer.unwrap_or_default(),
        limits: limits(&format!("{path}.limits"), &agent.limits, faults),
        models: models(path, &agent.models, faults),
        destinations: grants(&format!("{path}.destinations"), &agent.destinations, faults),
        quiet: hosts(&format!("{path}.quiet"), &agent.quiet, faults),
        budgets: budgets(&format!("{path}.budgets"), &agent.budgets, faults),
        max_tokens: agent.output.max_tokens,
        rate: rate(path, agent.rate.as_ref(), faults),
        secrets: agent.data.credentials.unwrap_or(SecretsIn::Deny),
        own_credentials: agent.own_credentials == Some(raw::Allow::Allow),
        provider_tools: globs(&agent.provider_tools),
        provider_calls: agent.provider_calls,
        keys: KeyTerms {
            lifetime_seconds: faults.read(
                format!("{path}.keys.lifetime"),
                agent.keys.lifetime.as_ref(),
                units::seconds,
                "a duration like 30s, 10m, 8h or 7d",
            ),
            uses: agent.keys.uses,
        },
    }
}

/// `output`, `data` and `keys` have nothing else to check, so their unknown keys are found here.
fn unknown_keys(path: &str, agent: &raw::Agent, faults: &mut Faults) {
    faults.unknown(path, &agent.unknown);
    faults.unknown(&format!("{path}.data"), &agent.data.unknown);
    faults.unknown(&format!("{path}.output"), &agent.output.unknown);
    faults.unknown(&format!("{path}.keys"), &agent.keys.unknown);
}

fn limits(path: &str, limits: &raw::Limits, faults: &mut Faults) -> Limits {
    faults.unknown(path, &limits.unknown);
    for (key, limit) in [("connections", limits.connections), ("streams", limits.streams)] {
        if limit == Some(0) {
            faults.add(format!("{path}.{key}"), "0 lets nothing through");
        }
    }
    let like = "a size like 512KiB or 64MiB";
    Limits {
        connections: limits.connections,
        streams: limits.streams,
        bytes: faults.read(format!("{path}.bytes"), limits.bytes.as_ref(), units::bytes, like),
    }
}

fn models(path: &str, models: &[String], faults: &mut Faults) -> Vec<Glob> {
    for (i, model) in models.iter().enumerate() {
        if model.is_empty() || model.contains(' ') {
            faults.add(format!("{path}.models[{i}]"), format!("`{model}` is not a model's name"));
        }
    }
    globs(models)
}

fn globs(names: &[String]) -> Vec<Glob> {
    names.iter().map(|name| Glob::new(name.clone())).collect()
}

fn budgets(path: &str, budgets: &raw::Budgets, faults: &mut Faults) -> Budgets {
    faults.unknown(path, &budgets.unknown);
    let mut limit = |key: &str, text: &Option<String>| -> Option<MicroUsd> {
        let like = "an amount in dollars like $0.25, with at most six decimals";
        faults.read(format!("{path}.{key}"), text.as_ref(), units::money, like)
    };
    Budgets {
        request: limit("request", &budgets.request),
        run: limit("run", &budgets.run),
        key_day: limit("key_day", &budgets.key_day),
        day: limit("day", &budgets.day),
        month: limit("month", &budgets.month),
    }
}

fn rate(path: &str, rate: Option<&raw::Rate>, faults: &mut Faults) -> Option<RateLimit> {
    let rate = rate?;
    faults.unknown(&format!("{path}.rate"), &rate.unknown);
    let window = |text: &str| units::seconds(text).and_then(|all| u32::try_from(all).ok());
    let like = "a duration like 30s, 10m or 1h";
    let per_seconds = faults.read(format!("{path}.rate.per"), Some(&rate.per), window, like)?;
    Some(RateLimit { requests: rate.requests, per_seconds })
}

fn grants(path: &str, destinations: &[raw::Destination], faults: &mut Faults) -> Vec<Grant> {
    let mut grants = Vec::new();
    for (i, destination) in destinations.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let (word, upload) = match destination {
            raw::Destination::Word(word) => (word, None),
            raw::Destination::Terms(terms) => {
                faults.unknown(&path, &terms.unknown);
                let like = "a size like 512KiB or 8MiB";
                let upload = terms.upload.as_ref();
                (&terms.host, faults.read(format!("{path}.upload"), upload, units::bytes, like))
            }
        };
        match destination::parse(word) {
            Ok(grant) => grants.push(Grant { upload, ..grant }),
            Err(error) => faults.add(path, error.to_string()),
        }
    }
    grants
}

fn hosts(path: &str, hosts: &[String], faults: &mut Faults) -> Vec<Glob> {
    let mut globs = Vec::new();
    for (i, host) in hosts.iter().enumerate() {
        match destination::host(host) {
            Ok(host) => globs.push(host),
            Err(error) => faults.add(format!("{path}[{i}]"), error.to_string()),
        }
    }
    globs
}

/// SHA-256 of the contract as compact JSON, fields in the order of [`raw::Bundle`].
fn digest(bundle: &raw::Bundle) -> [u8; 32] {
    let written = serde_json::to_string(bundle).unwrap_or_else(|error| error.to_string());
    Sha256::digest(written.as_bytes()).into()
}

#[cfg(test)]
mod tests;
