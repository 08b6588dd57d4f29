//! What was spent, added up by run, agent, key, model or day.

use std::collections::BTreeMap;

use super::account::Day;
use super::state::{RowId, Spent, State};

/// By what spending is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpentBy {
    /// The run.
    Run,
    /// The agent.
    Agent,
    /// The virtual key's id.
    Key,
    /// The model.
    Model,
    /// The day (UTC).
    Day,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The run, agent, key, model or date (`2026-11-21`).
    pub name: String,
    /// What was spent.
    pub spent: Spent,
}

impl State {
    /// Spending from the day `from` to the day `to`, both included, one line a name, in the order of
    /// the names. `run` narrows it to one run.
    #[must_use]
    pub fn spending(&self, by: SpentBy, from: Day, to: Day, run: Option<&str>) -> Vec<Line> {
        let mut lines: BTreeMap<String, Spent> = BTreeMap::new();
        for (id, spent) in self.rows() {
            let wanted = run.is_none_or(|run| id.payer.run == run);
            if wanted && (from..=to).contains(&id.day) {
                lines.entry(name(id, by)).or_default().add(*spent);
            }
        }
        lines.into_iter().map(|(name, spent)| Line { name, spent }).collect()
    }
}

fn name(id: &RowId, by: SpentBy) -> String {
    match by {
        SpentBy::Run => id.payer.run.clone(),
        SpentBy::Agent => id.payer.agent.clone(),
        SpentBy::Key => id.payer.key.clone(),
        SpentBy::Model => id.payer.model.clone(),
        SpentBy::Day => id.day.date().map_or_else(|| id.day.0.to_string(), |date| date.to_string()),
    }
}
