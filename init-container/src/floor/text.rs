//! Tables and chains as `nft -f` reads them.

use std::fmt::{self, Write as _};

use super::TABLE;

/// A table of one family. All of ours have one name.
pub(super) struct Table {
    family: &'static str,
    pub(super) counters: Vec<&'static str>,
    pub(super) sets: Vec<String>,
    pub(super) chains: Vec<Chain>,
}

/// A chain at a hook, or one that others jump to.
pub(super) struct Chain {
    name: String,
    hook: Option<String>,
    rules: Vec<String>,
}

impl Table {
    pub(super) const fn new(family: &'static str) -> Self {
        Self { family, counters: Vec::new(), sets: Vec::new(), chains: Vec::new() }
    }

    /// Takes the table away whether it is there or not: adding one that is there changes nothing.
    pub(super) fn remove(&self) -> String {
        format!("add table {0} {TABLE}\ndelete table {0} {TABLE}\n", self.family)
    }

    /// The table in the place of the one that was there.
    pub(super) fn replace(&self) -> String {
        format!("{}{self}", self.remove())
    }
}

impl Chain {
    /// A chain called `name` at `hook`, which is written `type … hook … priority …; policy …;`.
    pub(super) fn new(name: impl Into<String>, hook: impl Into<String>) -> Self {
        Self { name: name.into(), hook: Some(hook.into()), rules: Vec::new() }
    }

    /// A chain called `name` that rules jump to.
    pub(super) fn called(name: impl Into<String>) -> Self {
        Self { name: name.into(), hook: None, rules: Vec::new() }
    }

    /// The same with one more rule at its end.
    pub(super) fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rules.push(rule.into());
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {TABLE} {{", self.family)?;
        for counter in &self.counters {
            writeln!(f, "  counter {counter} {{ }}")?;
        }
        for set in &self.sets {
            writeln!(f, "  {set}")?;
        }
        for chain in &self.chains {
            f.write_char('\n')?;
            writeln!(f, "  chain {} {{", chain.name)?;
            for line in chain.hook.iter().chain(&chain.rules) {
                writeln!(f, "    {line}")?;
            }
            writeln!(f, "  }}")?;
        }
        writeln!(f, "}}")
    }
}
