//! What is under way: its money, and its end from either side.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use e2e::harness::LIMIT;
use e2e::proofs::{SOON, number, said, until};
use e2e::ways::Question;
use serde_json::{Value, json};

use crate::refusals::refused;
use crate::{At, Case, everywhere};

pub(crate) fn all() -> Vec<Case> {
    let case = |name, asked, run| Case { name, asked, on: everywhere, run };
    vec![
        case("an output limit that fits the budget is written in", 1, limited),
        case("an answer is settled from the provider's own count", 1, counted),
        case("a client that leaves in the middle is settled or in doubt", 1, gone),
        case("a kill cuts a stream with a typed end and refuses the next", 1, killed),
    ]
}

/// A trace that no other request has.
fn trace() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}{:016x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn traced(question: Question, trace: &str) -> Question {
    question.with("traceparent", &format!("00-{trace}-0123456789abcdef-01"))
}

/// The decision and outcome of a trace, once it has one.
fn found(at: &At<'_>, trace: &str) -> Result<Value> {
    until(SOON, "an outcome", || {
        let found = said(at.behind.stand(), &["inspect", trace])?;
        Ok(found.pointer("/outcome/settled").is_some_and(Value::is_object).then_some(found))
    })
}

fn limited(at: &At<'_>) -> Result<()> {
    let trace = trace();
    let question = Question::chat("say:short", &json!({"max_completion_tokens": null}));
    let told = at.ask("thrifty", traced(question, &trace))?;
    ensure!(told.status == Some(200), "{told:?}");
    let body: Value = serde_json::from_str(&at.only()?.body.context("no body")?)?;
    let lowered = number(&body, "/max_completion_tokens")?;
    let found = found(at, &trace)?;
    ensure!(number(&found, "/decided/amended/output_limit")? == lowered, "{found}");
    ensure!(number(&found, "/decided/booked/worst")? <= 1_000, "{found}");
    Ok(())
}

fn counted(at: &At<'_>) -> Result<()> {
    let trace = trace();
    let question = Question::chat("usage:1000:100 say:hello", &json!({"stream": true}));
    let told = at.ask("bot", traced(question, &trace))?;
    ensure!(told.status == Some(200) && told.whole, "{told:?}");
    let found = found(at, &trace)?;
    // 1,000 tokens in and 100 out at gpt-5-mini's price.
    ensure!(number(&found, "/outcome/settled/spent")? == 450, "{found}");
    ensure!(number(&found, "/outcome/settled/in_doubt")? == 0, "{found}");
    Ok(())
}

fn gone(at: &At<'_>) -> Result<()> {
    let trace = trace();
    let question = Question::chat("slow:20 split:1 big:3000", &json!({"stream": true}));
    let question = Question { leaves: true, ..traced(question, &trace) };
    let told = at.ask("bot", question)?;
    ensure!(told.status == Some(200) && !told.whole, "{told:?}");
    let found = found(at, &trace)?;
    let (spent, in_doubt) =
        (number(&found, "/outcome/settled/spent")?, number(&found, "/outcome/settled/in_doubt")?);
    ensure!(found.pointer("/outcome/gone") == Some(&json!(true)), "{found}");
    ensure!(
        spent + in_doubt == number(&found, "/decided/booked/worst")? && in_doubt > 0,
        "{found}"
    );
    Ok(())
}

fn killed(at: &At<'_>) -> Result<()> {
    let stand = at.behind.stand();
    let question = Question::chat("slow:20 split:1 big:3000", &json!({"stream": true}));
    let pending = at.begin("bot", question.clone())?;
    pending.begun(LIMIT)?;
    let set = said(stand, &["kill", "--agent", "bot", "--reason", "a test"])?;
    let (told, next) = (pending.told(LIMIT), at.ask("bot", question));
    let lifted = stand.tollgate(&["unkill", "--agent", "bot", "--reason", "over"])?;
    ensure!(lifted.status.success(), "{lifted:?}");
    ensure!(number(&set, "/cut")? == 1, "{set}");
    let told = told?;
    ensure!(told.whole && told.body.contains("kill_switch"), "no typed end: {told:?}");
    ensure!(!told.body.contains("[DONE]"), "{told:?}");
    refused(&next?, "openai", &[403], "kill_switch")
}
