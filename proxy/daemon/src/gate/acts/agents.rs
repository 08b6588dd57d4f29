//! Who is behind the gate.

use std::collections::BTreeMap;

use decide::Setting;
use decide::case::MicroUsd;

use super::{Gate, live};
use crate::gate::protocol::{Agent, Answer};
use crate::money::books::Purse;
use crate::run::Run;
use crate::terms::Terms;

/// Every agent with a live run, by name; one line for each team and mode that it runs under.
pub(super) fn list(gate: &Gate) -> Answer {
    let now = gate.clock.now();
    let under_way = gate.kills.live_by_agent();
    let mut agents: BTreeMap<_, Agent> = BTreeMap::new();
    for run in live(gate) {
        let terms = run.terms();
        let team = terms.policy.team.clone();
        let today = Purse::AgentDay(run.agent.clone()).at(now);
        let agent =
            agents.entry((run.agent.clone(), team.clone(), terms.mode)).or_insert_with(|| Agent {
                agent: run.agent.clone(),
                team,
                mode: terms.mode,
                since: run.started,
                known_by: Vec::new(),
                runs: Vec::new(),
                live: under_way.get(&run.agent).copied().unwrap_or_default(),
                spent: MicroUsd(gate.books.account(&today).spent),
            });
        agent.since = agent.since.min(run.started);
        agent.runs.push(run.id.clone());
        agent.known_by.extend(known_by(&run, &terms));
        agent.known_by.sort();
        agent.known_by.dedup();
    }
    Answer::Agents { agents: agents.into_values().collect() }
}

/// By what the gate knows the agent of a run.
fn known_by(run: &Run, terms: &Terms) -> Vec<String> {
    if run.setting == Setting::Exec {
        return vec!["run".to_owned()];
    }
    let Some(identity) = terms.contract().map(|contract| &contract.identity) else {
        return Vec::new();
    };
    let each = |kind: &'static str, names: &[String]| -> Vec<String> {
        names.iter().map(|name| format!("{kind}:{name}")).collect()
    };
    let mut known = each("key", &identity.keys);
    known.extend(each("certificate", &identity.certificates));
    known.extend(each("cgroup", &identity.cgroups));
    known.extend(each("address", &identity.addresses));
    if known.is_empty() {
        // Keys that were made for its name.
        known.push("key".to_owned());
    }
    known
}
