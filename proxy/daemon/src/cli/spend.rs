//! `tollgate spend`: what was spent, from the ledger.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use decide::case::{MicroUsd, Reservation, Timestamp};
use serde::Serialize;

use super::common::Common;
use super::failure::{Ended, Exit};
use super::out::{Line, Out, Paint, counted, grouped, harmless};
use super::when::{self, Window};
use crate::clock::Clock;
use crate::ledger_view::{Said, time};
use crate::record::{Decided, Outcome};

/// By what sums are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum By {
    /// The agent.
    Agent,
    /// The team.
    Team,
    /// Where the contract has the money booked.
    CostCenter,
    /// The model, as the provider names it.
    Model,
    /// The virtual key.
    Key,
    /// The run.
    Run,
    /// The day, in UTC.
    Day,
}

/// Flags of `tollgate spend`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate spend --by model --window month\n  tollgate spend --by cost-center --window week"
)]
pub(crate) struct SpendArgs {
    /// By what sums are told apart
    #[arg(long, value_enum, default_value = "agent")]
    by: By,

    /// How far back
    #[arg(long, value_enum, default_value = "month")]
    window: Window,

    #[command(flatten)]
    common: Common,
}

/// A sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sum {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) cost_micro_usd: u64,
    pub(crate) in_doubt_micro_usd: u64,
    /// Part of the cost is an estimate, because the provider's own numbers never came.
    pub(crate) estimated: bool,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(other.cost_micro_usd);
        self.in_doubt_micro_usd = self.in_doubt_micro_usd.saturating_add(other.in_doubt_micro_usd);
        self.estimated |= other.estimated;
    }

    fn of(outcome: &Outcome) -> Option<Self> {
        if outcome.cost.is_none() && outcome.in_doubt.is_none() {
            return None;
        }
        Some(Self {
            requests: 1,
            tokens: outcome.usage.map_or(0, |usage| usage.total()),
            cost_micro_usd: outcome.cost.unwrap_or_default().0,
            in_doubt_micro_usd: outcome.in_doubt.unwrap_or_default().0,
            estimated: outcome.usage.is_none() && outcome.cost.is_some_and(|cost| cost.0 > 0),
        })
    }

    /// `$0.41`, `≈ $0.41 + $0.02 in doubt`.
    pub(crate) fn money(&self) -> String {
        let sign = if self.estimated { "≈ " } else { "" };
        let doubt = match self.in_doubt_micro_usd {
            0 => String::new(),
            doubt => format!(" + {} in doubt", MicroUsd(doubt)),
        };
        format!("{sign}{}{doubt}", MicroUsd(self.cost_micro_usd))
    }
}

/// Sums of the exchanges that were shown to it.
#[derive(Debug)]
pub(crate) struct Sums {
    by: By,
    from: Timestamp,
    rows: BTreeMap<String, Sum>,
    /// Decided and paid for in advance, and no outcome yet: still open, or lost in a crash.
    open: BTreeMap<String, (Names, MicroUsd)>,
}

/// What a sum can be told apart by.
#[derive(Debug)]
struct Names {
    agent: String,
    team: Option<String>,
    cost_center: Option<String>,
    model: Option<String>,
    key: Option<String>,
    run: String,
    at: Timestamp,
}

/// What sums of those without a team are called.
pub(crate) const NO_TEAM: &str = "(no team)";

impl Names {
    fn by(&self, by: By) -> String {
        let or =
            |name: &Option<String>, none: &str| name.clone().unwrap_or_else(|| none.to_owned());
        match by {
            By::Agent => self.agent.clone(),
            By::Team => or(&self.team, NO_TEAM),
            By::CostCenter => or(&self.cost_center, "(no cost center)"),
            By::Model => or(&self.model, "(unknown)"),
            By::Key => or(&self.key, "(no key)"),
            By::Run => self.run.clone(),
            By::Day => when::day(self.at),
        }
    }
}

impl Sums {
    pub(crate) const fn new(by: By, from: Timestamp) -> Self {
        Self { by, from, rows: BTreeMap::new(), open: BTreeMap::new() }
    }

    /// Takes in what one entry says.
    pub(crate) fn see(&mut self, at: Timestamp, said: &Said) {
        match said {
            Said::Decided(decided) => self.decided(at, decided),
            Said::Outcome(outcome) => self.ended(at, outcome),
            Said::Run(_)
            | Said::Killed(_)
            | Said::Unkilled(_)
            | Said::Budget(_)
            | Said::Refusals(_)
            | Said::Attempts(_)
            | Said::Inbound(_)
            | Said::Other
            | Said::Unreadable(_) => {}
        }
    }

