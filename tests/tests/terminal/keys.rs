//! Keys and credentials, as an operator at a terminal makes, uses, exchanges and takes them back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand, tollgate};
use e2e::process::{Outcome, Running};
use e2e::proofs::{gate_ended, said};
use serde_json::{Value, json};

use super::screen::Screen;
use super::{asking, until};

/// What the operator's real key begins with, wherever it turns up.
const CANARY: &str = "sk-proj-canary";

/// A contract that lets whoever has a key of an agent use it, and says who pays.
const CONTRACT: &str = "policy_id: shop
version: \"1\"
mode: enforce
team: payments
cost_center: CC-4711
budgets: { day: $9 }
agents:
  \"*\":
    bearer: true
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    budgets: { run: $1, day: $0.0104 }
";

/// A file with a secret in it.
fn file(stand: &Stand, name: &str, text: &str) -> Result<PathBuf> {
    let path = stand.work().join(name);
    fs::write(&path, text)?;
    stand.by().own(&path)?;
    Ok(path)
}

fn contract(stand: &Stand) -> Result<()> {
    file(stand, "policy.yaml", CONTRACT).map(drop)
}

/// Seals a real key under a name.
fn seal(stand: &Stand, name: &str, secret: &str) -> Result<Value> {
    let path = file(stand, "secret", secret)?;
    let path = path.display().to_string();
    let sealed =
        said(stand, &["credential", "add", name, "--provider", "openai", "--from-file", &path]);
    fs::remove_file(stand.work().join("secret"))?;
    sealed
}

/// Makes a key with these further words; the text that was printed, which is the key alone.
fn make(stand: &Stand, name: &str, words: &[&str]) -> Result<String> {
    let made = stand.tollgate(&[&["key", "create", name], words].concat())?;
    ensure!(made.status.success() && made.stdout.lines().count() == 1, "{made:?}");
    ensure!(!made.stderr.contains(made.stdout.trim()), "the key is printed twice: {made:?}");
    Ok(made.stdout.trim().to_owned())
}

/// What an agent that calls with `key` is answered.
fn calls(stand: &Stand, agent: &str, key: &str, script: &str) -> Result<Outcome> {
    let script = format!("OPENAI_API_KEY={key}; {script}");
    stand.gate(&["--agent", agent, "--policy", "policy.yaml"])?.run(asking(&script))
}

/// Nothing in the state folder, the ledger's text or what was said holds `secret`.
fn is_nowhere(stand: &Stand, secret: &str, said: &[&Outcome]) -> Result<()> {
    for outcome in said {
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        ensure!(!all.contains(secret), "it was said: {all}");
    }
    let text = stand.tollgate(&["tail", "--json", "-n", "100000"])?;
    ensure!(text.status.success() && !text.stdout.contains(secret), "the ledger has it");
    walk(&stand.state(), &mut |path| {
        let bytes = fs::read(path)?;
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        ensure!(!found, "{} has it", path.display());
        Ok(())
    })
}

fn walk(folder: &Path, see: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), see)?;
        } else if entry.file_type()?.is_file() {
            see(&entry.path())?;
        }
    }
    Ok(())
}

