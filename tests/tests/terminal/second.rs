//! The second terminal: what it sees of a run while it runs, and what it may change.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::process::Running;
use serde_json::Value;

use super::runs::gates;
use super::{asking, until};

/// A run that does `script` once the file `go` is there.
fn waiting(stand: &Stand, args: &[&str], script: &str) -> Result<Running> {
    let mut running =
        stand.gate(args)?.start(asking(&format!("echo ready; await go; {script}")))?;
    running.until_stdout(LIMIT, |shown| shown.contains("ready"))?;
    Ok(running)
}

fn go(stand: &Stand) -> Result<()> {
    Ok(fs::write(stand.work().join("go"), "")?)
}

/// The one live run's id, as a second terminal finds it.
fn live(stand: &Stand) -> Result<String> {
    let said = stand.tollgate(&["budget", "--json"])?;
    let said: Value = serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))?;
    let id = said.pointer("/runs/0/run").and_then(Value::as_str);
    id.map(str::to_owned).with_context(|| format!("no run in {said}"))
}

#[test]
fn tail_shows_a_decision_of_the_first_terminal_as_it_happens() -> Result<()> {
    let stand = Stand::new()?;
    let first = waiting(&stand, &["--agent", "bot"], "ask say:hi; await end")?;
    let mut tail = stand.second(&["tail", "--json", "--follow", "-n", "1"])?;
    tail.until_stdout(LIMIT, |shown| shown.ends_with('\n'))?;
    go(&stand)?;
    let shown = tail.until_stdout(LIMIT, |shown| shown.contains("\"became\":\"forwarded\""))?;
    let lines: Vec<Value> = shown.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let decision = lines.last().context("nothing was shown")?;
    for (key, value) in [("agent", "bot"), ("what", "api.openai.com chat_completions gpt-5-mini")] {
        ensure!(decision.get(key) == Some(&value.into()), "{decision}");
    }
    fs::write(stand.work().join("end"), "")?;
    tail.until_stdout(LIMIT, |shown| shown.contains("\"became\":\"ended\""))?;
    ensure!(first.end(LIMIT)?.status.success());
    Ok(())
}

#[test]
fn the_summary_names_the_command_that_explains_a_refusal() -> Result<()> {
    let stand = Stand::new()?;
    let run = stand.gate(&["--model", "gpt-5-nano"])?.run(asking("ask say:hello"))?;
    let line = run
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("          refused: "))
        .with_context(|| format!("no refusal in {run:?}"))?;
    let (what, id) = line.split_once("     why: tollgate inspect ").context(line.to_owned())?;
    ensure!(
        what == "model_scope: gpt-5-mini is not in this agent's contract. Allowed: gpt-5-nano",
        "{what}"
    );
    let page = stand.tollgate(&["inspect", id])?;
    ensure!(page.status.success(), "{page:?}");
    for part in [
        "refused by filtering/model_scope: gpt-5-mini is not in this agent's contract",
        "use an allowed model, or start the run with another policy or --model",
        "api.openai.com chat_completions gpt-5-mini",
        "✗ filtering/model_scope",
    ] {
        ensure!(page.stdout.contains(part), "no {part:?} in {}", page.stdout);
    }
    let json = stand.tollgate(&["inspect", id, "--json"])?;
    let json: Value = serde_json::from_str(&json.stdout)?;
    ensure!(json.pointer("/decided/id") == Some(&id.into()), "{json}");
    let none = stand.tollgate(&["inspect", "01NOSUCHDECISION"])?;
    ensure!(none.status.code() == Some(1), "{none:?}");
    Ok(())
}

/// What one answer of 5,000 tokens costs, and the question before it, but not twice.
const ONE_ANSWER: &str = "0.0104";

#[test]
fn a_refused_run_goes_on_once_its_budget_is_raised() -> Result<()> {
    let stand = Stand::new()?;
    let script = "ask 'usage:10:4900 say:x' 5000; ask \"say:$(printf '%5000s')\" 5000; echo spent; \
                  await raised; ask 'say:more' 5000";
    let mut first = waiting(&stand, &["--budget", ONE_ANSWER], script)?;
    go(&stand)?;
    let shown = first.until_stdout(LIMIT, |shown| shown.contains("spent"))?;
    ensure!(shown.contains("\n200\n") && shown.contains("\n429\n"), "{shown}");
    ensure!(shown.contains("tollgate budget raise --run"), "no hint: {shown}");
    let run = live(&stand)?;
    let beginning: String = run.chars().take(20).collect();
    let raised = stand.tollgate(&["budget", "raise", "--run", &beginning, "5"])?;
    ensure!(raised.status.success(), "{raised:?}");
    ensure!(raised.stdout.contains(&run) && raised.stdout.contains("to $5.0104"), "{raised:?}");
    fs::write(stand.work().join("raised"), "")?;
    let outcome = first.end(LIMIT)?;
    ensure!(outcome.stdout.ends_with("\n200\n"), "{outcome:?}");
    ensure!(outcome.stderr.contains(" of $5.0104 (prices of "), "{outcome:?}");
    stand.verified()?;
    Ok(())
}

