//! A client that vanishes at any point of an exchange leaves no money open and no gate ill.

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{SOON, answers, ask_once, asking, number, python, said, settled};
use e2e::provider::Finish;
use serde_json::{Value, json};

const POINTS: [&str; 9] =
    ["connect", "tls", "half_head", "head", "half_body", "request", "answer", "events", "end"];

fn vanishing(stand: &Stand, points: &[&str]) -> Result<Vec<String>> {
    python(stand, include_str!("../clients/proofs/gone.py"), points)
}

#[test]
fn a_client_gone_at_any_point_leaves_its_exchange_settled_and_the_gate_well() -> Result<()> {
    let stand = Stand::new()?;
    // Another run keeps the gate, so that all that follows asks the same one.
    let other = stand.gate(&["--agent", "other"])?;
    let mut other = other.start(asking(&stand, &json!({"prompt": "say:before", "linger": 60}))?)?;
    other.until_stdout(LIMIT, |text| !answers(text).is_empty())?;
    let outcome = stand.gate(&["--agent", "gone"])?.run(vanishing(&stand, &POINTS)?)?;
    ensure!(outcome.status.success(), "{outcome:?}");
    let gone: Vec<Value> =
        outcome.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(gone.len() == 2 * POINTS.len(), "{gone:?}");
    settled(&stand)?;
    for one in gone.iter().filter(|one| one.get("answered") == Some(&Value::Bool(true))) {
        let trace = one.get("trace").and_then(Value::as_str).context("no trace")?;
        let found = said(&stand, &["inspect", trace])?;
        let worst = number(&found, "/decided/booked/worst")?;
        let spent = number(&found, "/outcome/settled/spent")?;
        let in_doubt = number(&found, "/outcome/settled/in_doubt")?;
        let whole = found.pointer("/outcome/gone") == Some(&Value::Bool(false));
        ensure!(
            (whole && in_doubt == 0 && spent > 0) || spent + in_doubt == worst,
            "{one}: neither settled nor in doubt: {found}"
        );
    }
    let answered = ask_once(&stand, &["--agent", "gone"], &json!({"prompt": "say:after"}))?;
    ensure!(answered.status == Some(200) && answered.body.contains("after"), "{answered:?}");
    let idle = |records: &[e2e::provider::Record]| records.iter().all(|r| r.finish != Finish::Open);
    ensure!(stand.log().wait(SOON, idle).is_some(), "the provider still answers somebody");
    stand.verified()?;
    Ok(())
}

#[test]
fn a_client_gone_while_it_waits_for_money_is_not_asked_for() -> Result<()> {
    let stand = Stand::new()?;
    let slow =
        json!({"stream": true, "max": 300, "prompt": "slow:200 split:1 say:sixteen letters."});
    let waits = json!({"stream": true, "max": 300, "prompt": "say:waited", "timeout": 1});
    let after = json!({"stream": true, "max": 300, "prompt": "say:third"});
    let program = "import os, subprocess, sys, time
def ask(spec): return subprocess.Popen([sys.executable, '-c', sys.argv[1], spec])
first = ask(sys.argv[2])
while not os.path.exists('held'): time.sleep(0.01)
ask(sys.argv[3]).wait()
first.wait()
ask(sys.argv[4]).wait()";
    let asker = include_str!("../clients/proofs/ask.py");
    let specs = [&slow, &waits, &after].map(Value::to_string);
    let [slow, waits, after] = specs.each_ref().map(String::as_str);
    // One reservation of 0.0013 dollars fits; a second one waits until the first gives back what it did not need.
    let words = python(&stand, program, &[asker, slow, waits, after])?;
    let mut run = stand.gate(&["--budget", "0.002"])?.start(words)?;
    run.until_asked(stand.log(), LIMIT, |records| records.len() == 1)?;
    std::fs::write(stand.work().join("held"), "x")?;
    let outcome = run.end(LIMIT)?;
    let seen = answers(&outcome.stdout);
    ensure!(seen.len() == 3 && seen[0].status.is_none(), "the second did not wait: {outcome:?}");
    ensure!(seen[1].whole && seen[2].whole && seen[2].body.contains("third"), "{outcome:?}");
    settled(&stand)?;
    let asked = stand.log().records();
    let nobodys = asked
        .iter()
        .filter(|record| record.header("traceparent").is_some_and(|t| t.contains(&seen[0].trace)));
    ensure!(nobodys.count() == 0, "the provider was asked for a client that was gone");
    Ok(())
}

#[test]
fn a_client_gone_from_one_stream_of_many_leaves_the_others_of_its_connection() -> Result<()> {
    let stand = Stand::new()?;
    // curl asks both over one connection; the first is over its time in the middle of its stream.
    let ask = |prompt: &str| {
        json!({"model": "gpt-5-mini", "stream": true, "max_completion_tokens": 50,
            "messages": [{"role": "user", "content": prompt}]})
        .to_string()
    };
    let one = "-sS --http2 -H 'content-type: application/json' -H \"authorization: Bearer $OPENAI_API_KEY\" \
         https://api.openai.com/v1/chat/completions";
    let script = format!(
        "curl --parallel --parallel-max 2 --max-time 1 {one} -d '{}' --next --max-time 20 {one} -d '{}'; true",
        ask("slow:50 split:1 big:2000"),
        ask("slow:40 split:1 say:forty letters that take almost two secs.")
    );
    let outcome = stand.gate(&[])?.run(["sh", "-c", &script])?;
    settled(&stand)?;
    let dropped = |seen: &[e2e::provider::Record]| {
        seen.iter().filter(|record| record.finish == Finish::Dropped).count() == 1
            && seen.iter().filter(|record| record.finish == Finish::Complete).count() == 1
    };
    ensure!(stand.log().wait(SOON, dropped).is_some(), "{:?} {outcome:?}", stand.log().records());
    ensure!(outcome.stdout.contains("[DONE]"), "{outcome:?}");
    Ok(())
}
