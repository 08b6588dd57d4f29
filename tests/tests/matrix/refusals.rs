//! What is refused: in the provider's own format, with the rule in words, and nobody is asked.

use anyhow::{Context as _, Result, ensure};
use e2e::caller::{Told, Version};
use e2e::provider::secrets::Class;
use e2e::ways::{Question, Way};
use serde_json::{Value, json};

use crate::{At, Case, everywhere};

pub(crate) fn all() -> Vec<Case> {
    let case = |name, run| Case { name, asked: 0, on: everywhere, run };
    vec![
        case("a model that is not in the contract", model),
        case("a model that is not in the contract, in Anthropic's format", other_model),
        case("a path that is not listed", path),
        case("a destination that is not allowed", destination),
        case("a credential in a request, where the contract denies it", credential),
        case("more than the budget of a request", budget),
        case("a key twice in the JSON", twice),
        case("a real key in a header that is no place for one", foreign),
        case("a real key in the virtual key's place", real),
        Case { on: |_, version| version == Version::Http1, ..case("a WebSocket", websocket) },
    ]
}

/// Refused with one of these statuses, in the format of the question's provider, for this rule.
pub(crate) fn refused(told: &Told, provider: &str, statuses: &[u16], rule: &str) -> Result<()> {
    ensure!(told.status.is_some_and(|status| statuses.contains(&status)), "{told:?}");
    ensure!(told.whole, "{told:?}");
    let body: Value =
        serde_json::from_str(&told.body).with_context(|| format!("no JSON: {told:?}"))?;
    let message = body.pointer("/error/message").and_then(Value::as_str);
    let message = message.with_context(|| format!("no message: {told:?}"))?;
    ensure!(message.contains(rule), "another rule than {rule}: {told:?}");
    let anthropic = body.get("type") == Some(&json!("error"));
    ensure!(anthropic == (provider == "anthropic"), "not the provider's format: {told:?}");
    ensure!(told.header("x-tollgate-decision").is_some(), "not recorded: {told:?}");
    ensure!(told.header("x-should-retry") == Some("false"), "an SDK would ask again: {told:?}");
    Ok(())
}

fn model(at: &At<'_>) -> Result<()> {
    let told = at.ask("bot", Question::chat("say:x", &json!({"model": "gpt-5"})))?;
    refused(&told, "openai", &[403], "model_scope")
}

fn other_model(at: &At<'_>) -> Result<()> {
    let told =
        at.ask("bot", Question::messages("say:x", &json!({"model": "claude-sonnet-4-5"})))?;
    refused(&told, "anthropic", &[403], "model_scope")
}

fn path(at: &At<'_>) -> Result<()> {
    let question =
        Question { path: "/v1/fine_tuning/jobs".to_owned(), ..Question::chat("say:x", &json!({})) };
    refused(&at.ask("bot", question)?, "openai", &[403, 404], "endpoint_scope")
}

fn destination(at: &At<'_>) -> Result<()> {
    let told =
        at.ask("narrow", Question::messages("say:x", &json!({"model": "claude-haiku-4-5"})))?;
    if at.behind.way() == Way::Exec {
        // It is known who asks, so the name is not even answered.
        let error = told.error.as_deref().unwrap_or_default();
        ensure!(told.status.is_none() && error.contains("lookup"), "{told:?}");
        return Ok(());
    }
    refused(&told, "anthropic", &[403], "destination")
}

fn credential(at: &At<'_>) -> Result<()> {
    let prompt = format!("say:I found {} here", Class::GitHub.specimen());
    let told = at.ask("strict", Question::chat(&prompt, &json!({})))?;
    refused(&told, "openai", &[400, 403], "secrets")
}

fn budget(at: &At<'_>) -> Result<()> {
    let told = at.ask("poor", Question::chat("say:x", &json!({})))?;
    refused(&told, "openai", &[429], "budget")
}

fn twice(at: &At<'_>) -> Result<()> {
    let body = br#"{"model":"gpt-5-mini","model":"gpt-5","messages":[]}"#.to_vec();
    let told = at.ask("bot", Question { body, ..Question::chat("", &json!({})) })?;
    refused(&told, "openai", &[400], "envelope")
}

fn foreign(at: &At<'_>) -> Result<()> {
    let key = at.behind.stand().provider().keys().openai.clone();
    let told = at.ask("bot", Question::chat("say:x", &json!({})).with("x-note", &key))?;
    refused(&told, "openai", &[403], "secrets")?;
    ensure!(!told.body.contains("CANARY"), "the refusal repeats it: {told:?}");
    Ok(())
}

fn real(at: &At<'_>) -> Result<()> {
    let key = at.behind.stand().provider().keys().openai.clone();
    let told = at.ask_bare("bot", Question::chat("say:x", &json!({})).keyed(&key))?;
    // It opens nothing and is nobody's name; a command under `exec` is known without it.
    let rule = if at.behind.way() == Way::Exec { "virtual_key" } else { "peer_identity" };
    refused(&told, "openai", &[401], rule)?;
    ensure!(!told.body.contains("CANARY"), "the refusal repeats it: {told:?}");
    Ok(())
}

fn websocket(at: &At<'_>) -> Result<()> {
    let question = Question { method: "GET", body: Vec::new(), ..Question::chat("", &json!({})) };
    let question = Question { path: "/v1/responses".to_owned(), ..question };
    let question = question
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let told = at.ask("bot", question)?;
    refused(&told, "openai", &[426], "envelope")
}
