//! Any process of a run is killed at any moment, and what was acknowledged is still there.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{
    self, Answer, SOON, answers, ask_once, asking, became, empty, gate, inside, number, said,
    settled, slay, tail,
};
use serde_json::json;

/// Eight threads that ask for as long as they live, and a process that left its session.
fn load(stand: &Stand, stream: bool) -> Result<Vec<String>> {
    let prompt = if stream { "slow:5 split:2 say:hello there" } else { "say:hello there" };
    asking(
        stand,
        &json!({"threads": 8, "each": 100_000, "gap": 0.05, "stream": stream, "prompt": prompt, "fork": true}),
    )
}

/// Every answer that the client had is a decision in the ledger, and so is every request that the provider had.
fn all_is_on_record(stand: &Stand, answers: &[Answer]) -> Result<()> {
    // A flood of equal refusals is one entry; what was forwarded always has its own.
    let told = answers.iter().filter(|a| a.status == Some(200)).map(|a| a.trace.clone());
    let asked = stand.log().records().into_iter().filter_map(|record| {
        record.header("traceparent").and_then(|value| value.split('-').nth(1)).map(str::to_owned)
    });
    for trace in told.chain(asked).collect::<BTreeSet<_>>() {
        let found = said(stand, &["inspect", &trace])?;
        ensure!(found.get("decided").is_some(), "{trace} is not on record: {found}");
    }
    Ok(())
}

/// Spent and in doubt of all runs of the day, in micro-dollars.
fn counted(stand: &Stand) -> Result<u64> {
    let today = said(stand, &["budget"])?;
    Ok(number(&today, "/today/cost_micro_usd")? + number(&today, "/today/in_doubt_micro_usd")?)
}

/// What the provider would bill: each of its records is one and the same question.
fn billed(stand: &Stand, each: u64) -> Result<u64> {
    Ok(u64::try_from(stand.log().at("/v1/chat").len())? * each)
}

fn day_limit(stand: &Stand, amount: &str) -> Result<String> {
    let path = stand.home().join("contract.yaml");
    let contract = format!(
        "policy_id: crash\nversion: \"1\"\nmode: enforce\nagents:\n  \"*\":\n    models: [\"*\"]\n    \
         destinations: [api.openai.com, api.anthropic.com]\n    budgets: {{ run: $5, key_day: {amount} }}\n"
    );
    fs::write(&path, contract)?;
    Ok(path.to_string_lossy().into_owned())
}

fn works_at_once(stand: &Stand) -> Result<()> {
    let answer = ask_once(stand, &[], &json!({"prompt": "say:again"}))?;
    ensure!(answer.status == Some(200) && answer.body.contains("again"), "{answer:?}");
    Ok(())
}

#[test]
fn a_gate_killed_under_load_ends_its_run_and_loses_nothing_it_answered_for() -> Result<()> {
    let stand = Stand::new()?;
    for (stream, after) in [(false, 3), (true, 9), (false, 30)] {
        stand.log().reset();
        let mut run = stand.gate(&[])?.start(load(&stand, stream)?)?;
        run.until_stdout(LIMIT, |text| answers(text).len() >= after)?;
        let (_, command) = inside(run.pid())?;
        slay(gate(&stand)?.pid)?;
        let ended = run.end(SOON)?;
        ensure!(ended.status.code() == Some(125), "{:?}: {}", ended.status, ended.stderr);
        empty(&command.namespace)?;
        stand.verified()?;
        all_is_on_record(&stand, &answers(&ended.stdout))?;
        works_at_once(&stand)?;
    }
    Ok(())
}

#[test]
fn a_days_budget_holds_over_gates_that_are_killed() -> Result<()> {
    let stand = Stand::new()?;
    let limit = 12_000;
    let contract = day_limit(&stand, "$0.012")?;
    // It stays when it has asked, so that there is a gate to kill however fast the answers come.
    let spec = json!({"threads": 6, "each": 4, "max": 150, "prompt": "usage:40:100 say:hello", "timeout": 8, "linger": 60});
    for after in [1, 6, 13] {
        let mut run = stand.gate(&["--policy", &contract])?.start(asking(&stand, &spec)?)?;
        // What the day has no money left for is answered too, with a refusal.
        run.until_stdout(LIMIT, |text| answers(text).len() >= after)?;
        slay(gate(&stand)?.pid)?;
        run.end(SOON)?;
        stand.verified()?;
        let counted = counted(&stand)?;
        ensure!(counted <= limit, "{counted} of {limit} micro-dollars");
    }
    let spec = json!({"threads": 8, "each": 30, "max": 150, "prompt": "usage:40:100 say:hello"});
    let (last, _) = proofs::ask(&stand, &["--policy", &contract], &spec)?;
    let refused =
        last.iter().find(|answer| answer.status == Some(429)).context("nothing was refused")?;
    ensure!(refused.message()?.contains("budget"), "{refused:?}");
    // 40 tokens in and 100 out at gpt-5-mini's price.
    let (counted, billed) = (counted(&stand)?, billed(&stand, 10 + 200)?);
    ensure!(
        billed <= counted && counted <= limit,
        "billed {billed}, counted {counted}, limit {limit}"
    );
    all_is_on_record(&stand, &last)?;
    Ok(())
}

