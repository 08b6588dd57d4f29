//! Bad input is refused in words that help, reaches nobody, and leaves the gate well.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::{Answer, SOON, answers, ask_once, asking, said, until};
use serde_json::{Value, json};

/// What is asked, how it is refused, and words that the refusal must have.
type Case = (&'static str, Value, &'static [u16], &'static [&'static str]);

fn requests() -> Vec<Case> {
    let twice = r#"{"model":"gpt-5-mini","model":"gpt-5","messages":[]}"#;
    vec![
        ("malformed JSON", json!({"body": "{\"model\": \"gpt-5-mini\", "}), &[400], &["envelope"]),
        ("no JSON at all", json!({"body": "hello"}), &[400], &["envelope"]),
        ("a key twice", json!({"body": twice}), &[400], &["envelope", "model"]),
        ("not UTF-8 in disguise", json!({"body": "\u{feff}{}"}), &[400], &["envelope"]),
        (
            "a bomb",
            json!({"bomb": 64, "headers": {"content-encoding": "gzip"}}),
            &[400, 413],
            &["envelope"],
        ),
        (
            "a bomb in a bomb",
            json!({"bomb": 64, "twice": true, "headers": {"content-encoding": "gzip, gzip"}}),
            &[400, 413],
            &["envelope"],
        ),
        (
            "an unknown encoding",
            json!({"headers": {"content-encoding": "snappy"}}),
            &[400],
            &["envelope", "snappy"],
        ),
        (
            "an encoding it has not",
            json!({"headers": {"content-encoding": "gzip"}}),
            &[400],
            &["envelope"],
        ),
        ("too much", json!({"upload": 34}), &[413], &["envelope"]),
        (
            "another host",
            json!({"headers": {"host": "evil.example"}}),
            &[403, 421],
            &["destination"],
        ),
        ("an unknown path", json!({"path": "/v1/files"}), &[403, 404], &["endpoint_scope"]),
        ("a path in disguise", json!({"path": "/v1/chat/../files"}), &[400, 403, 404], &[]),
        (
            "a traced request",
            json!({"method": "TRACE", "path": "/v1/models"}),
            &[400, 403, 405],
            &[],
        ),
        ("an unknown model", json!({"model": "gpt-nope"}), &[403, 429], &["gpt-nope"]),
        ("no model", json!({"body": "{\"messages\":[]}"}), &[400], &["model"]),
        (
            "background work",
            json!({"path": "/v1/responses", "body": "{\"model\":\"gpt-5-mini\",\"input\":\"x\",\"background\":true}"}),
            &[400, 403],
            &["background"],
        ),
    ]
}

#[test]
fn a_bad_request_is_refused_in_the_providers_format_and_asks_nobody() -> Result<()> {
    let stand = Stand::new()?;
    let keep = stand.gate(&["--agent", "keep"])?;
    let mut keep = keep.start(asking(&stand, &json!({"linger": 100}))?)?;
    keep.until_stdout(LIMIT, |text| !answers(text).is_empty())?;
    stand.log().reset();
    let mut wrong = Vec::new();
    for (what, spec, statuses, words) in requests() {
        let answer = ask_once(&stand, &[], &spec)?;
        let right = answer.status.is_some_and(|status| statuses.contains(&status));
        match answer.message() {
            Ok(message) if right && words.iter().all(|word| message.contains(word)) => {}
            Ok(message) => wrong.push(format!("{what}: {:?} {message}", answer.status)),
            Err(_) => wrong.push(format!("{what}: {answer:?}")),
        }
    }
    ensure!(stand.log().accepted() == 0, "the provider was called");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    works(&stand)?;
    stand.verified()?;
    Ok(())
}

fn works(stand: &Stand) -> Result<()> {
    let answer = ask_once(stand, &[], &json!({"prompt": "say:still well"}))?;
    ensure!(answer.status == Some(200) && answer.body.contains("still"), "{answer:?}");
    Ok(())
}

