//! Whether a service may be sent traffic, condition by condition.

use std::sync::Arc;

use super::handle::Handle;
use crate::attached::Attachments;
use crate::gate::Gate;
use crate::health::{Condition, Readiness};
use crate::pod::Pod;
use crate::policies::watch::PolicyFolder;

/// What is asked when somebody wants to know.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    gate: Arc<Gate>,
    folder: Arc<PolicyFolder>,
    attachments: Arc<Attachments>,
    handle: Arc<Handle>,
    pod: Option<Arc<Pod>>,
}

/// The conditions of this service.
pub(super) fn of(
    gate: &Arc<Gate>,
    folder: &Arc<PolicyFolder>,
    attachments: &Arc<Attachments>,
    handle: &Arc<Handle>,
    pod: Option<&Arc<Pod>>,
) -> Ready {
    Ready {
        gate: Arc::clone(gate),
        folder: Arc::clone(folder),
        attachments: Arc::clone(attachments),
        handle: Arc::clone(handle),
        pod: pod.cloned(),
    }
}

impl Ready {
    /// Another handle on the same.
    pub(super) fn clone_box(&self) -> Box<dyn Readiness> {
        Box::new(self.clone())
    }

    fn ledger(&self) -> Condition {
        let entries = self.gate.journal.ledger().status().entries;
        let says = format!("{entries} entries");
        Condition { name: "ledger", ready: true, says, since: None }
    }

    /// Contracts that do not compile leave those before in force, so the gate stays ready.
    fn policy(&self) -> Condition {
        let standing = self.folder.standing();
        let says = match &standing.failed {
            None => format!("{} in force", crate::trust::hex(&standing.digest)),
            Some((_, error)) => format!("the last good contracts are in force: {error}"),
        };
        Condition { name: "policy", ready: true, says, since: Some(standing.since) }
    }

    fn attached(&self) -> Option<Condition> {
        let lines = self.attachments.readiness();
        let says = lines.join("; ");
        (!lines.is_empty()).then_some(Condition {
            name: "attachments",
            ready: true,
            says,
            since: None,
        })
    }

    fn draining(&self) -> Condition {
        let leaving = self.handle.is_leaving();
        let says = if leaving { "the gate is ending" } else { "no" };
        Condition { name: "draining", ready: !leaving, says: says.to_owned(), since: None }
    }
}

impl Readiness for Ready {
    fn conditions(&self) -> Vec<Condition> {
        let mut all = vec![self.ledger(), self.policy()];
        all.extend(self.pod.as_ref().map(|pod| pod.condition()));
        all.extend(self.attached());
        all.push(self.draining());
        all
    }
}