#[test]
fn a_key_is_made_before_anything_runs_used_in_two_runs_and_counted_over_both() -> Result<()> {
    let stand = Stand::new()?;
    contract(&stand)?;
    let real = stand.provider().keys().openai.clone();
    seal(&stand, "openai", &real)?;
    let key = make(&stand, "ci", &["--agent", "bot", "--credential", "openai", "--uses", "2"])?;
    ensure!(key.starts_with("sk-tg-") && key.len() == 49, "{key}");
    let first = calls(&stand, "bot", &key, "ask say:one")?;
    ensure!(first.stdout.ends_with("\n200\n"), "{first:?}");
    let stranger = calls(&stand, "other", &key, "ask say:no")?;
    ensure!(!stranger.stdout.ends_with("\n200\n"), "another agent used it: {stranger:?}");
    let second = calls(&stand, "bot", &key, "ask say:two; ask say:three")?;
    ensure!(second.stdout.contains("\n200\n"), "{second:?}");
    ensure!(
        second.stdout.ends_with("\n403\n") && second.stdout.contains("used up"),
        "a third use: {second:?}"
    );
    let shown = said(&stand, &["key", "show", "ci"])?;
    ensure!(shown["used"] == 2 && shown["condition"] == "used_up", "{shown}");
    let asked = stand.log().records();
    ensure!(asked.len() == 2, "{} reached the provider", asked.len());
    is_nowhere(&stand, &real, &[&first, &stranger, &second])?;
    is_nowhere(&stand, &key, &[])?;
    stand.verified()?;
    Ok(())
}

#[test]
fn a_revoked_key_cuts_its_stream_and_opens_nothing_more() -> Result<()> {
    let stand = Stand::new()?;
    contract(&stand)?;
    seal(&stand, "openai", &stand.provider().keys().openai)?;
    let key = make(&stand, "ci", &["--agent", "bot", "--credential", "openai"])?;
    let script = asking(&format!("OPENAI_API_KEY={key}; ask stall; ask say:more"));
    let mut run = stand.gate(&["--agent", "bot", "--policy", "policy.yaml"])?.start(script)?;
    run.until_asked(stand.log(), LIMIT, |seen| seen.len() == 1)?;
    let agents = said(&stand, &["agents"])?;
    let agent = &agents["agents"][0];
    ensure!(
        agent["agent"] == "bot"
            && agent["team"] == "payments"
            && agent["mode"] == "enforce"
            && agent["known_by"] == json!(["run"])
            && agent["live"] == 1
            && agent["last_request"].is_string(),
        "{agents}"
    );
    let taken = said(&stand, &["key", "revoke", "ci", "--reason", "INC-4711"])?;
    ensure!(taken["cut"] == 1 && taken["recorded"] == true, "{taken}");
    let outcome = run.end(LIMIT)?;
    ensure!(!outcome.stdout.contains("\n200\n"), "{outcome:?}");
    ensure!(stand.log().records().len() == 1, "it was used after that");
    let listed = stand.tollgate(&["key", "list"])?;
    ensure!(listed.stdout.contains("revoked") && !listed.stdout.contains(&key), "{listed:?}");
    stand.verified()?;
    Ok(())
}

#[test]
fn a_credential_is_exchanged_under_a_live_run() -> Result<()> {
    let stand = Stand::new()?;
    contract(&stand)?;
    // Added wrong, so that the provider refuses it, and then made right.
    let wrong = format!("{CANARY}-wrong");
    seal(&stand, "openai", &wrong)?;
    let key = make(&stand, "ci", &["--agent", "bot", "--credential", "openai"])?;
    let clash = stand.gate(&["--agent", "bot"])?.run(["true"])?;
    ensure!(
        clash.status.code() == Some(125) && clash.stderr.contains("kept by an operator"),
        "a run replaced what an operator keeps: {clash:?}"
    );
    let script =
        asking(&format!("OPENAI_API_KEY={key}; ask say:x; echo asked; await go; ask say:y"));
    let gate = stand.gate(&["--agent", "bot", "--policy", "policy.yaml"])?;
    let mut run = gate.env("OPENAI_API_KEY", &wrong).start(script)?;
    let shown = run.until_stdout(LIMIT, |shown| shown.contains("asked"))?;
    ensure!(shown.contains("\n401\n"), "the provider takes a wrong key: {shown}");
    let real = file(&stand, "real", &stand.provider().keys().openai)?.display().to_string();
    let rotated = said(&stand, &["credential", "rotate", "openai", "--from-file", &real])?;
    ensure!(rotated["version"] == 2, "{rotated}");
    fs::write(stand.work().join("go"), "")?;
    let outcome = run.end(LIMIT)?;
    ensure!(outcome.stdout.ends_with("\n200\n"), "{outcome:?}");
    is_nowhere(&stand, &wrong, &[&outcome])
}

