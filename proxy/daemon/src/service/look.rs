//! What the metrics of a service say of its state: contracts, attachments, queues.

use std::sync::Arc;

use decide::policy::Glob;

use super::Handle;
use crate::attached;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::policies::Policies;
use crate::policies::watch::PolicyFolder;

/// Gives the agents and models of these contracts labels of their own, and then the models of the
/// catalog, while there is room.
pub(super) fn name(gate: &Gate, policies: &Policies) {
    let Metrics { agents, models, .. } = &gate.metrics;
    agents.admit(policies.agents().map(|(name, _)| name).filter(|name| is_name(name)));
    let contracts = policies.agents().flat_map(|(_, policy)| &policy.agents);
    let named = contracts.flat_map(|(_, contract)| &contract.models);
    models.admit(named.map(Glob::as_str).filter(|name| is_name(name)));
    models.admit(gate.catalog.models().map(|(id, _)| id.as_str()));
}

/// No pattern.
fn is_name(name: &str) -> bool {
    !name.contains('*') && !name.contains(" & ")
}

/// The first reading of the contracts and all that follow.
pub(super) fn at_readings(gate: &Gate, folder: &PolicyFolder) {
    let (standing, clock) = (gate.metrics.standing.clone(), gate.clock.clone());
    standing.policy_loaded(clock.now());
    folder.tell(Box::new(move |read| match read {
        Ok(_) => standing.policy_loaded(clock.now()),
        Err(_) => standing.policy_failed(),
    }));
}

/// Gauges of what others keep count of.
pub(super) fn at_gauges(gate: &Arc<Gate>, handle: &Arc<Handle>) {
    // The gate holds its metrics.
    let (weak, handle) = (Arc::downgrade(gate), Arc::downgrade(handle));
    gate.metrics.look_with(move |metrics| {
        let Some((gate, handle)) = weak.upgrade().zip(handle.upgrade()) else { return };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.queue.set(count(gate.journal.ledger().status().waiting));
        metrics.waiting.set(count(gate.books.waiting()));
        metrics.held.set(i64::try_from(gate.bodies.taken()).unwrap_or(i64::MAX));
        metrics.standing.draining.set(i64::from(handle.is_leaving()));
        let all = handle.attachments.list();
        let live = all.iter().filter(|one| one.standing == attached::Standing::Redirected).count();
        metrics.standing.attached.with_label_values(&["advisory"]).set(count(live));
        metrics.standing.attached.with_label_values(&["enforced"]).set(0);
    });
}
