//! The binary as people and scripts use it: help, exit codes, wrong input, and what it reads from a
//! ledger that no gate holds.

#![expect(clippy::unwrap_used, reason = "these are tests and their helpers")]

#[path = "support/fixture.rs"]
mod fixture;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use fixture::{FORWARDED, Fixture, LEAKED, REFUSED, RUN};
use serde_json::Value;

fn tollgate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(args)
        .stdin(Stdio::null())
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command on the fixture's state, which must end with `code` and say nothing aside.
fn on(fixture: &Fixture, args: &[&str], code: i32) -> String {
    let output = tollgate(&[args, &["--state", text(&fixture.state)]].concat());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}\n{}{}",
        stdout(&output),
        stderr(&output)
    );
    assert_eq!(stderr(&output), "", "{args:?}");
    stdout(&output)
}

fn json(fixture: &Fixture, args: &[&str], code: i32) -> Value {
    serde_json::from_str(&on(fixture, &[args, &["--json"]].concat(), code)).unwrap()
}

#[test]
fn help_and_version_are_done_and_on_standard_output() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["exec", "--help"],
        &["budget", "raise", "--help"],
        &["audit", "verify", "-h"],
    ] {
        let output = tollgate(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_first_configuration_is_written_once_and_checks_out() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("gate");
    let (config, policy) = (folder.join("tollgate.yaml"), folder.join("policy"));
    let first = tollgate(&["init", "--folder", text(&folder)]);
    let said = stdout(&first);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert_eq!(said.matches("written").count(), 4, "{said}");
    let next = format!("next: tollgate check --config {}", config.display());
    assert!(said.ends_with(&format!("{next}\n")), "{said}");

    std::fs::write(&config, "mode: observe\nlisten: { proxxy: null }\n").unwrap();
    let again = stdout(&tollgate(&["init", "--folder", text(&folder), "--json"]));
    let again: Value = serde_json::from_str(&again).unwrap();
    let kept = again["files"].as_array().unwrap().iter().all(|file| file["written"] == false);
    assert!(kept && std::fs::read_to_string(&config).unwrap().starts_with("mode: observe"));

    let checked = stdout(&tollgate(&["check", "--config", text(&config)]));
    let fault =
        format!("{}:2:11: listen.proxxy: is not a key; did you mean `proxy`?", config.display());
    assert!(checked.contains(&fault), "{checked}");

    let good = tollgate(&["policy", "check", text(&policy)]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(stdout(&good).contains("1 file · 1 agent · sha256 "), "{}", stdout(&good));
    std::fs::copy(policy.join("example.yaml"), policy.join("other.yaml")).unwrap();
    let twice = tollgate(&["policy", "check", text(&policy)]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(
        stderr(&twice).contains("other.yaml:10:3: agents.example-agent: is also in"),
        "{}",
        stderr(&twice)
    );
    let twice = tollgate(&["policy", "check", text(&policy), "--json"]);
    let twice: Value = serde_json::from_str(&stdout(&twice)).unwrap();
    assert_eq!((&twice["valid"], twice["faults"].as_array().unwrap().len()), (&false.into(), 1));
}

#[test]
fn schemas_are_json_on_standard_output() {
    for of in ["tollgate", "policy"] {
        let schema: Value = serde_json::from_str(&stdout(&tollgate(&["schema", of]))).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{of}");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn hidden_commands_are_not_offered() {
    let help = stdout(&tollgate(&["--help"]));
    assert!(!help.contains("__gate") && !help.contains("__init"), "{help}");
    assert!(!stdout(&tollgate(&["completions", "bash"])).is_empty());
}

#[test]
fn wrong_input_says_what_where_and_exits_with_the_documented_code() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    std::fs::write(
        &bad,
        "policy_id: p\nversion: \"1\"\nmode: enforce\nagents:\n  a:\n    modles: [x]\n",
    )
    .unwrap();
    let absent = dir.path().join("absent");
    let (bad, absent) = (text(&bad), text(&absent));
    for (args, code, says) in [
        (&["--nonsense"][..], 2, "--nonsense"),
        (&["nonsense"], 2, "nonsense"),
        (&[], 2, "Example:"),
        (&["exec"], 125, "COMMAND"),
        (&["exec", "--nonsense", "--", "true"], 125, "--nonsense"),
        (&["exec", "--budget", "five", "--", "true"], 125, "not an amount in dollars"),
        (&["exec", "--share-fd", "2", "--", "true"], 125, "2 is not in 3.."),
        (&["exec", "true"], 125, "true"),
        (&["kill", "--reason", "r"], 2, "--agent"),
        (&["kill", "--agent", "a"], 2, "--reason"),
        (&["kill", "--agent", "a", "--all", "--reason", "r"], 2, "cannot be used with"),
        (&["kill", "--agent", "", "--reason", "r"], 2, "--agent"),
        (&["kill", "--all", "--reason", "r", "--state", absent], 2, "tollgate kill --all --yes"),
        (&["budget", "raise", "--run", "R", "1e3"], 2, "not an amount in dollars"),
        (&["budget", "raise", "--run", "R"], 2, "AMOUNT"),
        (&["spend", "--by", "colour"], 2, "colour"),
        (&["tail", "-n", "many"], 2, "many"),
        (&["policy", "check", bad], 1, "bad.yaml:6:5: agents.a.modles: is not a key"),
        (&["policy", "check", absent], 1, "absent: cannot be read"),
        (&["policy", "show", absent], 1, "absent: cannot be read"),
        (&["policy", "show", "--profile", "nobody"], 2, "claude"),
        (&["trust", absent], 2, "absent cannot be read"),
        (&["tail", "--state", absent], 3, "absent is not there"),
        (&["audit", "verify", "--state", absent], 3, "absent is not there"),
        (&["inspect", "01JD", "--state", absent], 3, "absent is not there"),
        (&["budget", "--state", absent], 3, "absent is not there"),
        (&["budget", "raise", "--run", "R", "5", "--state", absent], 3, "absent is not there"),
        (&["completions", "tcsh"], 2, "tcsh"),
    ] {
        let output = tollgate(args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{said}");
        assert!(said.contains(says), "{args:?}\n{said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(!Path::new(absent).exists(), "nothing is made by a command that only reads");
}

#[test]
fn a_contract_is_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.yaml");
    let shown = tollgate(&["policy", "show", "--builtin"]);
    std::fs::write(&good, &shown.stdout).unwrap();
    let checked = tollgate(&["policy", "check", text(&good), "--json"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&checked["valid"], &checked["policy_id"]), (&true.into(), &"starter".into()));
    assert!(!tollgate(&["policy", "show", "--profile", "claude"]).stdout.is_empty());
}

#[test]
fn tail_shows_each_thing_once_and_as_one_json_line() {
    let fixture = Fixture::new();
    let lines = on(&fixture, &["tail", "--json"], 0);
    let items: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let became: Vec<_> = items.iter().map(|item| item["became"].as_str().unwrap()).collect();
    assert_eq!(
        became,
        ["started", "forwarded", "refused", "redacted", "cut", "killed", "refused", "ended"]
    );
    assert!(items[0]["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(items[6]["count"], 431);
}

#[test]
fn tail_filters_by_agent_rule_and_refusal() {
    let fixture = Fixture::new();
    let ids = |args: &[&str]| -> Vec<String> {
        let lines = on(&fixture, &[&["tail", "--json"], args].concat(), 0);
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["entry"].to_string();
        lines.lines().map(of).collect()
    };
    assert_eq!(ids(&["--refused"]).len(), 3);
    assert_eq!(ids(&["--rule", "model_scope"]).len(), 1);
    assert_eq!(ids(&["--rule", "filtering/model_scope"]).len(), 1);
    assert_eq!(ids(&["--agent", "nobody"]).len(), 0);
    assert_eq!(ids(&["-n", "2"]).len(), 2);
    let unknown = tollgate(&["tail", "--rule", "nonsense", "--state", text(&fixture.state)]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("model_scope"), "{}", stderr(&unknown));
}

#[test]
fn what_an_agent_wrote_cannot_steer_the_terminal_of_whoever_reads() {
    let fixture = Fixture::new();
    for args in [
        &["tail"][..],
        &["tail", "--json"],
        &["inspect", LEAKED],
        &["spend", "--by", "model"],
        &["budget"],
    ] {
        let shown = on(&fixture, args, 0);
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r']), "{args:?}: {shown}");
    }
}

#[test]
fn inspect_finds_a_decision_by_every_name_it_has() {
    let fixture = Fixture::new();
    for id in [REFUSED, REFUSED.trim_end_matches("0B"), &REFUSED.to_lowercase(), "trace-2", "2"] {
        let page = json(&fixture, &["inspect", id], 0);
        assert_eq!(page["decided"]["id"], REFUSED, "{id}");
        assert_eq!(page["linked"], true);
    }
    assert_eq!(json(&fixture, &["inspect", "req_abc"], 0)["decided"]["id"], FORWARDED);
    let page = on(&fixture, &["inspect", REFUSED], 0);
    assert!(page.contains("refused by filtering/model_scope: gpt-5-pro is not in"), "{page}");
    let nothing = tollgate(&["inspect", "01ZZZZ", "--state", text(&fixture.state)]);
    assert_eq!(nothing.status.code(), Some(1), "{}", stderr(&nothing));
}

#[test]
fn spend_and_budget_add_up_what_the_ledger_says() {
    let fixture = Fixture::new();
    let spend = json(&fixture, &["spend", "--by", "model", "--window", "all"], 0);
    assert_eq!(spend["total"]["cost_micro_usd"], 410_000);
    assert_eq!(spend["total"]["in_doubt_micro_usd"], 20_000);
    let budget = json(&fixture, &["budget", "show"], 0);
    assert_eq!(budget["gate_running"], false);
    assert_eq!(budget["runs"][0]["run"], RUN);
    assert_eq!(budget["runs"][0]["live"], false);
}

#[test]
fn no_gate_means_no_run_to_raise() {
    let fixture = Fixture::new();
    let raised = tollgate(&["budget", "raise", "--run", RUN, "5", "--state", text(&fixture.state)]);
    assert_eq!(raised.status.code(), Some(1), "{}", stderr(&raised));
    assert!(stderr(&raised).contains("next: tollgate budget show"), "{}", stderr(&raised));
}

#[test]
fn verify_says_valid_and_notices_one_changed_byte() {
    let fixture = Fixture::new();
    let report = json(&fixture, &["audit", "verify"], 0);
    assert_eq!((&report["valid"], &report["entries"]), (&true.into(), &fixture.entries.into()));
    fixture.change_a_byte();
    let report = json(&fixture, &["audit", "verify"], 1);
    assert_eq!(report["valid"], false);
    let page = on(&fixture, &["audit", "verify"], 1);
    assert!(page.starts_with("invalid: "), "{page}");
}

#[test]
fn verify_notices_that_the_whole_ledger_is_gone() {
    let fixture = Fixture::new();
    std::fs::remove_dir_all(fixture.state.join("ledger")).unwrap();
    assert_eq!(json(&fixture, &["audit", "verify"], 1)["valid"], false);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let key = fixture.state.join("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = tollgate(&["tail", "--state", text(&fixture.state)]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));
}

#[test]
fn a_file_is_trusted_by_its_digest() {
    let fixture = Fixture::new();
    let file = fixture.state.with_file_name("policy.yaml");
    std::fs::write(&file, "abc").unwrap();
    let trusted = json(&fixture, &["trust", text(&file)], 0);
    assert_eq!(
        trusted["sha256"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn a_reader_that_has_gone_counts_as_done() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn check_says_how_each_thing_is_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = tollgate(&["check", "--json", "--state", text(&dir.path().join("state"))]);
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = checked["items"].as_array().unwrap();
    let names: Vec<_> = items.iter().filter_map(|item| item["name"].as_str()).collect();
    for name in
        ["kernel", "privileges", "user namespace", "state folder", "disk", "clock", "authorities"]
    {
        assert!(names.contains(&name), "{name}: {checked}");
    }
    assert!(
        items.iter().all(|item| item["level"] == "good" || item["next"].is_string()),
        "{checked}"
    );
    let failed = items.iter().any(|item| item["level"] == "failure");
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{checked}");
    assert!(!dir.path().join("state").exists(), "a check makes nothing");
}

#[test]
fn the_authority_is_made_with_the_state_folder_and_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let ca = |more: &[&str]| {
        let output = tollgate(&[&["ca", "--state", text(&state)], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let pem = ca(&[]);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
    assert!(pem.ends_with("-----END CERTIFICATE-----\n"), "{pem}");
    let again: Value = serde_json::from_str(&ca(&["--json"])).unwrap();
    assert_eq!(again["pem"], pem.as_str());
}
