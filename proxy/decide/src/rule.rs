//! What a rule is called and what it says.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize};

/// The permanent name of a rule, e.g. `ingress/kill_switch`.
///
/// The same string is the source path under `stages/`, the metric label, the ledger's field and the
/// anchor in `docs/chain.md`. It is never reused for a different rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleId(pub &'static str);

impl RuleId {
    /// The name without its band: `kill_switch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.rsplit_once('/').map_or(self.0, |(_, name)| name)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'de> Deserialize<'de> for RuleId {
    /// Only names of the chain in force are rules.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        crate::chain::CHAIN
            .stages()
            .map(|stage| stage.rule().id)
            .find(|id| id.0 == name)
            .ok_or_else(|| serde::de::Error::custom("not a rule of this chain"))
    }
}

/// A rule as an operator reads it.
#[derive(Debug)]
pub struct Rule {
    /// Permanent name.
    pub id: RuleId,
    /// The rule in one sentence, in the present tense.
    pub says: &'static str,
}
