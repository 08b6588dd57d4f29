//! Who cannot say who they are.

use anyhow::Result;
use e2e::harness::LIMIT;
use e2e::proofs::{said, until};
use e2e::ways::{Question, Way};
use serde_json::{Value, json};

use crate::refusals::refused;
use crate::{At, Case, everywhere, in_a_service};

pub(crate) fn all() -> Vec<Case> {
    let case = |name, on, run| Case { name, asked: 0, on, run };
    vec![
        case("no key at all", everywhere, no_key),
        case("a key of nobody", everywhere, nobodys),
        case("a key that was revoked", in_a_service, revoked),
        case("a key that has expired", in_a_service, expired),
        Case { asked: 1, ..case("a key that is used up", in_a_service, used_up) },
    ]
}

/// The rule that speaks first: a command under `exec` is known without a key.
fn rule(at: &At<'_>) -> &'static str {
    if at.behind.way() == Way::Exec { "virtual_key" } else { "peer_identity" }
}

fn no_key(at: &At<'_>) -> Result<()> {
    let told = at.ask_bare("bot", Question::chat("say:x", &json!({})))?;
    refused(&told, "openai", &[401], rule(at))?;
    let told = at.ask_bare("bot", Question::messages("say:x", &json!({})))?;
    refused(&told, "anthropic", &[401], rule(at))
}

fn nobodys(at: &At<'_>) -> Result<()> {
    let key = format!("sk-tg-{}", "a1B2".repeat(12));
    let told = at.ask_bare("bot", Question::chat("say:x", &json!({})).keyed(&key))?;
    refused(&told, "openai", &[401], rule(at))
}

/// A key of its own for this case.
fn made(at: &At<'_>, name: &str, more: &[&str]) -> Result<(String, String)> {
    let name = format!("{name}-{:?}", at.version).to_lowercase();
    let service = at.behind.service().ok_or_else(|| anyhow::anyhow!("no service"))?;
    Ok((service.key(&name, "bot", "openai", more)?, name))
}

fn revoked(at: &At<'_>) -> Result<()> {
    let (key, name) = made(at, "revoked", &[])?;
    let stand = at.behind.stand();
    let revoked = stand.tollgate(&["key", "revoke", &name, "--reason", "a test"])?;
    anyhow::ensure!(revoked.status.success(), "{revoked:?}");
    let told = at.ask_bare("bot", Question::chat("say:x", &json!({})).keyed(&key))?;
    refused(&told, "openai", &[403], "key_lifetime")
}

fn expired(at: &At<'_>) -> Result<()> {
    let (key, name) = made(at, "expired", &["--expires", "1s"])?;
    until(LIMIT, "the key expires", || {
        let shown = said(at.behind.stand(), &["key", "show", &name])?;
        Ok((shown.get("condition").and_then(Value::as_str) == Some("expired")).then_some(()))
    })?;
    let told = at.ask_bare("bot", Question::chat("say:x", &json!({})).keyed(&key))?;
    refused(&told, "openai", &[403], "key_lifetime")
}

fn used_up(at: &At<'_>) -> Result<()> {
    let (key, _) = made(at, "used", &["--uses", "1"])?;
    let ask = || at.ask_bare("bot", Question::chat("say:x", &json!({})).keyed(&key));
    let first = ask()?;
    anyhow::ensure!(first.status == Some(200), "{first:?}");
    refused(&ask()?, "openai", &[403], "key_lifetime")
}
