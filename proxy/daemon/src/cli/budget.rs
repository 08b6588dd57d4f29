//! `tollgate budget`: how runs and keys stand, and how a run gets more.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use decide::case::MicroUsd;
use serde::Serialize;
use serde_json::json;

use super::amount;
use super::common::{Common, who_asks};
use super::failure::{Ended, Exit, Failure};
use super::kill::{answer, unexpected};
use super::out::{Line, Out, Paint, grouped};
use super::spend::{By, Sum, Sums};
use super::when::{self, Window};
use crate::clock::Clock;
use crate::folder::StateFolder;
use crate::gate::client;
use crate::gate::protocol::{Answer, Ask, Summary};
use crate::gate::socket::Conn;
use crate::ledger_view::{LedgerView, Said, time};
use crate::money::books::AccountId;
use crate::record::{BudgetSet, RunEvent};

/// Flags of `tollgate budget`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "Example:\n  tollgate budget\n  tollgate budget raise --run 01JDB7W3 5"
)]
pub(crate) struct BudgetArgs {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How today's runs and keys stand; what `budget` alone does
    #[command(before_help = "Example:\n  tollgate budget show")]
    Show(Common),
    /// Gives a running run more
    Raise(RaiseArgs),
}

/// Flags of `tollgate budget raise`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate budget raise --run 01JDB7W3 5")]
struct RaiseArgs {
    /// The run, or the beginning of its id
    #[arg(long, value_name = "ID")]
    run: String,

    /// Dollars that the limit is raised by
    #[arg(value_name = "AMOUNT", value_parser = amount::parse, required_unless_present = "to")]
    by: Option<MicroUsd>,

    /// The new limit, in place of an amount to raise it by
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse, conflicts_with = "by")]
    to: Option<MicroUsd>,

    #[command(flatten)]
    common: Common,
}

/// Shows budgets, or raises one.
pub(crate) fn run(args: &BudgetArgs, out: &mut Out) -> Ended {
    match &args.verb {
        None => show(&args.common, out),
        Some(Verb::Show(common)) => show(common, out),
        Some(Verb::Raise(raise)) => self::raise(raise, out),
    }
}

fn raise(args: &RaiseArgs, out: &mut Out) -> Ended {
    let state = args.common.folder()?;
    let none = || {
        Failure::no("no gate runs for this state folder, so no run can be given more")
            .then("tollgate budget show")
    };
    let mut conn = client::connect(&state)?.ok_or_else(none)?;
    let runs = status(&mut conn, &state)?;
    let run = the_run(&runs, &args.run)?;
    let limit = new_limit(run, args)?;
    let ask = Ask::RaiseBudget { run: run.run.clone(), limit, by: who_asks() };
    let answer = answer(&mut conn, &state, &ask)?;
    let Answer::Raised { entry, from } = answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&json!({
            "run": run.run, "from_micro_usd": from, "to_micro_usd": limit, "entry": entry,
        }))?;
    } else {
        let from = from.map_or_else(|| "no limit".to_owned(), |from| from.to_string());
        let what = format!(": run {} from {from} to {limit} · entry {}", run.run, grouped(entry));
        out.line(&Line::new().paint(Paint::Bold, "raised").text(what))?;
    }
    Ok(Exit::Done)
}

/// The one live run whose id begins so.
fn the_run<'r>(runs: &'r [Summary], typed: &str) -> Result<&'r Summary, Failure> {
    let typed = typed.trim_end_matches('…').to_ascii_uppercase();
    let live = || runs.iter().map(|run| run.run.as_str()).collect::<Vec<_>>().join(", ");
    let mut found = runs.iter().filter(|run| !typed.is_empty() && run.run.starts_with(&typed));
    match (found.next(), found.next()) {
        (Some(run), None) => Ok(run),
        (Some(_), Some(_)) => {
            Err(Failure::no(format!("several runs begin with {typed}: {}", live())))
        }
        (None, _) if runs.is_empty() => {
            Err(Failure::no("no run is live").then("tollgate budget show"))
        }
        (None, _) => Err(Failure::no(format!("no live run begins with {typed}; live: {}", live()))),
    }
}

