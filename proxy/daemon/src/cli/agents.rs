//! `tollgate agents`: who is behind the gate, in which mode, since when.

use std::collections::BTreeMap;

use clap::Args;
use decide::case::Timestamp;
use serde::Serialize;

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::kill::{answer, unexpected};
use super::out::{Line, Out, Paint, counted};
use super::when;
use crate::gate::client;
use crate::gate::protocol::{Act, Agent, Answer, Ask};
use crate::ledger_view::{LedgerView, Said, time};

/// Flags of `tollgate agents`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate agents\n  tollgate agents --json")]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Serialize)]
struct Row {
    agent: String,
    team: Option<String>,
    mode: decide::policy::Mode,
    since: String,
    known_by: Vec<String>,
    runs: Vec<String>,
    live: u64,
    last_request: Option<String>,
    spent_today_micro_usd: decide::case::MicroUsd,
}

/// Lists the agents with a live run: from the gate, and their last decision from the ledger.
pub(crate) fn run(args: &AgentsArgs, out: &mut Out) -> Ended {
    let state = args.common.folder()?;
    let Some(mut conn) = client::connect(&state)? else {
        return Err(Failure::no("no gate runs on this state folder, so nobody is behind it")
            .then("tollgate spend --by agent"));
    };
    let answer = answer(&mut conn, &state, &Ask::Act(Box::new(Act::Agents)))?;
    let Answer::Agents { agents } = answer else { return Err(unexpected(&answer)) };
    let mut last: BTreeMap<String, Timestamp> = BTreeMap::new();
    LedgerView::open(&state)?.each(|entry, said| {
        if let Said::Decided(decided) = said {
            last.insert(decided.agent.clone(), time(entry));
        }
    })?;
    if args.common.json {
        let rows: Vec<Row> = agents.into_iter().map(|agent| row(agent, &last)).collect();
        out.json(&serde_json::json!({ "agents": rows }))?;
        return Ok(Exit::Done);
    }
    if agents.is_empty() {
        out.line(&Line::of("no agent is behind the gate"))?;
    }
    let widest = |of: fn(&Agent) -> &str| {
        agents.iter().map(|agent| of(agent).chars().count()).max().unwrap_or(0) + 2
    };
    let (names, teams) = (widest(|agent| &agent.agent), widest(|agent| team(agent)));
    let terminal = out.is_terminal();
    for agent in &agents {
        out.line(&line(agent, last.get(&agent.agent).copied(), (names, teams), terminal))?;
    }
    Ok(Exit::Done)
}

fn team(agent: &Agent) -> &str {
    agent.team.as_deref().unwrap_or("-")
}

fn row(agent: Agent, last: &BTreeMap<String, Timestamp>) -> Row {
    Row {
        last_request: last.get(&agent.agent).map(|at| when::utc(*at)),
        since: when::utc(agent.since),
        agent: agent.agent,
        team: agent.team,
        mode: agent.mode,
        known_by: agent.known_by,
        runs: agent.runs,
        live: agent.live,
        spent_today_micro_usd: agent.spent,
    }
}

fn line(agent: &Agent, last: Option<Timestamp>, widths: (usize, usize), terminal: bool) -> Line {
    let (mode, paint) = match agent.mode {
        decide::policy::Mode::Enforce => ("enforce", Paint::Good),
        decide::policy::Mode::Observe => ("observe", Paint::Warn),
    };
    let asked = last.map_or_else(
        || "nothing asked yet".to_owned(),
        |at| format!("last request {}", when::shown(at, terminal)),
    );
    Line::new()
        .column(Paint::Bold, widths.0, &agent.agent)
        .column(Paint::Plain, widths.1, team(agent))
        .column(paint, 9, mode)
        .text(format!(
            "since {} · by {} · {} live · {asked} · {} today",
            when::shown(agent.since, terminal),
            agent.known_by.join(", "),
            counted(agent.live, "stream", "streams"),
            agent.spent,
        ))
}

#[cfg(test)]
mod tests {
    use decide::case::MicroUsd;
    use decide::policy::Mode;

    use super::*;
    use crate::cli::out::plain;

    #[test]
    fn a_line_says_who_how_since_when_and_what_is_under_way() {
        let agent = Agent {
            agent: "refund-bot".into(),
            team: None,
            mode: Mode::Observe,
            since: Timestamp(1_795_269_544_123_456),
            known_by: vec!["key:ci".into(), "address:10.1.0.0/16".into()],
            runs: vec!["01J".into()],
            live: 1,
            spent: MicroUsd(410_000),
        };
        assert_eq!(
            plain(&line(&agent, None, (12, 3), false)),
            "refund-bot  -  observe  since 2026-11-21T13:59:04.123Z · by key:ci, address:10.1.0.0/16 · \
             1 stream live · nothing asked yet · $0.41 today"
        );
    }
}
