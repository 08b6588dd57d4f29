//! `tollgate budget raise`: more for a run, or for the present day or month of an agent, a team or a key.

use clap::{ArgGroup, Args, ValueEnum};
use decide::case::MicroUsd;
use serde_json::json;

use super::status;
use crate::cli::amount;
use crate::cli::common::{Common, who_asks};
use crate::cli::failure::{Ended, Exit, Failure};
use crate::cli::kill::{answer, ask, unexpected};
use crate::cli::out::{Line, Out, Paint, grouped};
use crate::gate::client;
use crate::gate::protocol::{Act, Amount, Answer, Ask, Raise, Raised, Summary};
use crate::money::books::Purse;

/// Flags of `tollgate budget raise`.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("whose").required(true)),
    before_help = "Example:\n  tollgate budget raise --run 01JDB7W3 5\n  tollgate budget raise --team payments --window month 250\n  tollgate budget raise --agent refund-bot --window day --to 20"
)]
pub(super) struct RaiseArgs {
    /// The run, or the beginning of its id
    #[arg(long, value_name = "ID", group = "whose", conflicts_with = "window")]
    run: Option<String>,

    /// An agent, by name
    #[arg(long, value_name = "NAME", group = "whose", requires = "window")]
    agent: Option<String>,

    /// A team, by name
    #[arg(long, value_name = "NAME", group = "whose", requires = "window")]
    team: Option<String>,

    /// A virtual key, by id or name; its limit is one of the day
    #[arg(long, value_name = "ID", group = "whose")]
    key: Option<String>,

    /// Which limit of an agent or a team: it is raised until the day or month (UTC) ends
    #[arg(long, value_enum)]
    window: Option<Span>,

    /// Dollars that the limit is raised by
    #[arg(value_name = "AMOUNT", value_parser = amount::parse, required_unless_present = "to")]
    by: Option<MicroUsd>,

    /// The new limit, in place of an amount to raise it by
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse, conflicts_with = "by")]
    to: Option<MicroUsd>,

    #[command(flatten)]
    common: Common,
}

/// A limit's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Span {
    /// The present day, UTC.
    Day,
    /// The present month, UTC.
    Month,
}

/// Raises a limit.
pub(super) fn run(args: &RaiseArgs, out: &mut Out) -> Ended {
    let answer = match purse(args)? {
        Some(purse) => {
            let amount = args.to.map_or(Amount::By(args.by.unwrap_or_default()), Amount::To);
            ask(&args.common, Act::RaiseBudget(Raise { purse, amount, by: who_asks() }))?
        }
        None => raise_run(args)?,
    };
    let Answer::Raised(raised) = answer else { return Err(unexpected(&answer)) };
    report(args, &raised, out)
}

/// Whose limit, but for a run, which is looked up first.
fn purse(args: &RaiseArgs) -> Result<Option<Purse>, Failure> {
    let day = args.window != Some(Span::Month);
    Ok(match (&args.agent, &args.team, &args.key) {
        (Some(agent), ..) if day => Some(Purse::AgentDay(agent.clone())),
        (Some(agent), ..) => Some(Purse::AgentMonth(agent.clone())),
        (None, Some(team), _) if day => Some(Purse::TeamDay(team.clone())),
        (None, Some(team), _) => Some(Purse::TeamMonth(team.clone())),
        (None, None, Some(key)) if day => Some(Purse::KeyDay(key.clone())),
        (None, None, Some(_)) => {
            return Err(Failure::usage("a key has a limit of the day, and none of the month"));
        }
        (None, None, None) => None,
    })
}

fn raise_run(args: &RaiseArgs) -> Result<Answer, Failure> {
    let state = args.common.folder()?;
    let none = || {
        Failure::no("no gate runs for this state folder, so no run can be given more")
            .then("tollgate budget show")
    };
    let mut conn = client::connect(&state)?.ok_or_else(none)?;
    let runs = status(&mut conn, &state)?;
    let run = the_run(&runs, args.run.as_deref().unwrap_or_default())?;
    let amount = Amount::To(new_limit(run, args)?);
    let raise = Raise { purse: Purse::Run(run.run.clone()), amount, by: who_asks() };
    answer(&mut conn, &state, &Ask::Act(Box::new(Act::RaiseBudget(raise))))
}

fn report(args: &RaiseArgs, raised: &Raised, out: &mut Out) -> Ended {
    let Raised { entry, account, from, to } = raised;
    if args.common.json {
        let mut document = json!({
            "account": account, "from_micro_usd": from, "to_micro_usd": to, "entry": entry,
        });
        if let (crate::money::books::AccountId::Run(run), Some(members)) =
            (account, document.as_object_mut())
        {
            members.insert("run".to_owned(), json!(run));
        }
        out.json(&document)?;
    } else {
        // Without a live run nobody says what the contract has, and a raise never lowers that.
        let far =
            from.map_or_else(|| format!("to at least {to}"), |from| format!("from {from} to {to}"));
        let what = format!(": {account} {far} · entry {}", grouped(*entry));
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
