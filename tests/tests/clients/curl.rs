//! curl over both versions of HTTP.

use anyhow::{Result, ensure};
use e2e::harness::{Run, Stand};
use e2e::process::Outcome;
use e2e::provider::KeySeen;

const CHAT: &str = "https://api.openai.com/v1/chat/completions";

fn curl(run: Run<'_>, version: &str, words: &[&str]) -> Result<Outcome> {
    let common = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code}",
        version,
    ];
    run.run(common.iter().chain(words))
}

/// Asks as a shell script would: the key comes from the environment that the program has.
fn chat(run: Run<'_>, version: &str, model: &str, prompt: &str, stream: bool) -> Result<Outcome> {
    let body = serde_json::json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    let script = "exec curl --silent --show-error --max-time 20 --write-out '\\n%{http_code}' \
                  -H \"authorization: Bearer $OPENAI_API_KEY\" -H 'content-type: application/json' \"$@\"";
    run.run(["sh", "-c", script, "sh", version, "--data-binary", &body.to_string(), CHAT])
}

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "http/1.1"), ("--http2", "h2")];

#[test]
fn the_provider_speaks_both_versions() -> Result<()> {
    let stand = Stand::new()?;
    for (version, alpn) in VERSIONS {
        let outcome = chat(stand.direct()?, version, "gpt-5-mini", "say:hello", true)?;
        ensure!(
            outcome.stdout.contains("[DONE]") && outcome.stdout.ends_with("200"),
            "{outcome:?}"
        );
        ensure!(
            stand.log().records().last().is_some_and(|record| record.alpn == alpn),
            "another protocol"
        );
    }
    Ok(())
}

#[test]
fn both_versions_come_through_the_gate() -> Result<()> {
    let stand = Stand::new()?;
    for (version, _) in VERSIONS {
        let whole = chat(stand.gate(&[])?, version, "gpt-5-mini", "say:hello", false)?;
        ensure!(whole.stdout.contains("\"hello\"") && whole.stdout.ends_with("200"), "{whole:?}");
        let streamed = chat(stand.gate(&[])?, version, "gpt-5-mini", "say:hello", true)?;
        ensure!(
            streamed.stdout.contains("data: [DONE]") && streamed.stdout.ends_with("200"),
            "{streamed:?}"
        );
        ensure!(
            !streamed.stdout.contains("\"choices\":[],"),
            "the chunk the gate asked for was not taken out"
        );
    }
    ensure!(
        stand.log().records().iter().all(|record| record.key == KeySeen::Real),
        "{:?}",
        stand.log().records()
    );
    stand.verified()?;
    Ok(())
}

#[test]
fn a_refusal_is_readable_over_both_versions() -> Result<()> {
    let stand = Stand::new()?;
    for (version, _) in VERSIONS {
        let refused =
            chat(stand.gate(&["--model", "gpt-5-mini"])?, version, "gpt-5", "say:hello", false)?;
        ensure!(
            refused.stdout.contains("model_scope") && refused.stdout.ends_with("403"),
            "{refused:?}"
        );
    }
    ensure!(stand.log().records().is_empty(), "a refused request reached the provider");
    Ok(())
}

#[test]
fn another_host_is_refused_until_it_is_allowed() -> Result<()> {
    let stand = Stand::new()?;
    let refused = curl(stand.gate(&[])?, "--http1.1", &["https://pastebin.com/raw"])?;
    ensure!(!refused.stdout.ends_with("200"), "{refused:?}");
    ensure!(refused.stderr.contains("pastebin.com"), "the summary does not name it: {refused:?}");
    ensure!(stand.log().accepted() == 0, "the provider was connected to");

    let allow = ["--allow", "uploads.example"];
    let read = curl(stand.gate(&allow)?, "--http2", &["https://uploads.example/file"])?;
    ensure!(read.stdout.contains("\"GET\"") && read.stdout.ends_with("200"), "{read:?}");
    let written =
        curl(stand.gate(&allow)?, "--http2", &["--data", "x=1", "https://uploads.example/file"])?;
    ensure!(written.stdout.ends_with("403"), "reading was allowed, not writing: {written:?}");

    let write = ["--allow", "uploads.example:write"];
    let written =
        curl(stand.gate(&write)?, "--http2", &["--data", "x=1", "https://uploads.example/file"])?;
    ensure!(written.stdout.contains("\"POST\"") && written.stdout.ends_with("200"), "{written:?}");
    stand.verified()?;
    Ok(())
}