/// One question through a gate that is told of the upstream by these arguments only.
fn upstream(stand: &Stand, args: &[&str]) -> Result<Answer> {
    let state = stand.state().to_string_lossy().into_owned();
    let run = stand.bare_gate(&[&["--state", &state], args].concat())?;
    let outcome = run.run(asking(stand, &json!({}))?)?;
    answers(&outcome.stdout).pop().with_context(|| format!("{outcome:?}"))
}

#[test]
fn an_upstream_that_cannot_be_verified_or_reached_gets_no_request() -> Result<()> {
    let stand = Stand::new()?;
    let at = stand.provider().addr();
    let unverified = upstream(&stand, &["--connect-to", &format!("api.openai.com:443:{at}")])?;
    ensure!(matches!(unverified.status, Some(500..=599)), "{unverified:?}");
    ensure!(unverified.message()?.contains("certificate"), "{unverified:?}");
    let nobody = ["--connect-to", "api.openai.com:443:127.0.0.1:1"];
    let unreached = upstream(&stand, &nobody)?;
    ensure!(matches!(unreached.status, Some(500..=599)), "{unreached:?}");
    ensure!(unreached.message()?.contains("api.openai.com"), "{unreached:?}");
    ensure!(stand.log().records().is_empty(), "the provider was asked");
    // Nothing was spent on either.
    let budget = said(&stand, &["budget"])?;
    for kind in ["cost", "in_doubt"] {
        let counted = budget.pointer(&format!("/today/{kind}_micro_usd"));
        ensure!(counted == Some(&json!(0)), "{budget}");
    }
    works(&stand)
}

