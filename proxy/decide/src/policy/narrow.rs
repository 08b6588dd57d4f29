//! The edits that one run makes to a contract: `--model`, `--budget`, `--allow`, `--observe`.
//!
//! Flags are the user's own word, so they may widen. Each edit gives a new policy whose digest
//! covers the old digest and the edit, so that the record shows what was really in force.

use alloc::string::String;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

use super::{Contract, Glob, Grant, Mode, Policy};
use crate::case::MicroUsd;

impl Policy {
    /// Only models that the contract names **and** one of `models` matches.
    #[must_use]
    pub fn with_models(&self, models: &[Glob]) -> Self {
        self.edited("models", &models, |contract| {
            let both =
                |named: &Glob| models.iter().map(|model| named.and(model)).collect::<Vec<_>>();
            contract.models = contract.models.iter().flat_map(both).collect();
        })
    }

    /// This limit for the run, in place of the contract's.
    #[must_use]
    pub fn with_run_budget(&self, limit: MicroUsd) -> Self {
        self.edited("run_budget", &limit, |contract| contract.budgets.run = Some(limit))
    }

    /// These destinations besides the contract's.
    #[must_use]
    pub fn with_grants(&self, grants: &[Grant]) -> Self {
        self.edited("grants", &grants, |contract| {
            contract.destinations.extend(grants.iter().cloned());
        })
    }

    /// Record what would be refused, and forward it.
    #[must_use]
    pub fn observing(&self) -> Self {
        self.edited("mode", &Mode::Observe, |contract| contract.mode = Mode::Observe)
    }

    /// Only what a profile or a flag says about one field is digested: the rest is in the digest
    /// that the chain starts with.
    pub(super) fn edited(
        &self,
        what: &str,
        value: &impl serde::Serialize,
        edit: impl Fn(&mut Contract),
    ) -> Self {
        let mut policy = self.clone();
        for (_, contract) in &mut policy.agents {
            edit(contract);
        }
        let written = serde_json::to_string(value).unwrap_or_else(|error| unwritable(&error));
        let mut hash = Sha256::new();
        hash.update(self.digest);
        hash.update(what.as_bytes());
        hash.update([0]);
        hash.update(written.as_bytes());
        policy.digest = hash.finalize().into();
        policy
    }
}

/// Names, numbers and variants always have a JSON form; were one ever not to, the digest still
/// differs from every other.
fn unwritable(error: &serde_json::Error) -> String {
    alloc::format!("unwritable: {error}")
}

#[cfg(test)]
mod tests;
