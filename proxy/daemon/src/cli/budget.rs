//! `tollgate budget`: how runs, agents, keys and teams stand, and how they get more.

mod raise;

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use decide::case::{MicroUsd, Timestamp};
use serde::Serialize;

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::kill::{answer, unexpected};
use super::out::{Line, Out, Paint};
use super::spend::{By, NO_TEAM, Sum, Sums};
use super::when::{self, Window};
use crate::clock::Clock;
use crate::folder::StateFolder;
use crate::gate::client;
use crate::gate::protocol::{Act, Answer, Ask, Budget, Summary};
use crate::gate::socket::Conn;
use crate::ledger_view::{LedgerView, Said, time};
use crate::money::books::{AccountId, Purse};
use crate::record::{BudgetSet, RunEvent};

/// Flags of `tollgate budget`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "Example:\n  tollgate budget\n  tollgate budget raise --run 01JDB7W3 5\n  tollgate budget raise --agent refund-bot --window day 20"
)]
pub(crate) struct BudgetArgs {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How today's runs, agents, keys and teams stand; what `budget` alone does
    #[command(before_help = "Example:\n  tollgate budget show")]
    Show(Common),
    /// Gives a running run more, or an agent, a team or a key for the present day or month
    Raise(raise::RaiseArgs),
}

/// Shows budgets, or raises one.
pub(crate) fn run(args: &BudgetArgs, out: &mut Out) -> Ended {
    match &args.verb {
        None => show(&args.common, out),
        Some(Verb::Show(common)) => show(common, out),
        Some(Verb::Raise(raise)) => raise::run(raise, out),
    }
}

/// The name of the agent or team whose account it is.
const fn whose(account: &AccountId) -> Option<&String> {
    match account {
        AccountId::AgentDay(name, _)
        | AccountId::AgentMonth(name, _)
        | AccountId::TeamDay(name, _)
        | AccountId::TeamMonth(name, _) => Some(name),
        AccountId::Run(_) | AccountId::KeyDay(..) => None,
    }
}

/// What the ledger says of one run.
#[derive(Debug, Default)]
struct Seen {
    agent: String,
    command: String,
    limit: Option<MicroUsd>,
    ended: bool,
    today: bool,
}

#[derive(Debug, Serialize)]
struct RunRow {
    run: String,
    agent: String,
    command: String,
    live: bool,
    limit_micro_usd: Option<MicroUsd>,
    reserved_micro_usd: MicroUsd,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Debug, Serialize)]
struct KeyRow {
    key: String,
    limit_micro_usd: Option<MicroUsd>,
    reserved_micro_usd: MicroUsd,
    #[serde(flatten)]
    sum: Sum,
}

/// An agent or a team: its day and its month.
#[derive(Debug, Serialize)]
struct WholeRow {
    name: String,
    day: Standing,
    month: Standing,
}

/// How one of their windows stands.
#[derive(Debug, Default, Serialize)]
struct Standing {
    #[serde(rename = "limit_micro_usd")]
    limit: Option<MicroUsd>,
    #[serde(rename = "reserved_micro_usd")]
    reserved: MicroUsd,
    #[serde(rename = "cost_micro_usd")]
    cost: MicroUsd,
    #[serde(rename = "in_doubt_micro_usd")]
    in_doubt: MicroUsd,
}

#[derive(Debug, Serialize)]
struct Document {
    day: String,
    gate_running: bool,
    today: Sum,
    runs: Vec<RunRow>,
    agents: Vec<WholeRow>,
    keys: Vec<KeyRow>,
    teams: Vec<WholeRow>,
}

fn show(common: &Common, out: &mut Out) -> Ended {
    let state = common.folder()?;
    let document = document(&state)?;
    if common.json {
        out.json(&document)?;
        return Ok(Exit::Done);
    }
    let line = Line::new().paint(Paint::Bold, format!("today ({} UTC)", document.day));
    out.line(&line.text(format!("  {}", document.today.money())))?;
    for row in &document.runs {
        out.line(&run_line(row))?;
    }
    for (whose, rows) in [("agent", &document.agents), ("team", &document.teams)] {
        for row in rows {
            out.line(&whole_line(whose, row))?;
        }
    }
    for row in &document.keys {
        let line = Line::new().text("key    ").column(Paint::Plain, 28, &row.key);
        out.line(&line.text(money(&row.sum, row.reserved_micro_usd, row.limit_micro_usd)))?;
    }
    if document.runs.is_empty() && document.keys.is_empty() {
        out.line(&Line::of("nothing ran today"))?;
    }
    Ok(Exit::Done)
}