#[test]
fn a_credential_goes_only_when_no_key_stands_for_it_or_with_them() -> Result<()> {
    let stand = Stand::new()?;
    seal(&stand, "openai-prod", CANARY)?;
    let listed = said(&stand, &["credential", "list"])?;
    let one = &listed["credentials"][0];
    ensure!(one["name"] == "openai-prod" && one["provider"] == "openai" && one["version"] == 1);
    make(&stand, "ci", &["--agent", "bot", "--credential", "openai-prod", "--expires", "30d"])?;
    let refused = stand.tollgate(&["credential", "remove", "openai-prod"])?;
    ensure!(refused.status.code() == Some(1) && refused.stderr.contains("--force"), "{refused:?}");
    let removed = said(&stand, &["credential", "remove", "openai-prod", "--force"])?;
    ensure!(removed["revoked"].as_array().is_some_and(|keys| keys.len() == 1), "{removed}");
    ensure!(said(&stand, &["key", "show", "ci"])?["condition"] == "revoked");
    let gone =
        stand.tollgate(&["credential", "rotate", "openai-prod", "--from-file", "/dev/null"])?;
    ensure!(gone.status.code() == Some(2), "{gone:?}");
    ensure!(said(&stand, &["credential", "list"])?["credentials"] == json!([]));
    is_nowhere(&stand, CANARY, &[&refused])
}

#[test]
fn a_key_in_a_file_is_adopted_and_a_virtual_one_put_in_its_place() -> Result<()> {
    let stand = Stand::new()?;
    contract(&stand)?;
    let real = stand.provider().keys().openai.clone();
    let path =
        file(&stand, ".env", &format!("# settings\nMODE=x\nexport OPENAI_API_KEY='{real}'\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
    let told = stand.tollgate(&["credential", "adopt", "openai", "--from", ".env"])?;
    ensure!(
        told.status.success() && told.stdout.contains("OPENAI_API_KEY in .env, line 3"),
        "{told:?}"
    );
    ensure!(told.stdout.contains("tollgate key create"), "{told:?}");
    ensure!(fs::read_to_string(&path)?.contains(&real), "it was written unasked");
    let words = ["credential", "adopt", "openai", "--from", ".env", "--write", "--agent", "bot"];
    let wrote = stand.tollgate(&words)?;
    ensure!(wrote.status.success() && wrote.stdout.contains("bot-openai"), "{wrote:?}");
    let text = fs::read_to_string(&path)?;
    ensure!(text.starts_with("# settings\nMODE=x\nexport OPENAI_API_KEY='sk-tg-"), "{text}");
    ensure!(!text.contains(&real) && fs::metadata(&path)?.permissions().mode() & 0o777 == 0o640);
    let again = stand.tollgate(&words)?;
    ensure!(
        again.status.code() == Some(1) && again.stderr.contains("virtual key already"),
        "{again:?}"
    );
    let script = asking(". ./.env; ask say:x");
    let used = stand.gate(&["--agent", "bot", "--policy", "policy.yaml"])?.run(script)?;
    ensure!(used.stdout.ends_with("\n200\n"), "{used:?}");
    is_nowhere(&stand, &real, &[&told, &wrote, &again, &used])
}

#[test]
fn a_secret_comes_from_a_pipe_and_never_from_an_argument() -> Result<()> {
    let stand = Stand::new()?;
    let secret = file(&stand, "secret", &format!("{CANARY}-piped\n"))?;
    let mut command = stand.by().command(&tollgate()?);
    command.args(["credential", "add", "piped", "--provider", "openai", "--json", "--state"]);
    command.arg(stand.state()).stdin(Stdio::from(fs::File::open(&secret)?));
    let sealed = command.output()?;
    ensure!(sealed.status.success(), "{sealed:?}");
    for words in [
        &["credential", "add", "a", "--provider", "openai", CANARY][..],
        &["credential", "rotate", "piped", CANARY],
        &["credential", "add", "a", "--provider", "openai", "--secret", CANARY],
    ] {
        let refused = stand.tollgate(words)?;
        ensure!(refused.status.code() == Some(2), "{refused:?}");
    }
    is_nowhere(&stand, CANARY, &[])
}

#[test]
fn a_terminal_does_not_show_the_secret_that_is_typed() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 20)?;
    let user = stand.by().command(&tollgate()?);
    let words = std::iter::once(user.get_program()).chain(user.get_args());
    let program = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let state = stand.state().display().to_string();
    let add = |name: &str| {
        screen.line(&format!("{program} credential add {name} --provider openai --state {state}"))
    };
    add("typed")?;
    screen.shows("(not shown):")?;
    screen.line(&format!("{CANARY}-typed"))?;
    screen.shows("sealed: typed (openai)")?;
    ensure!(!screen.text()?.contains(CANARY), "{}", screen.text()?);
    add("broken")?;
    screen.shows("of broken (not shown):")?;
    screen.key("C-c")?;
    screen.shows("nothing was sealed")?;
    // The terminal shows again what is typed.
    screen.line("echo seen-$((40+2))")?;
    screen.shows("echo seen-$((40+2))")?;
    let listed = said(&stand, &["credential", "list"])?;
    ensure!(listed["credentials"].as_array().is_some_and(|all| all.len() == 1), "{listed}");
    is_nowhere(&stand, CANARY, &[])
}