#[test]
fn wrong_use_of_exec_names_what_is_wrong_and_does_not_start_the_command() -> Result<()> {
    let stand = Stand::new()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = stand.home().join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let head = "policy_id: x\nversion: \"1\"\nmode: enforce\nagents:\n  \"*\":\n";
    let unknown = file("unknown.yaml", &format!("{head}    modles: [\"*\"]\n"))?;
    let broken = file("broken.yaml", "policy_id: [\n")?;
    let wrong = file("wrong.yaml", &format!("{head}    budgets: {{ run: cheap }}\n"))?;
    let no_pem = file("ca.pem", "hello")?;
    let state = stand.state().to_string_lossy().into_owned();
    let below = stand.work().join("state").to_string_lossy().into_owned();
    let here = stand.work().to_string_lossy().into_owned();
    let cases: Vec<(Vec<&str>, Vec<&str>)> = vec![
        (vec!["--state", &state, "--policy", &unknown], vec!["unknown.yaml", "modles", "agents"]),
        (vec!["--state", &state, "--policy", &broken], vec!["broken.yaml"]),
        (vec!["--state", &state, "--policy", &wrong], vec!["wrong.yaml", "budgets", "cheap"]),
        (vec!["--state", &state, "--policy", "/nowhere.yaml"], vec!["/nowhere.yaml"]),
        (vec!["--state", &state, "--allow", "*"], vec!["--allow", "*"]),
        (vec!["--state", &state, "--allow", "a b"], vec!["--allow", "a b"]),
        (vec!["--state", &state, "--allow", "x.example:99999:opaque"], vec!["99999"]),
        (
            vec!["--state", &state, "--connect-to", "api.openai.com"],
            vec!["--connect-to", "api.openai.com"],
        ),
        (vec!["--state", &state, "--connect-to", "a:443:b:nope"], vec!["a:443:b:nope"]),
        (vec!["--state", &state, "--upstream-ca", &no_pem], vec!["ca.pem"]),
        (vec!["--state", &state, "--upstream-ca", "/nowhere.pem"], vec!["/nowhere.pem"]),
        (vec!["--state", &state, "--budget", "cheap"], vec!["cheap"]),
        (vec!["--state", &state, "--budget", "-1"], vec!["-1"]),
        (vec!["--state", &state, "--profile", "nope"], vec!["nope"]),
        (vec!["--state", &below], vec!["working folder"]),
        (vec!["--state", &here], vec!["working folder"]),
        (vec!["--no-such-flag"], vec!["--no-such-flag"]),
    ];
    let mut faults = Vec::new();
    for (args, words) in cases {
        let outcome = stand.bare_gate(&args)?.run(["touch", "started"])?;
        let code = outcome.status.code();
        let told = words.iter().all(|word| outcome.stderr.contains(word));
        let started = stand.work().join("started").exists();
        if !matches!(code, Some(2 | 125)) || !told || started || !outcome.stdout.is_empty() {
            faults.push(format!("{args:?}: {code:?}, started: {started}: {}", outcome.stderr));
            drop(fs::remove_file(stand.work().join("started")));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    works(&stand)
}

#[test]
fn a_command_that_cannot_be_run_ends_as_in_a_shell() -> Result<()> {
    let stand = Stand::new()?;
    let missing = stand.gate(&[])?.run(["no-such-command"])?;
    ensure!(missing.status.code() == Some(127), "{missing:?}");
    ensure!(missing.stderr.contains("no-such-command"), "{missing:?}");
    fs::write(stand.work().join("text"), "x")?;
    let text = stand.gate(&[])?.run(["./text"])?;
    ensure!(text.status.code() == Some(126) && text.stderr.contains("text"), "{text:?}");
    works(&stand)
}

/// A file system of its own for a state folder, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir(&at)?;
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at);
        ensure!(mount.status()?.success(), "cannot mount a tmpfs: this test needs root");
        Ok(Self(at))
    }

    /// Fills it to the last byte.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path)?;
        for piece in [1 << 20, 512] {
            while std::io::Write::write_all(&mut file, &vec![1; piece]).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A gate that is still ending holds it a moment longer; lazily, it goes with it.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing_and_works_again_once_there_is_room() -> Result<()> {
    let stand = Stand::new()?;
    // Room for the ledger's first file and, once the filler is gone, its next one of 16 MiB.
    let disk = Disk::mount(stand.state(), "24m")?;
    let spec = json!({"threads": 8, "each": 100_000, "gap": 0.02});
    let mut run = stand.gate(&[])?.start(asking(&stand, &spec)?)?;
    run.until_stdout(LIMIT, |text| text.lines().count() > 10)?;
    // The ledger's own file has room for a while, the log has none at once.
    let filler = disk.fill()?;
    let refused = |answer: &Answer| matches!(answer.status, Some(500..=599));
    let full = |text: &str| text.lines().filter(|line| line.contains("\"status\": 503")).count();
    run.until_stdout(LIMIT, |text| full(text) > 0)?;
    let asked = stand.log().records().len();
    let text = run.until_stdout(LIMIT, |text| full(text) > 40)?;
    let first = answers(&text).into_iter().find(refused).context("none")?;
    ensure!(first.message()?.contains("seal"), "{first:?}");
    // Nothing goes out that is not on record: only what was on its way may still arrive.
    let later = stand.log().records().len();
    ensure!(later <= asked + 8, "{asked} then {later}: requests left without a record");
    ensure!(
        answers(&text).iter().all(|a| a.error.is_none()),
        "a client was left without an answer"
    );
    fs::remove_file(filler)?;
    drop(run);
    until(SOON, "a new run works", || {
        Ok(ask_once(&stand, &[], &json!({}))
            .ok()
            .filter(|answer| answer.status == Some(200))
            .map(|_| ()))
    })?;
    stand.verified()?;
    for answer in answers(&text).iter().filter(|a| a.status == Some(200)).rev().take(40) {
        let found = said(&stand, &["inspect", &answer.trace])?;
        ensure!(found.get("decided").is_some(), "{answer:?} is lost");
    }
    Ok(())
}

#[test]
fn a_disk_that_is_full_from_the_start_is_named() -> Result<()> {
    let stand = Stand::new()?;
    let disk = Disk::mount(stand.state(), "64k")?;
    let filler = disk.fill()?;
    let outcome = stand.gate(&[])?.run(["touch", "started"])?;
    ensure!(outcome.status.code() == Some(125), "{outcome:?}");
    ensure!(!stand.work().join("started").exists(), "the command ran");
    let words = outcome.stderr.to_lowercase();
    ensure!(words.contains("no space") || words.contains("full"), "{outcome:?}");
    fs::remove_file(filler)?;
    drop(disk);
    Ok(())
}
