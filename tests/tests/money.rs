//! What is spent never exceeds what was allowed, whoever asks at the same time and however an answer ends.

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{Answer, SOON, answers, ask, ask_once, asking, number, said, settled, until};
use serde_json::{Value, json};

/// Micro-dollars of a run's limit.
const TINY: u64 = 4_000;

/// What `tollgate budget` says of the newest run.
fn stands(stand: &Stand) -> Result<(u64, u64)> {
    let budget = said(stand, &["budget"])?;
    let runs = budget.get("runs").and_then(Value::as_array).context("no runs")?;
    let newest = runs.iter().max_by_key(|run| run.get("run").map(ToString::to_string));
    let newest = newest.with_context(|| format!("no run in {budget}"))?;
    Ok((number(newest, "/cost_micro_usd")?, number(newest, "/in_doubt_micro_usd")?))
}

/// The decision and outcome of an answer.
fn found(stand: &Stand, answer: &Answer) -> Result<Value> {
    until(SOON, "an outcome", || {
        let found = said(stand, &["inspect", &answer.trace])?;
        Ok(found.pointer("/outcome/took_us").is_some().then_some(found))
    })
}

#[test]
fn thirty_two_at_once_never_spend_more_than_the_limit() -> Result<()> {
    let stand = Stand::new()?;
    // Each costs 1,000 in and 100 out at gpt-5-mini's price: 450 micro-dollars, reserved at more.
    let prompt = format!("usage:1000:100 slow:30 say:hello {}", "x".repeat(1000));
    let spec = json!({"threads": 32, "max": 100, "prompt": prompt, "timeout": 40});
    let (answers, outcome) = ask(&stand, &["--budget", "0.004"], &spec)?;
    ensure!(answers.len() == 32, "{outcome:?}");
    let whole = answers.iter().filter(|answer| answer.status == Some(200)).count() as u64;
    let refused = answers.iter().filter(|answer| answer.status == Some(429)).count() as u64;
    ensure!(
        whole + refused == 32 && whole > 1 && refused > 1,
        "{whole} answered, {refused} refused"
    );
    settled(&stand)?;
    let (spent, in_doubt) = stands(&stand)?;
    let billed = 450 * stand.log().at("/v1/chat").len() as u64;
    ensure!(stand.log().at("/v1/chat").len() as u64 == whole, "calls beyond those answered");
    ensure!(billed == spent && in_doubt == 0 && spent <= TINY, "billed {billed}, spent {spent}");
    // Whoever could still have been answered was not refused: another worst case does not fit.
    ensure!(spent + 1_300 > TINY, "{spent} of {TINY} was spent and others were refused");
    for answer in answers.iter().filter(|answer| answer.status == Some(429)) {
        ensure!(answer.message()?.contains("key_budget"), "{answer:?}");
    }
    Ok(())
}