#[test]
fn an_agent_goes_on_when_its_day_is_raised_and_its_team_is_told_apart() -> Result<()> {
    let stand = Stand::new()?;
    contract(&stand)?;
    let script = "ask 'usage:10:4900 say:x' 5000; ask \"say:$(printf '%5000s')\" 5000; echo spent; \
                  await raised; ask 'say:more' 5000";
    let gate = stand.gate(&["--agent", "bot", "--policy", "policy.yaml"])?;
    let mut first: Running = gate.start(asking(script))?;
    let shown = first.until_stdout(LIMIT, |shown| shown.contains("spent"))?;
    ensure!(shown.contains("\n200\n") && shown.contains("\n429\n"), "{shown}");
    let raise = ["budget", "raise", "--agent", "bot", "--window", "day"];
    let low = stand.tollgate(&[&raise[..], &["--to", "0.01"]].concat())?;
    ensure!(low.status.code() == Some(1) && low.stderr.contains("already"), "{low:?}");
    let none = ["budget", "raise", "--agent", "bot", "--window", "month", "5"];
    let none = stand.tollgate(&none)?;
    ensure!(none.status.code() == Some(1) && none.stderr.contains("has no limit"), "{none:?}");
    let raised = stand.tollgate(&[&raise[..], &["5"]].concat())?;
    ensure!(raised.status.success() && raised.stdout.contains("to $5.0104"), "{raised:?}");
    let team = said(&stand, &["budget", "raise", "--team", "payments", "--window", "day", "1"])?;
    ensure!(team["to_micro_usd"] == 10_000_000, "{team}");
    let budget = || said(&stand, &["budget"]);
    until("the budget shows the limits", || {
        let all = budget()?;
        let (agent, team) = (&all["agents"][0], &all["teams"][0]);
        Ok(agent["name"] == "bot"
            && agent["day"]["limit_micro_usd"] == 5_010_400
            && team["name"] == "payments"
            && team["day"]["limit_micro_usd"] == 10_000_000)
    })?;
    // The gate that was asked ends with this run.
    fs::write(stand.work().join("raised"), "")?;
    let outcome = first.end(LIMIT)?;
    ensure!(outcome.stdout.ends_with("\n200\n"), "{outcome:?}");
    for (by, name) in [("team", "payments"), ("cost-center", "CC-4711"), ("agent", "bot")] {
        let spend = said(&stand, &["spend", "--by", by, "--window", "day"])?;
        ensure!(spend["rows"][0]["name"] == name, "{spend}");
        ensure!(spend["rows"][0]["cost_micro_usd"].as_u64() > Some(9_000), "{spend}");
    }
    stand.verified()?;
    Ok(())
}

