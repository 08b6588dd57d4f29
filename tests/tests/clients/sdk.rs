//! The official SDKs of two languages, each over three APIs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::clients::Language;
use e2e::harness::{LIMIT, Run, Stand};
use e2e::provider::secrets::Class;
use e2e::provider::{Finish, KeySeen};
use serde::Deserialize;

/// What the client's script says of the answer.
#[derive(Debug, Deserialize)]
struct Said {
    text: String,
    thinking: String,
    calls: Vec<(String, String)>,
    usage: Option<serde_json::Value>,
    attempts: u32,
    error: Option<Raised>,
}

/// The exception of the client's own that was raised.
#[derive(Debug, Deserialize)]
struct Raised {
    class: String,
    status: Option<u16>,
    message: String,
}

/// API, a model the starter contract has, a model that `--model` leaves out.
const APIS: [(&str, &str, &str); 3] = [
    ("chat", "gpt-5-mini", "gpt-5"),
    ("responses", "gpt-5-mini", "gpt-5"),
    ("anthropic", "claude-sonnet-5", "claude-opus-5"),
];

/// The arguments that allow the models of [`APIS`] and no others.
const MODELS: [&str; 4] = ["--model", "gpt-5-mini", "--model", "claude-sonnet-5"];

fn ask(stand: &Stand, run: Run<'_>, language: Language, words: &[&str]) -> Result<Said> {
    let mut command = stand.clients().agent(language)?;
    command.extend(words.iter().map(|word| (*word).to_owned()));
    let outcome = run.run(command)?;
    let line = outcome
        .stdout
        .lines()
        .last()
        .with_context(|| format!("{words:?}: no output: {}", outcome.stderr))?;
    serde_json::from_str(line).with_context(|| format!("{words:?}: {line}"))
}

fn directly_all_works(language: Language) -> Result<()> {
    let stand = Stand::new()?;
    for (api, model, _) in APIS {
        let direct = |words: &[&str]| {
            ask(&stand, stand.direct()?, language, &[&[api, model], words].concat())
        };
        answered(&direct(&["say:hello there"])?, "hello there")?;
        answered(&direct(&["say:hello there", "--stream"])?, "hello there")?;
        called(&direct(&["tool:weather", "--tool", "weather", "--stream"])?)?;
        let raised = direct(&["status:403 say:x"])?.error.context("403 raised nothing")?;
        ensure!(
            (raised.class.as_str(), raised.status) == ("PermissionDeniedError", Some(403)),
            "{raised:?}"
        );
        let leaked = direct(&["leak:github:3", "--stream"])?;
        ensure!(
            leaked.text.contains(&Class::GitHub.specimen()),
            "the provider leaks nothing: {leaked:?}"
        );
        ensure!(
            direct(&["truncate say:hello there", "--stream"])?.text != "hello there",
            "nothing was cut off"
        );
    }
    let seen = stand.log().records();
    ensure!(seen.iter().all(|record| record.key == KeySeen::Real), "a client sent another key");
    Ok(())
}

fn answered(said: &Said, text: &str) -> Result<()> {
    ensure!(said.error.is_none() && said.text == text && said.attempts == 1, "{said:?}");
    Ok(())
}

fn called(said: &Said) -> Result<()> {
    let (name, arguments) = said.calls.first().with_context(|| format!("no call: {said:?}"))?;
    let arguments: serde_json::Value = serde_json::from_str(arguments)?;
    ensure!(name == "weather" && arguments.get("city") == Some(&"Paris".into()), "{said:?}");
    Ok(())
}

fn answers_come_through_whole(language: Language) -> Result<()> {
    let stand = Stand::new()?;
    for (api, model, _) in APIS {
        stand.log().reset();
        let gated = |words: &[&str]| {
            ask(&stand, stand.gate(&[])?, language, &[&[api, model], words].concat())
        };
        answered(&gated(&["say:hello there"])?, "hello there")?;
        let streamed = gated(&["think say:hello there", "--stream"])?;
        answered(&streamed, "hello there")?;
        ensure!(api == "chat" || streamed.thinking == "Let me think about that.", "{streamed:?}");
        // The gate asks for the usage of a chat stream and takes the chunk out again, so the client sees none.
        ensure!((api == "chat") == streamed.usage.is_none(), "{streamed:?}");
        called(&gated(&["tool:weather", "--tool", "weather", "--stream"])?)?;
        called(&gated(&["tool:weather", "--tool", "weather"])?)?;
        let seen = stand.log().at("/v1/");
        ensure!(
            seen.len() == 4 && seen.iter().all(|record| record.key == KeySeen::Real),
            "{api}: {seen:?}"
        );
    }
    stand.verified()?;
    Ok(())
}

