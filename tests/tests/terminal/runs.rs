//! Two runs in one project: one gate, one day's budget, a budget of each run's own.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::process::{Outcome, Running};
use serde_json::Value;

use super::{asking, until};

/// The processes that are gates of this stand: their descriptors lead into its state folder.
pub(crate) fn gates(stand: &Stand) -> Result<Vec<String>> {
    let state = stand.state();
    let mut gates = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let is_gate = fs::read(process.join("cmdline")).is_ok_and(|arguments| {
            arguments.split(|byte| *byte == 0).any(|word| word == b"__gate")
        });
        // A process may end while it is looked at.
        let Ok(descriptors) = fs::read_dir(process.join("fd")) else { continue };
        let leads = |fd: fs::DirEntry| {
            fs::read_link(fd.path()).is_ok_and(|target| target.starts_with(&state))
        };
        if is_gate && descriptors.flatten().any(leads) {
            gates.extend(process.file_name().map(|pid| pid.to_string_lossy().into_owned()));
        }
    }
    Ok(gates)
}

/// Starts a run that asks once there is a file `NAME.go`, and ends once there is `NAME.end`.
fn start(stand: &Stand, name: &str, args: &[&str], ask: &str) -> Result<Running> {
    let script = format!("echo ready; await {name}.go; {ask}; echo asked; await {name}.end");
    let args = [&["--agent", name], args].concat();
    let mut running = stand.gate(&args)?.start(asking(&script))?;
    running.until_stdout(LIMIT, |shown| shown.contains("ready"))?;
    Ok(running)
}

fn go(stand: &Stand, running: &mut Running, name: &str) -> Result<()> {
    fs::write(stand.work().join(format!("{name}.go")), "")?;
    running.until_stdout(LIMIT, |shown| shown.contains("asked"))?;
    Ok(())
}

fn end(stand: &Stand, running: Running, name: &str) -> Result<Outcome> {
    fs::write(stand.work().join(format!("{name}.end")), "")?;
    running.end(LIMIT)
}

fn budget(stand: &Stand) -> Result<Value> {
    let said = stand.tollgate(&["budget", "--json"])?;
    serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))
}

fn number(value: &Value, at: &str) -> Result<u64> {
    value.pointer(at).and_then(Value::as_u64).with_context(|| format!("no {at} in {value}"))
}

#[test]
fn two_runs_share_one_gate_which_ends_with_the_last_of_them() -> Result<()> {
    let stand = Stand::new()?;
    let one = start(&stand, "one", &["--budget", "1"], "true")?;
    let first = gates(&stand)?;
    ensure!(first.len() == 1, "{first:?}");
    let two = start(&stand, "two", &["--budget", "2"], "true")?;
    ensure!(gates(&stand)? == first, "the second run has another gate");
    for (running, name) in [(one, "one"), (two, "two")] {
        ensure!(gates(&stand)? == first, "the gate ended before its runs");
        fs::write(stand.work().join(format!("{name}.go")), "")?;
        let outcome = end(&stand, running, name)?;
        ensure!(outcome.stderr.contains("chain valid"), "{outcome:?}");
    }
    until("the gate outlived its runs", || Ok(gates(&stand)?.is_empty()))?;
    stand.verified()?;
    Ok(())
}

/// What one key may spend in a day: one answer of 4,900 tokens, and next to nothing besides.
const DAY: &str = "policy_id: day
version: \"1\"
mode: enforce
agents:
  \"*\":
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    budgets: { run: $5, key_day: $0.01002 }
";

#[test]
fn two_runs_share_the_days_budget_and_have_one_each_of_their_own() -> Result<()> {
    let stand = Stand::new()?;
    fs::write(stand.home().join("policy.yaml"), DAY)?;
    let policy = stand.home().join("policy.yaml").display().to_string();
    let [one, two] = ["1", "2"].map(|budget| ["--policy", &policy, "--budget", budget]);
    let mut first = start(&stand, "one", &one, "ask 'usage:10:4900 say:x' 4950")?;
    let long = format!("ask 'say:{}'", "long ".repeat(1000));
    let mut second = start(&stand, "two", &two, &long)?;
    go(&stand, &mut first, "one")?;
    ensure!(first.stdout()?.contains("\n200\n"), "{}", first.stdout()?);
    go(&stand, &mut second, "two")?;
    let said = second.stdout()?;
    ensure!(
        said.contains("\n429\n") && said.contains("key_budget"),
        "the second run does not know what the first spent: {said}"
    );
    ensure!(stand.log().at("/v1/").len() == 1, "the refused request reached the provider");

    let shown = budget(&stand)?;
    let runs = shown.pointer("/runs").and_then(Value::as_array).context("no runs")?;
    let of = |agent: &str| {
        runs.iter()
            .find(|run| run.get("agent") == Some(&agent.into()))
            .with_context(|| format!("{agent} is not in {shown}"))
    };
    for (agent, limit, spent) in [("one", 1_000_000, 9_803), ("two", 2_000_000, 0)] {
        let run = of(agent)?;
        ensure!(run.get("live") == Some(&true.into()), "{run}");
        ensure!(number(run, "/limit_micro_usd")? == limit, "{run}");
        ensure!(number(run, "/cost_micro_usd")? == spent, "{run}");
    }
    ensure!(number(&shown, "/today/cost_micro_usd")? == 9_803, "{shown}");
    ensure!(shown.pointer("/keys").and_then(Value::as_array).is_some_and(|keys| keys.len() == 1));
    for (running, name, of) in [(first, "one", "$1"), (second, "two", "$2")] {
        let outcome = end(&stand, running, name)?;
        ensure!(outcome.stderr.contains(&format!(" of {of}.00 (prices of ")), "{outcome:?}");
    }
    stand.verified()?;
    Ok(())
}