#[test]
fn killing_a_team_cuts_its_stream_and_leaves_others_alone() -> Result<()> {
    let stand = Stand::new()?;
    contract(&stand)?;
    let governed = |script: &str| -> Result<_> {
        stand.gate(&["--agent", "bot", "--policy", "policy.yaml"])?.start(asking(script))
    };
    let mut run = governed("ask stall")?;
    run.until_asked(stand.log(), LIMIT, |seen| seen.len() == 1)?;
    let kill = ["kill", "--team", "payments", "--reason", "INC-1"];
    let dry = said(&stand, &[&kill[..], &["--dry-run"]].concat())?;
    ensure!(dry["cut"] == 1 && dry["in_force"] == false, "{dry}");
    let killed = stand.tollgate(&kill)?;
    let line = killed.stdout.trim_end();
    ensure!(line.starts_with("killed: team payments · 1 stream cut · entry "), "{line}");
    ensure!(run.end(LIMIT)?.stdout.contains("kill_switch"), "the stream went on");
    let refused = governed("ask say:x")?.end(LIMIT)?;
    ensure!(refused.stdout.ends_with("\n403\n"), "{refused:?}");
    let other = stand.gate(&["--agent", "bot"])?.run(asking("ask say:x"))?;
    ensure!(other.stdout.ends_with("\n200\n"), "of no team: {other:?}");
    let lifted = stand.tollgate(&["unkill", "--team", "payments", "--reason", "over"])?;
    ensure!(lifted.stdout.starts_with("lifted: team payments · entry "), "{lifted:?}");
    let again = governed("ask say:x")?.end(LIMIT)?;
    ensure!(again.stdout.ends_with("\n200\n"), "{again:?}");
    Ok(())
}

#[test]
fn what_cannot_be_made_says_why_and_what_to_do() -> Result<()> {
    let stand = Stand::new()?;
    let create = |words: &[&str]| {
        stand.tollgate(&[&["key", "create", "a", "--agent", "b", "--credential"], words].concat())
    };
    for (words, code, why) in [
        (&["none"][..], 1, "tollgate credential add none"),
        (&["none", "--from", "address:0.0.0.0/0"], 2, "holds every address"),
        (&["none", "--from", "cgroup:/"], 2, "cgroup hierarchy"),
        (&["none", "--expires", "soon"], 2, "not a time like"),
        (&["none", "--uses", "0"], 2, "--uses"),
    ] {
        let said = create(words)?;
        ensure!(said.status.code() == Some(code) && said.stderr.contains(why), "{said:?}");
    }
    let shown = stand.tollgate(&["key", "show", "nobody"])?;
    ensure!(shown.status.code() == Some(1) && shown.stderr.contains("no key is called nobody"));
    // Asking it would keep it from ending.
    gate_ended(&stand)?;
    let agents = stand.tollgate(&["agents"])?;
    ensure!(agents.status.code() == Some(1), "{agents:?}");
    ensure!(agents.stderr.contains("nobody is behind it"), "{agents:?}");
    let help = stand.tollgate(&["key", "create", "--help"]);
    ensure!(help?.stdout.starts_with("Example:\n  tollgate key create ci"));
    let completions = Command::new(tollgate()?).args(["completions", "bash"]).output()?;
    let script = String::from_utf8(completions.stdout).context("the script is not text")?;
    for word in ["credential", "adopt", "agents", "--force"] {
        ensure!(script.contains(word), "{word} is not completed");
    }
    Ok(())
}
