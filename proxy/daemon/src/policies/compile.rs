//! Contracts of several files are put together, with what they say of each other held against it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use decide::Policy;
use decide::case::Timestamp;
use decide::policy::Glob;
use sha2::{Digest, Sha256};

use super::destinations::Destinations;
use super::identities::{Clash, Identities};
use super::{Agent, Contracts, Policies};
use crate::policy_file::PolicyFile;
use crate::yaml::{Fault, Places};

/// All of `files`, in their order.
pub(super) fn compile(files: &[PolicyFile], now: Timestamp) -> Result<Policies, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut compiled = Vec::new();
    for (at, file) in files.iter().enumerate() {
        match file.compile(now) {
            Ok(policy) => compiled.push((at, policy)),
            Err(more) => faults.extend(more),
        }
    }
    let mut joined = Joined { files, agents: Vec::new(), places: HashMap::new(), faults };
    let mut contracts = Vec::new();
    let mut hash = Sha256::new();
    for (file, policy) in compiled {
        let name = files.get(file).map_or("", |file| base(&file.name));
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name.as_bytes());
        hash.update(policy.digest);
        contracts.push(Contracts {
            file: name.to_owned(),
            id: policy.id.clone(),
            version: policy.version.clone(),
            digest: policy.digest,
            agents: policy.agents.len(),
        });
        joined.take(file, policy);
    }
    let (named, patterns) = joined.names();
    let identities = joined.identities();
    if !joined.faults.is_empty() {
        return Err(joined.faults);
    }
    let agents: Vec<Agent> = joined.agents.into_iter().map(|(_, agent)| agent).collect();
    let digest = hash.finalize().into();
    let mut destinations = Destinations::default();
    for Agent { policy, .. } in &agents {
        destinations.add(policy);
    }
    Ok(Policies { digest, files: contracts, agents, named, patterns, identities, destinations })
}

/// The name of a file without its folder: moving the folder changes nothing of what it says.
fn base(name: &str) -> &str {
    Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name)
}

struct Joined<'f> {
    files: &'f [PolicyFile],
    /// Each agent with the place of its file.
    agents: Vec<(usize, Agent)>,
    /// Where keys stand in the files that something was found in.
    places: HashMap<usize, Option<Places>>,
    faults: Vec<Fault>,
}

impl Joined<'_> {
    /// Adds the agents of a file, each with a policy of its own.
    fn take(&mut self, file: usize, policy: Policy) {
        let Policy { id, version, digest, team, cost_center, budgets, agents } = policy;
        for (name, contract) in agents {
            let agent = name.as_str().to_owned();
            let policy = Arc::new(Policy {
                id: id.clone(),
                version: version.clone(),
                digest,
                team: team.clone(),
                cost_center: cost_center.clone(),
                budgets,
                agents: vec![(name, contract)],
            });
            self.agents.push((file, Agent { name: agent, policy }));
        }
    }

    /// Agents by name, and those whose name is a pattern.
    fn names(&mut self) -> (HashMap<String, usize>, Vec<(usize, Glob)>) {
        let (mut named, mut patterns) = (HashMap::new(), Vec::<(usize, Glob)>::new());
        let mut written: HashMap<String, usize> = HashMap::new();
        let mut said = Vec::new();
        for (at, (file, agent)) in self.agents.iter().enumerate() {
            match written.entry(agent.name.clone()) {
                Entry::Vacant(free) => drop(free.insert(at)),
                Entry::Occupied(taken) => {
                    said.push((at, *taken.get(), "is also in", "an agent has one contract"));
                    continue;
                }
            }
            if is_pattern(&agent.name) {
                patterns.push((at, agent.name.as_str().into()));
            } else {
                named.entry(agent.name.clone()).or_insert(at);
                let covers = |(other, pattern): &&(usize, Glob)| {
                    self.agents.get(*other).is_some_and(|(from, _)| from != file)
                        && pattern.matches(&agent.name)
                };
                if let Some((other, _)) = patterns.iter().find(covers) {
                    let why = "files count by name, and the first that matches holds; rename one";
                    said.push((
                        at,
                        *other,
                        "is never reached, because a pattern covers it in",
                        why,
                    ));
                }
            }
            for (_, contract) in &agent.policy.agents {
                for key in &contract.identity.keys {
                    named.entry(key.clone()).or_insert(at);
                }
            }
        }
        for (at, other, what, why) in said {
            self.fault(at, "", |place| format!("{what} {place}: {why}"), other);
        }
        (named, patterns)
    }

    /// Agents by what they call with.
    fn identities(&mut self) -> Identities {
        let mut identities = Identities::default();
        let mut said = Vec::new();
        for (at, (_, agent)) in self.agents.iter().enumerate() {
            for (_, contract) in &agent.policy.agents {
                if contract.identity.is_empty() {
                    continue;
                }
                if is_pattern(&agent.name) {
                    said.push((at, None));
                    continue;
                }
                let clashes = identities.add(at, &contract.identity);
                said.extend(clashes.into_iter().map(|clash| (at, Some(clash))));
            }
        }
        for (at, clash) in said {
            let (what, other) = match clash {
                None => ("is of a pattern, which stands for many: name one agent".to_owned(), at),
                Some(Clash::Mapped(text)) => (format!("`{text}`: write it as an IPv4 address"), at),
                Some(Clash::Taken { what, by }) if by == at => (format!("names {what} twice"), at),
                Some(Clash::Taken { what, by }) => (format!("{what} is also that of"), by),
            };
            let message =
                |place: String| if other == at { what } else { format!("{what} {place}") };
            self.fault(at, ".identity", message, other);
        }
        identities
    }

    /// Says `message` of the agent at `at`; it is given the place of the other.
    fn fault(
        &mut self,
        at: usize,
        below: &str,
        message: impl FnOnce(String) -> String,
        other: usize,
    ) {
        let (Some((file, path)), Some((other_file, other_path))) =
            (self.path(at, below), self.path(other, below))
        else {
            return;
        };
        let place = self.place(other_file, &other_path);
        let name = self.files.get(other_file).map_or("", |file| file.name.as_str());
        let line = place.map_or_else(String::new, |(line, _)| format!(":{line}"));
        let message = message(format!("{name}{line} ({other_path})"));
        let at = self.place(file, &path);
        let file = self.files.get(file).map(|file| file.name.clone()).unwrap_or_default();
        self.faults.push(Fault { file, at, path: Some(path), message });
    }

    fn path(&self, at: usize, below: &str) -> Option<(usize, String)> {
        let (file, agent) = self.agents.get(at)?;
        Some((*file, format!("agents.{}{below}", agent.name)))
    }

    fn place(&mut self, file: usize, path: &str) -> Option<(u64, u64)> {
        let text = &self.files.get(file)?.text;
        self.places.entry(file).or_insert_with(|| Places::of(text)).as_ref()?.find(path)
    }
}

/// Whether a name stands for more than itself.
fn is_pattern(name: &str) -> bool {
    name.contains('*') || name.contains(" & ")
}