#[test]
fn nothing_of_the_command_outlives_its_front() -> Result<()> {
    let stand = Stand::new()?;
    let mut run = stand.gate(&[])?.start(load(&stand, true)?)?;
    run.until_stdout(LIMIT, |text| answers(text).len() >= 5)?;
    let (_, command) = inside(run.pid())?;
    let left_its_session = proofs::processes()?
        .into_iter()
        .filter(|process| process.namespace == command.namespace && process.pid != command.pid)
        .count();
    ensure!(left_its_session >= 2, "the load left no process of its own");
    slay(i32::try_from(run.pid())?)?;
    let seen = run.end(SOON)?;
    empty(&command.namespace)?;
    works_at_once(&stand)?;
    all_is_on_record(&stand, &answers(&seen.stdout))?;
    settled(&stand)?;
    stand.verified()?;
    Ok(())
}

#[test]
fn a_killed_init_takes_its_run_along_and_nothing_else() -> Result<()> {
    let stand = Stand::new()?;
    let other = stand.gate(&["--agent", "other"])?;
    let mut other = other
        .start(asking(&stand, &json!({"each": 100_000, "gap": 0.05, "prompt": "say:other"}))?)?;
    let mut run = stand.gate(&[])?.start(load(&stand, false)?)?;
    run.until_stdout(LIMIT, |text| answers(text).len() >= 5)?;
    let (init, command) = inside(run.pid())?;
    slay(init.pid)?;
    let ended = run.end(SOON)?;
    ensure!(!ended.status.success(), "{:?}: {}", ended.status, ended.stderr);
    empty(&command.namespace)?;
    let before = answers(&other.stdout()?).len();
    other.until_stdout(SOON, |text| answers(text).len() > before + 3)?;
    all_is_on_record(&stand, &answers(&ended.stdout))?;
    works_at_once(&stand)?;
    stand.verified()?;
    Ok(())
}

#[test]
fn a_killed_command_ends_its_run_as_a_killed_command_does() -> Result<()> {
    let stand = Stand::new()?;
    let mut run = stand.gate(&[])?.start(load(&stand, true)?)?;
    run.until_stdout(LIMIT, |text| answers(text).len() >= 5)?;
    let (_, command) = inside(run.pid())?;
    slay(command.pid)?;
    let ended = run.end(SOON)?;
    ensure!(ended.status.code() == Some(128 + 9), "{:?}: {}", ended.status, ended.stderr);
    ensure!(ended.stderr.contains("chain valid"), "no summary: {}", ended.stderr);
    empty(&command.namespace)?;
    settled(&stand)?;
    works_at_once(&stand)
}

#[test]
fn an_agent_stays_killed_over_a_gate_that_is_killed() -> Result<()> {
    let stand = Stand::new()?;
    let mut run = stand.gate(&["--agent", "bot"])?.start(load(&stand, true)?)?;
    run.until_stdout(LIMIT, |text| answers(text).len() >= 2)?;
    let killed = stand.tollgate(&["kill", "--agent", "bot", "--reason", "a test"])?;
    ensure!(killed.status.success(), "{killed:?}");
    slay(gate(&stand)?.pid)?;
    ensure!(run.end(SOON)?.status.code() == Some(125), "the run went on");
    stand.log().reset();
    let answer = ask_once(&stand, &["--agent", "bot"], &json!({}))?;
    ensure!(answer.status == Some(403) && answer.message()?.contains("kill_switch"), "{answer:?}");
    ensure!(stand.log().records().is_empty(), "the provider was asked");
    works_at_once(&stand)?;
    ensure!(became(&tail(&stand)?, "killed") == 1, "the kill is not on record");
    Ok(())
}

#[test]
fn a_torn_tail_is_named_and_a_new_run_goes_on_behind_it() -> Result<()> {
    let stand = Stand::new()?;
    works_at_once(&stand)?;
    let mut held = stand.gate(&[])?.start(asking(&stand, &json!({"linger": 60}))?)?;
    held.until_stdout(LIMIT, |text| !answers(text).is_empty())?;
    slay(gate(&stand)?.pid)?;
    held.end(SOON)?;
    let before = stand.verified()?;
    let ledger = stand.state().join("ledger");
    let segment = fs::read_dir(&ledger)?.next().context("no segment")??.path();
    let mut bytes = fs::read(&segment)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).context("an empty segment")? + 1;
    // The head of an entry that never came to its end.
    bytes[end..end + 200].fill(7);
    fs::write(&segment, &bytes)?;
    let torn = said(&stand, &["audit", "verify"])?;
    ensure!(torn.get("valid") == Some(&true.into()) && torn.to_string().contains("torn"), "{torn}");
    ensure!(number(&torn, "/entries")? == before, "{torn}");
    works_at_once(&stand)?;
    ensure!(stand.verified()? > before, "nothing was written behind it");
    // A byte of what was acknowledged is another matter.
    bytes[end - 100] ^= 1;
    fs::write(&segment, &bytes)?;
    let changed = stand.tollgate(&["audit", "verify", "--json"])?;
    ensure!(changed.status.code() == Some(1), "{changed:?}");
    Ok(())
}