fn run_line(row: &RunRow) -> Line {
    let (word, paint) = if row.live { ("live", Paint::Good) } else { ("ended", Paint::Dim) };
    Line::new()
        .text("run    ")
        .column(Paint::Plain, 28, &row.run)
        .column(paint, 7, word)
        .column(Paint::Plain, 18, &row.agent)
        .text(money(&row.sum, row.reserved_micro_usd, row.limit_micro_usd))
}

fn whole_line(whose: &str, row: &WholeRow) -> Line {
    let window = |standing: &Standing| {
        let sum = Sum {
            cost_micro_usd: standing.cost.0,
            in_doubt_micro_usd: standing.in_doubt.0,
            ..Sum::default()
        };
        money(&sum, standing.reserved, standing.limit)
    };
    Line::new().column(Paint::Plain, 7, whose).column(Paint::Plain, 28, &row.name).text(format!(
        "{} today · {} this month",
        window(&row.day),
        window(&row.month)
    ))
}

/// `$0.41 + $0.02 in doubt + $0.10 reserved of $5.00`.
fn money(sum: &Sum, reserved: MicroUsd, limit: Option<MicroUsd>) -> String {
    let reserved = if reserved.0 == 0 { String::new() } else { format!(" + {reserved} reserved") };
    let limit = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    format!("{}{reserved}{limit}", sum.money())
}

/// What the ledger says since the first of the month.
struct Ledgered {
    seen: BTreeMap<String, Seen>,
    runs: Sums,
    keys: Sums,
    agents: [Sums; 2],
    teams: [Sums; 2],
}

/// Today's runs and keys, agents and teams: sums from the ledger; from the gate, if one runs, how its
/// accounts stand, their limits, and who is live.
fn document(state: &StateFolder) -> Result<Document, Failure> {
    let now = Clock::system().now();
    let (from, month) = (Window::Day.start(now), Window::Month.start(now));
    let mut ledger = Ledgered {
        seen: BTreeMap::new(),
        runs: Sums::new(By::Run, Window::All.start(now)),
        keys: Sums::new(By::Key, from),
        agents: [Sums::new(By::Agent, from), Sums::new(By::Agent, month)],
        teams: [Sums::new(By::Team, from), Sums::new(By::Team, month)],
    };
    LedgerView::open(state)?.each(|entry, said| {
        let at = time(entry);
        let Ledgered { seen: _, runs, keys, agents, teams } = &mut ledger;
        for sums in [runs, keys].into_iter().chain(agents).chain(teams) {
            sums.see(at, &said);
        }
        see(&mut ledger.seen, at >= from, &said);
    })?;
    let live = live(state)?;
    let gate = Accounts::of(live.as_ref().map_or(&[][..], |live| &live.budgets), now);
    let (sums, _) = ledger.runs.finish();
    let (keys, today) = ledger.keys.finish();
    let mut runs = Vec::new();
    for (run, seen) in ledger.seen {
        let summary = live.as_ref().and_then(|live| live.runs.iter().find(|one| one.run == run));
        if !seen.today && summary.is_none() {
            continue;
        }
        let mut sum = sums.get(&run).copied().unwrap_or_default();
        let account = gate.of_purse(&Purse::Run(run.clone()));
        runs.push(RunRow {
            reserved_micro_usd: reserve(&mut sum, account),
            sum,
            agent: seen.agent,
            command: seen.command,
            live: summary.is_some(),
            limit_micro_usd: summary.and_then(|summary| summary.limit).or(seen.limit),
            run,
        });
    }
    let keys = keys.into_iter().map(|(key, mut sum)| {
        let account = gate.of_purse(&Purse::KeyDay(key.clone()));
        let reserved_micro_usd = reserve(&mut sum, account);
        let limit_micro_usd = account.and_then(|account| account.limit);
        KeyRow { key, limit_micro_usd, reserved_micro_usd, sum }
    });
    Ok(Document {
        day: when::day(now),
        gate_running: live.is_some(),
        today,
        runs,
        keys: keys.collect(),
        agents: whole(ledger.agents, &gate, [Purse::AgentDay, Purse::AgentMonth]),
        teams: whole(ledger.teams, &gate, [Purse::TeamDay, Purse::TeamMonth]),
    })
}

