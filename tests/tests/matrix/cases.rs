//! What passes, and how it comes back.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::caller::{Caller, Door, Told};
use e2e::harness::LIMIT;
use e2e::provider::KeySeen;
use e2e::provider::secrets::Class;
use e2e::ways::Question;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::{At, Case, everywhere};

pub(crate) fn all() -> Vec<Case> {
    let case = |name, run| Case { name, asked: 1, on: everywhere, run };
    vec![
        case("an ordinary chat is answered, with the real key put in", chat),
        case(
            "a streamed chat comes byte for byte, and the usage that was added is taken out",
            streamed,
        ),
        case("a streamed chat with usage comes byte for byte", streamed_with_usage),
        case("Anthropic messages stream byte for byte", messages),
        case("a compressed request is read and passes", compressed),
        case("a credential in a request is replaced", redacted),
        case("a credential split over events is cut before its first byte", leaking),
        case("an error of the provider passes as it is", failing),
    ]
}

fn whole(told: &Told) -> Result<()> {
    ensure!(told.status == Some(200) && told.whole && told.error.is_none(), "{told:?}");
    Ok(())
}

fn chat(at: &At<'_>) -> Result<()> {
    let told = at.ask("bot", Question::chat("say:hello there", &json!({})))?;
    whole(&told)?;
    ensure!(told.body.contains("hello there"), "{told:?}");
    let record = at.only()?;
    ensure!(record.key == KeySeen::Real && record.host == "api.openai.com", "{record:?}");
    ensure!(record.path == "/v1/chat/completions", "{record:?}");
    let added = ["x-forwarded-for", "via", "forwarded", "proxy-authorization", "x-tollgate-agent"];
    ensure!(added.iter().all(|name| record.header(name).is_none()), "{record:?}");
    Ok(())
}

/// What the provider answers to the very bytes that it got, asked without a gate.
fn direct(at: &At<'_>, question: Question) -> Result<Told> {
    let stand = at.behind.stand();
    let mut command = stand.operator(&PathBuf::from(env!("CARGO_BIN_EXE_caller")));
    let caller = Caller::start(&mut command)?;
    let keys = stand.provider().keys();
    let key = if question.provider == "openai" { &keys.openai } else { &keys.anthropic };
    let door = Door {
        dial: Some(stand.provider().addr().to_string()),
        tls: true,
        ca: Some(stand.provider().ca().to_owned()),
        ..Door::default()
    };
    let record = at.only()?;
    let body = record.body.context("no body")?.into_bytes();
    let asked = Question { body, ..question }.keyed(key).through(door, at.version);
    let told = caller.ask(&asked)?.told(LIMIT)?;
    caller.end()?;
    // What was asked here is no request of the case.
    stand.log().forget_last();
    Ok(told)
}

fn streamed(at: &At<'_>) -> Result<()> {
    let question =
        Question::chat("split:3 say:some words that come in pieces", &json!({"stream": true}));
    let told = at.ask("bot", question.clone())?;
    whole(&told)?;
    let sent: Value = serde_json::from_str(&at.only()?.body.context("no body")?)?;
    ensure!(sent.pointer("/stream_options/include_usage") == Some(&json!(true)), "{sent}");
    let answered = direct(at, question)?.body;
    let events: Vec<&str> = answered.split_inclusive("\n\n").collect();
    let (usage, others): (Vec<&str>, Vec<&str>) =
        events.into_iter().partition(|event| event.contains("prompt_tokens"));
    ensure!(usage.len() == 1, "{answered}");
    ensure!(told.body == others.concat(), "{} is not {}", told.body, others.concat());
    Ok(())
}

fn streamed_with_usage(at: &At<'_>) -> Result<()> {
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let question = Question::chat("split:3 say:some words that come in pieces", &more);
    let sent = question.body.clone();
    let told = at.ask("bot", question.clone())?;
    whole(&told)?;
    ensure!(at.only()?.body.map(String::into_bytes) == Some(sent), "the request was changed");
    let answered = direct(at, question)?.body;
    ensure!(
        told.body == answered && answered.contains("prompt_tokens"),
        "{} is not {answered}",
        told.body
    );
    Ok(())
}

fn messages(at: &At<'_>) -> Result<()> {
    let question = Question::messages(
        "think split:3 say:some words that come in pieces",
        &json!({"stream": true}),
    );
    let sent = question.body.clone();
    let told = at.ask("bot", question.clone())?;
    whole(&told)?;
    let record = at.only()?;
    ensure!(record.key == KeySeen::Real && record.host == "api.anthropic.com", "{record:?}");
    ensure!(record.body.map(String::into_bytes) == Some(sent), "the request was changed");
    let answered = direct(at, question)?.body;
    ensure!(
        told.body == answered && answered.contains("message_stop"),
        "{} is not {answered}",
        told.body
    );
    Ok(())
}

fn compressed(at: &At<'_>) -> Result<()> {
    let mut question = Question::chat("say:unpacked", &json!({})).with("content-encoding", "gzip");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&question.body)?;
    question.body = gzip.finish()?;
    let sent = question.body.len();
    let told = at.ask("bot", question)?;
    let record = at.only()?;
    // The offline provider reads no encodings: what matters is that the bytes are the client's own.
    ensure!(
        record.body_len == Some(sent) && record.header("content-encoding") == Some("gzip"),
        "{record:?} {told:?}"
    );
    Ok(())
}

fn redacted(at: &At<'_>) -> Result<()> {
    let secret = Class::GitHub.specimen();
    let told = at.ask("bot", Question::chat(&format!("say:I found {secret} here"), &json!({})))?;
    whole(&told)?;
    let body = at.only()?.body.context("no body")?;
    ensure!(!body.contains(&secret) && body.contains("I found"), "{body}");
    Ok(())
}

fn leaking(at: &At<'_>) -> Result<()> {
    let told = at.ask("bot", Question::chat("leak:github:3", &json!({"stream": true})))?;
    ensure!(told.status == Some(200), "{told:?}");
    let events = told.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let deltas = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let text: String = deltas
        .filter_map(|event| {
            event.pointer("/choices/0/delta/content").and_then(Value::as_str).map(str::to_owned)
        })
        .collect();
    // A cut overtakes what was released and not yet written.
    ensure!("The credential is ".starts_with(&text), "released: {text:?}");
    ensure!(told.body.contains("secrets"), "no reason: {told:?}");
    Ok(())
}

fn failing(at: &At<'_>) -> Result<()> {
    let told = at.ask("bot", Question::chat("status:500 say:x", &json!({})))?;
    ensure!(told.status == Some(500) && told.whole, "{told:?}");
    ensure!(told.body.contains("the script asked for an error"), "{told:?}");
    ensure!(told.header("x-tollgate-rule").is_none(), "taken for a refusal: {told:?}");
    Ok(())
}
