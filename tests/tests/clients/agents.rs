//! Two coding agents, each with one prompt.

use anyhow::{Result, ensure};
use e2e::harness::{Run, Stand};
use e2e::process::Outcome;
use e2e::provider::KeySeen;

fn claude(stand: &Stand, run: Run<'_>) -> Result<Outcome> {
    let mut words = stand.clients().claude();
    words.extend(["-p", "say:hello from claude", "--model", "claude-sonnet-5"].map(str::to_owned));
    run.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").run(words)
}

/// Codex takes its key from the variable it is told, over WebSocket first, as with its built-in provider.
fn codex(stand: &Stand, run: Run<'_>) -> Result<Outcome> {
    let provider = "model_providers.openai-key={name=\"OpenAI\",base_url=\"https://api.openai.com/v1\",\
                    env_key=\"OPENAI_API_KEY\",wire_api=\"responses\",supports_websockets=true}";
    let mut words = stand.clients().codex();
    words.extend(
        ["exec", "--skip-git-repo-check", "-c", "model_provider=openai-key", "-c", provider]
            .map(str::to_owned),
    );
    words.extend(["-m", "gpt-5-codex", "say:hello from codex"].map(str::to_owned));
    run.run(words)
}

fn said(stand: &Stand, outcome: &Outcome, text: &str, path: &str) -> Result<()> {
    ensure!(outcome.status.success() && outcome.stdout.contains(text), "{outcome:?}");
    let asked = stand.log().at(path);
    let posts: Vec<_> = asked.iter().filter(|record| record.method == "POST").collect();
    ensure!(
        !posts.is_empty() && posts.iter().all(|record| record.key == KeySeen::Real),
        "{posts:?}"
    );
    stand.log().reset();
    Ok(())
}

#[test]
fn claude_code_works_under_the_gate_as_without_it() -> Result<()> {
    let stand = Stand::new()?;
    said(&stand, &claude(&stand, stand.direct()?)?, "hello from claude", "/v1/messages")?;
    said(&stand, &claude(&stand, stand.gate(&[])?)?, "hello from claude", "/v1/messages")?;
    stand.verified()?;
    Ok(())
}

#[test]
fn codex_works_under_the_gate_as_without_it() -> Result<()> {
    let stand = Stand::new()?;
    said(&stand, &codex(&stand, stand.direct()?)?, "hello from codex", "/v1/responses")?;
    said(&stand, &codex(&stand, stand.gate(&[])?)?, "hello from codex", "/v1/responses")?;
    let upgrades = stand
        .log()
        .at("/v1/responses")
        .iter()
        .filter(|record| record.header("upgrade").is_some())
        .count();
    ensure!(upgrades == 0, "a WebSocket reached the provider");
    stand.verified()?;
    Ok(())
}
