//! Tables and chains as `nft -f` reads them.

use std::fmt::{self, Write as _};

use super::TABLE;

/// A table of one family. All of ours have one name.
pub(super) struct Table {
    family: &'static str,
    pub(super) counters: Vec<&'static str>,
    pub(super) chains: Vec<Chain>,
}

/// A chain at a hook.
pub(super) struct Chain {
    name: String,
    hook: String,
    rules: Vec<String>,
}

impl Table {
    pub(super) const fn new(family: &'static str) -> Self {
        Self { family, counters: Vec::new(), chains: Vec::new() }
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
        Self { name: name.into(), hook: hook.into(), rules: Vec::new() }
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
        for chain in &self.chains {
            f.write_char('\n')?;
            writeln!(f, "  chain {} {{", chain.name)?;
            writeln!(f, "    {}", chain.hook)?;
            for rule in &chain.rules {
                writeln!(f, "    {rule}")?;
            }
            writeln!(f, "  }}")?;
        }
        writeln!(f, "}}")
    }
}