fn new_limit(run: &Summary, args: &RaiseArgs) -> Result<MicroUsd, Failure> {
    let Some(limit) = run.limit else {
        return Err(Failure::no(format!("run {} has no limit, so none can be raised", run.run)));
    };
    let by = args.by.unwrap_or_default();
    let raised = args.to.unwrap_or(MicroUsd(limit.0.saturating_add(by.0)));
    if raised <= limit {
        return Err(Failure::usage(format!(
            "run {} may spend {limit} already: a raise goes above that",
            run.run
        )));
    }
    Ok(raised)
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
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Debug, Serialize)]
struct KeyRow {
    key: String,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Debug, Serialize)]
struct Document {
    day: String,
    gate_running: bool,
    today: Sum,
    runs: Vec<RunRow>,
    keys: Vec<KeyRow>,
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
    for row in &document.keys {
        out.line(
            &Line::new().text("key  ").column(Paint::Plain, 28, &row.key).text(row.sum.money()),
        )?;
    }
    if document.runs.is_empty() && document.keys.is_empty() {
        out.line(&Line::of("nothing ran today"))?;
    }
    Ok(Exit::Done)
}

fn run_line(row: &RunRow) -> Line {
    let limit = row.limit_micro_usd.map_or_else(String::new, |limit| format!(" of {limit}"));
    let (word, paint) = if row.live { ("live", Paint::Good) } else { ("ended", Paint::Dim) };
    Line::new()
        .text("run  ")
        .column(Paint::Plain, 28, &row.run)
        .column(paint, 7, word)
        .column(Paint::Plain, 18, &row.agent)
        .text(format!("{}{limit}", row.sum.money()))
}

/// Today's runs and keys: sums from the ledger, limits and who is live from the gate if one runs.
fn document(state: &StateFolder) -> Result<Document, Failure> {
    let now = Clock::system().now();
    let from = Window::Day.start(now);
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let (mut by_run, mut by_key) =
        (Sums::new(By::Run, Window::All.start(now)), Sums::new(By::Key, from));
    LedgerView::open(state)?.each(|entry, said| {
        let at = time(entry);
        by_run.see(at, &said);
        by_key.see(at, &said);
        see(&mut seen, at >= from, &said);
    })?;
    let live = live(state)?;
    let (sums, _) = by_run.finish();
    let (keys, today) = by_key.finish();
    let mut runs = Vec::new();
    for (run, seen) in seen {
        let summary = live.as_ref().and_then(|runs| runs.iter().find(|summary| summary.run == run));
        if !seen.today && summary.is_none() {
            continue;
        }
        runs.push(RunRow {
            sum: sums.get(&run).copied().unwrap_or_default(),
            agent: seen.agent,
            command: seen.command,
            live: summary.is_some(),
            limit_micro_usd: summary.and_then(|summary| summary.limit).or(seen.limit),
            run,
        });
    }
    let keys = keys.into_iter().map(|(key, sum)| KeyRow { key, sum }).collect();
    Ok(Document { day: when::day(now), gate_running: live.is_some(), today, runs, keys })
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
        | Said::Budget(_)
        | Said::Other
        | Said::Unreadable(_) => {}
    }
}

/// The live runs, if a gate runs. None is started to say that nothing is live.
fn live(state: &StateFolder) -> Result<Option<Vec<Summary>>, Failure> {
    let Some(mut conn) = client::connect(state)? else { return Ok(None) };
    status(&mut conn, state).map(Some)
}

fn status(conn: &mut Conn, state: &StateFolder) -> Result<Vec<Summary>, Failure> {
    let answer = answer(conn, state, &Ask::Status)?;
    if let Answer::Status { runs, .. } = answer { Ok(runs) } else { Err(unexpected(&answer)) }
}