fn a_refusal_is_the_clients_own_exception(language: Language, upload: Option<&str>) -> Result<()> {
    let stand = Stand::new()?;
    for (api, model, other) in APIS {
        let words = [
            &[api, other, "say:hello", "--stream"][..],
            &upload.map_or(vec![], |n| vec!["--upload", n]),
        ]
        .concat();
        let said = ask(&stand, stand.gate(&MODELS)?, language, &words)?;
        let raised =
            said.error.as_ref().with_context(|| format!("{api}: nothing was raised: {said:?}"))?;
        ensure!(
            (raised.class.as_str(), raised.status) == ("PermissionDeniedError", Some(403)),
            "{api}: {raised:?}"
        );
        ensure!(
            raised.message.contains("model_scope") && raised.message.contains(model),
            "no hint: {raised:?}"
        );
        ensure!(said.attempts == 1, "{api}: the client tried {} times", said.attempts);
    }
    let seen = stand.log().records();
    ensure!(seen.is_empty(), "a refused request reached the provider: {seen:?}");
    stand.verified()?;
    Ok(())
}

fn a_leaked_secret_ends_the_stream(language: Language) -> Result<()> {
    let stand = Stand::new()?;
    let secret = Class::GitHub.specimen();
    for (api, model, _) in APIS {
        stand.log().reset();
        let words = [api, model, "leak:github:3 slow:20", "--stream"];
        let said = ask(&stand, stand.gate(&[])?, language, &words)?;
        let raised =
            said.error.as_ref().with_context(|| format!("{api}: nothing was raised: {said:?}"))?;
        ensure!(
            raised.message.contains("secrets"),
            "{api}: the reason is not readable: {raised:?}"
        );
        let start: String = secret.chars().take(5).collect();
        ensure!(said.text.starts_with("The ") && !said.text.contains(&start), "{api}: {said:?}");
        ensure!(said.attempts == 1, "{api}: the client tried {} times", said.attempts);
        let dropped =
            |records: &[e2e::provider::Record]| records.iter().any(|r| r.finish == Finish::Dropped);
        ensure!(
            stand.log().wait(LIMIT, dropped).is_some(),
            "{api}: the provider went on to the end"
        );
    }
    stand.verified()?;
    Ok(())
}

#[test]
fn python_works_without_the_gate() -> Result<()> {
    directly_all_works(Language::Python)
}

#[test]
fn node_works_without_the_gate() -> Result<()> {
    directly_all_works(Language::Node)
}

#[test]
fn python_gets_its_answers_whole_and_the_provider_the_real_key() -> Result<()> {
    answers_come_through_whole(Language::Python)
}

#[test]
fn node_gets_its_answers_whole_and_the_provider_the_real_key() -> Result<()> {
    answers_come_through_whole(Language::Node)
}

#[test]
fn python_raises_its_own_exception_for_a_refusal_and_does_not_retry() -> Result<()> {
    a_refusal_is_the_clients_own_exception(Language::Python, None)
}

#[test]
fn node_raises_its_own_exception_for_a_refusal_and_does_not_retry() -> Result<()> {
    a_refusal_is_the_clients_own_exception(Language::Node, None)
}

#[test]
fn python_reads_a_refusal_while_it_is_still_sending() -> Result<()> {
    a_refusal_is_the_clients_own_exception(Language::Python, Some("8000000"))
}

#[test]
fn node_reads_a_refusal_while_it_is_still_sending() -> Result<()> {
    a_refusal_is_the_clients_own_exception(Language::Node, Some("8000000"))
}

#[test]
fn python_sees_a_stream_end_where_a_secret_begins() -> Result<()> {
    a_leaked_secret_ends_the_stream(Language::Python)
}

#[test]
fn node_sees_a_stream_end_where_a_secret_begins() -> Result<()> {
    a_leaked_secret_ends_the_stream(Language::Node)
}

#[test]
fn a_kill_ends_a_live_stream() -> Result<()> {
    let stand = Stand::new()?;
    let mut words = stand.clients().agent(Language::Python)?;
    words.extend(["chat", "gpt-5-mini", "slow:50 split:1 big:4000", "--stream"].map(str::to_owned));
    let mut running = stand.gate(&["--agent", "e2e-bot"])?.start(words)?;
    running.until_asked(stand.log(), LIMIT, |records| !records.is_empty())?;
    let killed = stand.tollgate(&["kill", "--agent", "e2e-bot", "--reason", "a test"])?;
    ensure!(killed.status.success(), "{killed:?}");
    let ended = |records: &[e2e::provider::Record]| {
        records.iter().any(|record| record.finish == Finish::Dropped)
    };
    ensure!(
        stand.log().wait(Duration::from_secs(5), ended).is_some(),
        "the provider is still being read"
    );
    let outcome = running.end(LIMIT)?;
    let said: Said = serde_json::from_str(outcome.stdout.trim())?;
    let raised = said.error.context("the client did not notice")?;
    ensure!(
        raised.message.contains("kill_switch") || raised.class.contains("Connection"),
        "{raised:?}"
    );
    stand.verified()?;
    Ok(())
}