/// What is set aside for open exchanges. The ledger knows only that they may cost that much, and counts
/// it as in doubt; the gate knows that they are open.
fn reserve(sum: &mut Sum, account: Option<&Budget>) -> MicroUsd {
    let Some(account) = account else { return MicroUsd(0) };
    sum.in_doubt_micro_usd = account.in_doubt.0;
    account.reserved
}

/// The accounts of the present windows, as the gate has them.
#[derive(Debug)]
struct Accounts {
    now: Timestamp,
    all: BTreeMap<AccountId, Budget>,
}

impl Accounts {
    fn of(budgets: &[Budget], now: Timestamp) -> Self {
        let all = budgets.iter().map(|budget| (budget.account.clone(), budget.clone()));
        Self { now, all: all.collect() }
    }

    fn of_purse(&self, purse: &Purse) -> Option<&Budget> {
        self.all.get(&purse.at(self.now))
    }
}

/// Agents or teams: their days and months.
fn whole(sums: [Sums; 2], gate: &Accounts, purses: [fn(String) -> Purse; 2]) -> Vec<WholeRow> {
    let [day, month] = sums.map(|sums| sums.finish().0);
    let standing = |sum: Option<&Sum>, purse: Purse| {
        let sum = sum.copied().unwrap_or_default();
        let known = gate.of_purse(&purse);
        known.map_or_else(
            || Standing {
                cost: MicroUsd(sum.cost_micro_usd),
                in_doubt: MicroUsd(sum.in_doubt_micro_usd),
                ..Standing::default()
            },
            |known| Standing {
                limit: known.limit,
                reserved: known.reserved,
                cost: known.spent,
                in_doubt: known.in_doubt,
            },
        )
    };
    let [of_day, of_month] = purses;
    // Who has a limit and spent nothing is shown too.
    let live = gate
        .all
        .keys()
        .filter_map(|id| whose(id).filter(|name| *id == of_day((*name).clone()).at(gate.now)));
    let names: BTreeSet<String> = month.keys().chain(live).cloned().collect();
    let row = |name: String| WholeRow {
        day: standing(day.get(&name), of_day(name.clone())),
        month: standing(month.get(&name), of_month(name.clone())),
        name,
    };
    names.into_iter().filter(|name| name != NO_TEAM).map(row).collect()
}

fn see(seen: &mut BTreeMap<String, Seen>, today: bool, said: &Said) {
    match said {
        Said::Run(run) => {
            let seen = seen.entry(run.run.clone()).or_default();
            seen.agent.clone_from(&run.agent);
            seen.command.clone_from(&run.command);
            seen.ended = run.event == RunEvent::Ended;
            seen.today |= today;
        }
        Said::Decided(decided) => {
            let seen = seen.entry(decided.run.clone()).or_default();
            seen.agent.clone_from(&decided.agent);
            seen.today |= today;
        }
        Said::Budget(BudgetSet { account: AccountId::Run(run), limit, .. }) => {
            seen.entry(run.clone()).or_default().limit = Some(*limit);
        }
        Said::Outcome(_)
        | Said::Killed(_)
        | Said::Unkilled(_)
        | Said::Refusals(_)
        | Said::Attempts(_)
        | Said::Inbound(_)
        | Said::Budget(_)
        | Said::Other
        | Said::Unreadable(_) => {}
    }
}

/// What a gate that runs says.
#[derive(Debug)]
struct Live {
    runs: Vec<Summary>,
    budgets: Vec<Budget>,
}

/// The live runs and the accounts, if a gate runs. None is started to say that nothing is live.
fn live(state: &StateFolder) -> Result<Option<Live>, Failure> {
    let Some(mut conn) = client::connect(state)? else { return Ok(None) };
    let runs = status(&mut conn, state)?;
    let answer = answer(&mut conn, state, &Ask::Act(Box::new(Act::Budgets)))?;
    let Answer::Budgets { budgets } = answer else { return Err(unexpected(&answer)) };
    Ok(Some(Live { runs, budgets }))
}

fn status(conn: &mut Conn, state: &StateFolder) -> Result<Vec<Summary>, Failure> {
    let answer = answer(conn, state, &Ask::Status)?;
    if let Answer::Status { runs, .. } = answer { Ok(runs) } else { Err(unexpected(&answer)) }
}