#[test]
fn what_is_open_at_once_never_exceeds_the_limit() -> Result<()> {
    let stand = Stand::new()?;
    let prompt = "slow:60 split:3 say:some words that take a while";
    let spec = json!({"threads": 8, "stream": true, "max": 300, "prompt": prompt, "timeout": 40});
    let mut run = stand.gate(&["--budget", "0.004"])?.start(asking(&stand, &spec)?)?;
    run.until_asked(stand.log(), LIMIT, |seen| seen.len() >= 2)?;
    // Two worst cases of about 1,600 fit, so two calls are open at any time and never three.
    let open = |seen: &[e2e::provider::Record]| {
        seen.iter().filter(|record| record.finish == e2e::provider::Finish::Open).count()
    };
    let mut most = 0;
    until(LIMIT, "all were answered", || {
        let seen = stand.log().records();
        most = most.max(open(&seen));
        Ok((seen.len() == 8 && open(&seen) == 0).then_some(()))
    })?;
    let outcome = run.end(LIMIT)?;
    ensure!(most == 2, "{most} were open at once");
    ensure!(answers(&outcome.stdout).iter().all(|a| a.status == Some(200)), "{outcome:?}");
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_without_a_call() -> Result<()> {
    let stand = Stand::new()?;
    let answer = ask_once(&stand, &["--budget", "0.0001"], &json!({"max": null}))?;
    ensure!(answer.status == Some(429) && answer.message()?.contains("budget"), "{answer:?}");
    ensure!(stand.log().accepted() == 0, "the provider was called");
    Ok(())
}

#[test]
fn an_output_limit_that_does_not_fit_is_lowered_on_the_wire() -> Result<()> {
    let stand = Stand::new()?;
    for (spec, field) in [
        (json!({"max": 50_000}), "max_completion_tokens"),
        (json!({"max": null}), "max_completion_tokens"),
        (json!({"api": "anthropic", "model": "claude-haiku-4-5", "max": 8_000}), "max_tokens"),
    ] {
        stand.log().reset();
        let answer = ask_once(&stand, &["--budget", "0.01"], &spec)?;
        ensure!(answer.status == Some(200), "{spec}: {answer:?}");
        let records = stand.log().records();
        let body = records.first().and_then(|record| record.body.as_deref()).context("no body")?;
        let body: Value = serde_json::from_str(body)?;
        let lowered = number(&body, &format!("/{field}"))?;
        let booked = found(&stand, &answer)?;
        ensure!(number(&booked, "/decided/amended/output_limit")? == lowered, "{booked}");
        ensure!(lowered > 100 && lowered < 8_000, "{spec}: {lowered}");
        ensure!(number(&booked, "/decided/booked/worst")? <= 10_000, "{booked}");
    }
    Ok(())
}

#[test]
fn a_raised_budget_lets_a_run_go_on() -> Result<()> {
    let stand = Stand::new()?;
    // It asks for as long as this test lasts.
    let spec =
        json!({"each": 1_000_000, "gap": 0.02, "max": 100, "prompt": "usage:40:100 say:hello"});
    let mut run = stand.gate(&["--budget", "0.0012"])?.start(asking(&stand, &spec)?)?;
    run.until_stdout(LIMIT, |text| answers(text).iter().any(|a| a.status == Some(429)))?;
    let budget = said(&stand, &["budget"])?;
    let id = budget.pointer("/runs/0/run").and_then(Value::as_str).context("no run")?.to_owned();
    let before = answers(&run.stdout()?).iter().filter(|a| a.status == Some(200)).count();
    let raised = stand.tollgate(&["budget", "raise", "--run", &id, "1"])?;
    ensure!(raised.status.success(), "{raised:?}");
    run.until_stdout(LIMIT, |text| {
        answers(text).iter().filter(|a| a.status == Some(200)).count() > before + 2
    })?;
    Ok(())
}

#[test]
fn a_streams_usage_is_asked_for_and_taken_out_again() -> Result<()> {
    let stand = Stand::new()?;
    let spec = json!({"stream": true, "prompt": "usage:1000:100 say:hello"});
    let answer = ask_once(&stand, &[], &spec)?;
    let records = stand.log().records();
    let sent = records.first().and_then(|record| record.body.clone()).context("no body")?;
    let sent: Value = serde_json::from_str(&sent)?;
    ensure!(sent.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)), "{sent}");
    ensure!(!answer.body.contains("prompt_tokens") && answer.body.contains("[DONE]"), "{answer:?}");
    let outcome = found(&stand, &answer)?;
    ensure!(number(&outcome, "/outcome/settled/spent")? == 450, "{outcome}");
    ensure!(number(&outcome, "/outcome/settled/in_doubt")? == 0, "{outcome}");
    Ok(())
}

#[test]
fn an_error_costs_nothing_and_half_an_answer_stays_in_doubt() -> Result<()> {
    let stand = Stand::new()?;
    for (prompt, stream, free) in [
        ("status:400 say:x", false, true),
        ("status:500 say:x", true, true),
        ("status:429 say:x", true, true),
        ("truncate say:hello there you", true, false),
        ("reset say:hello there you", true, false),
        ("usage:none say:hello", true, false),
        ("usage:none say:hello", false, false),
    ] {
        let answer = ask_once(&stand, &[], &json!({"prompt": prompt, "stream": stream}))?;
        let outcome = found(&stand, &answer)?;
        let spent = number(&outcome, "/outcome/settled/spent")?;
        let in_doubt = number(&outcome, "/outcome/settled/in_doubt")?;
        let worst = number(&outcome, "/decided/booked/worst")?;
        let right =
            if free { spent + in_doubt == 0 } else { in_doubt > 0 && spent + in_doubt == worst };
        ensure!(right, "{prompt}: spent {spent}, in doubt {in_doubt} of {worst}: {outcome}");
    }
    Ok(())
}