#[test]
fn a_request_that_waits_for_money_goes_out_when_the_budget_is_raised() -> Result<()> {
    let stand = Stand::new()?;
    // The first answer never ends, so what is set aside for it is not given back.
    let script = "ask stall 5000 & stalled=$!; await second; ask say:through 5000; kill $stalled";
    let mut first = waiting(&stand, &["--budget", ONE_ANSWER], script)?;
    go(&stand)?;
    first.until_asked(stand.log(), LIMIT, |records| records.len() == 1)?;
    fs::write(stand.work().join("second"), "")?;
    let live_exchanges = || {
        let metrics = stand.tollgate(&["metrics"])?;
        Ok(metrics.stdout.lines().any(|line| line == "tollgate_exchanges_live 2"))
    };
    until("the second request is not under way", live_exchanges)?;
    ensure!(stand.log().records().len() == 1, "both fit, so nothing waits");
    let raised = stand.tollgate(&["budget", "raise", "--run", &live(&stand)?, "--to", "5"])?;
    ensure!(raised.status.success(), "{raised:?}");
    let outcome = first.end(LIMIT)?;
    ensure!(
        outcome.stdout.contains("through") && outcome.stdout.contains("\n200\n"),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn raising_what_cannot_be_raised_says_why() -> Result<()> {
    let stand = Stand::new()?;
    let first = waiting(&stand, &["--budget", "1"], "true")?;
    let run = live(&stand)?;
    for (args, code, why) in [
        (["--run", "01NOSUCHRUN", "5"], 1, "no live run begins with 01NOSUCHRUN; live: "),
        (["--run", &run, "--to=0.5"], 2, "may spend $1.00 already"),
        (["--run", &run, "much"], 2, "much"),
    ] {
        let said = stand.tollgate(&[&["budget", "raise"], &args[..]].concat())?;
        ensure!(said.status.code() == Some(code) && said.stderr.contains(why), "{said:?}");
    }
    go(&stand)?;
    ensure!(first.end(LIMIT)?.status.success());
    let late = stand.tollgate(&["budget", "raise", "--run", &run, "5"])?;
    ensure!(late.status.code() == Some(1), "{late:?}");
    Ok(())
}

#[test]
fn one_line_appears_at_80_percent_of_the_budget_and_only_once() -> Result<()> {
    let stand = Stand::new()?;
    // 0.01 dollars are 5,000 tokens: 3,900, then 4,200, then 4,300.
    let script = "ask 'usage:0:3900 say:x' 3900; echo quiet; await go; \
                  ask 'usage:0:300 say:x' 300; ask 'usage:0:100 say:x' 100";
    let mut running = stand.gate(&["--budget", "0.01"])?.start(asking(script))?;
    running.until_stdout(LIMIT, |shown| shown.contains("quiet"))?;
    let early = running.stderr()?;
    ensure!(!early.contains(" used. More: "), "warned at 78 %: {early}");
    let run = live(&stand)?;
    go(&stand)?;
    let outcome = running.end(LIMIT)?;
    ensure!(outcome.stdout.matches("\n200\n").count() == 3, "{outcome:?}");
    let line =
        format!("tollgate: $0.0084 of $0.01 used. More: tollgate budget raise --run {run} AMOUNT");
    ensure!(outcome.stderr.matches(" used. More: ").count() == 1, "{outcome:?}");
    ensure!(outcome.stderr.contains(&line), "{line}: {outcome:?}");
    ensure!(!outcome.stdout.contains("used"), "it is on the command's stdout");
    Ok(())
}

#[test]
fn metrics_count_what_the_first_terminal_did() -> Result<()> {
    let stand = Stand::new()?;
    let script = "ask 'usage:100:50 say:x'; ask say:x >/dev/null; curl -s https://pastebin.com/; \
                  echo done; await end";
    let mut first = waiting(&stand, &[], script)?;
    let before = stand.tollgate(&["metrics"])?;
    ensure!(before.stdout.contains("tollgate_exchanges_live 0"), "{before:?}");
    go(&stand)?;
    first.until_stdout(LIMIT, |shown| shown.contains("done"))?;
    let after = stand.tollgate(&["metrics"])?;
    for line in [
        "tollgate_decisions_total{outcome=\"forward\",rule=\"\"} 2",
        "# TYPE tollgate_commit_seconds histogram",
    ] {
        ensure!(after.stdout.lines().any(|shown| shown == line), "no {line}: {}", after.stdout);
    }
    ensure!(
        after.stdout.contains("tollgate_decisions_total{outcome=\"refuse\",rule=\"destination\"} "),
        "{}",
        after.stdout
    );
    fs::write(stand.work().join("end"), "")?;
    ensure!(first.end(LIMIT)?.status.success());
    until("the gate outlived its run", || Ok(gates(&stand)?.is_empty()))?;
    let none = stand.tollgate(&["metrics"])?;
    ensure!(none.status.code() == Some(1) && none.stderr.contains("no gate runs"), "{none:?}");
    Ok(())
}