    fn decided(&mut self, at: Timestamp, decided: &Decided) {
        let forwarded = matches!(decided.decision.outcome, decide::Outcome::Forward { .. });
        let Ok(Reservation::Granted { worst, .. }) = decided.case.budget.get() else { return };
        if !forwarded {
            return;
        }
        let asked = decided.case.ask.get().ok().and_then(Option::as_ref);
        let key = match decided.case.key.get() {
            Ok(decide::case::Presented::Key(key)) => Some(key.id.clone()),
            Ok(_) | Err(_) => None,
        };
        let payer = decided.booked.as_ref().map(|booked| &booked.payer);
        let names = Names {
            agent: decided.agent.clone(),
            team: payer.and_then(|payer| payer.team.clone()),
            cost_center: payer.and_then(|payer| payer.cost_center.clone()),
            model: asked.map(|ask| ask.model.clone()),
            key,
            run: decided.run.clone(),
            at,
        };
        self.open.insert(decided.id.clone(), (names, *worst));
    }

    fn ended(&mut self, at: Timestamp, outcome: &Outcome) {
        let opened = self.open.remove(&outcome.id).map(|(names, _)| names);
        let Some(sum) = Sum::of(outcome) else { return };
        // It counts for the day on which the money was set aside, as the budgets do.
        let opened = opened.unwrap_or_else(|| Names {
            agent: outcome.agent.clone(),
            team: None,
            cost_center: None,
            model: None,
            key: None,
            run: outcome.run.clone(),
            at,
        });
        let names = Names {
            agent: outcome.agent.clone(),
            model: outcome.model.clone().or(opened.model),
            key: outcome.key.clone().or(opened.key),
            run: outcome.run.clone(),
            ..opened
        };
        self.book(&names, &sum);
    }

    fn book(&mut self, names: &Names, sum: &Sum) {
        if names.at >= self.from {
            self.rows.entry(names.by(self.by)).or_default().add(sum);
        }
    }

    /// The rows, and their total.
    pub(crate) fn finish(mut self) -> (BTreeMap<String, Sum>, Sum) {
        for (names, worst) in std::mem::take(&mut self.open).into_values() {
            let sum = Sum { requests: 1, in_doubt_micro_usd: worst.0, ..Sum::default() };
            self.book(&names, &sum);
        }
        let mut total = Sum::default();
        for sum in self.rows.values() {
            total.add(sum);
        }
        (self.rows, total)
    }
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    #[serde(flatten)]
    sum: &'a Sum,
}

#[derive(Serialize)]
struct Document<'a> {
    by: By,
    from: String,
    to: String,
    rows: Vec<Row<'a>>,
    total: Sum,
}

/// Sums up what was spent.
pub(crate) fn run(args: &SpendArgs, out: &mut Out) -> Ended {
    let now = Clock::system().now();
    let from = args.window.start(now);
    let mut sums = Sums::new(args.by, from);
    args.common.ledger()?.each(|entry, said| sums.see(time(entry), &said))?;
    let (rows, total) = sums.finish();
    if args.common.json {
        let rows = rows.iter().map(|(name, sum)| Row { name, sum }).collect();
        out.json(&Document {
            by: args.by,
            from: when::utc(from),
            to: when::utc(now),
            rows,
            total,
        })?;
        return Ok(Exit::Done);
    }
    let since = match args.window {
        Window::All => "in all".to_owned(),
        Window::Day | Window::Week | Window::Month => format!("since {} UTC", when::day(from)),
    };
    if rows.is_empty() {
        out.line(&Line::of(format!("nothing was spent {since}")))?;
        return Ok(Exit::Done);
    }
    let width =
        rows.keys().map(|name| harmless(name).chars().count()).max().unwrap_or(0).max(5) + 3;
    for (name, sum) in &rows {
        out.line(&row(Paint::Plain, width, name, sum))?;
    }
    out.line(&row(Paint::Bold, width, "total", &total).paint(Paint::Dim, format!("   {since}")))?;
    Ok(Exit::Done)
}

fn row(paint: Paint, width: usize, name: &str, sum: &Sum) -> Line {
    Line::new()
        .column(paint, width, name)
        .column(Paint::Plain, 18, counted(sum.requests, "request", "requests"))
        .column(Paint::Plain, 22, format!("{} tokens", grouped(sum.tokens)))
        .paint(paint, sum.money())
}

#[cfg(test)]
mod tests;
