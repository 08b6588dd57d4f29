//! `--policy FILE`: what a wrong one says, and what becomes of one that a command could have rewritten.

use std::fs;

use anyhow::{Result, ensure};
use e2e::harness::Stand;

use super::asking;

/// A contract that somebody wrote.
pub(crate) const CONTRACT: &str = "policy_id: mine
version: \"1\"
mode: enforce
agents:
  \"*\":
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    budgets: { run: $1, key_day: $2 }
";

#[test]
fn a_wrong_key_is_named_with_its_file_line_and_path_and_nothing_is_run() -> Result<()> {
    let stand = Stand::new()?;
    let file = stand.work().join("policy.yaml");
    fs::write(&file, CONTRACT.replace("    models:", "    modles:"))?;
    let path = file.display().to_string();
    let outcome = stand.gate(&["--policy", &path])?.run(["touch", "ran"])?;
    ensure!(outcome.status.code() == Some(125) && outcome.stdout.is_empty(), "{outcome:?}");
    let place = format!("tollgate: {path}:6:");
    ensure!(
        outcome.stderr.contains(&place) && outcome.stderr.contains(": agents.*.modles: "),
        "{outcome:?}"
    );
    ensure!(!stand.work().join("ran").exists(), "the command ran");
    Ok(())
}

#[test]
fn a_policy_file_that_is_not_there_is_named() -> Result<()> {
    let stand = Stand::new()?;
    let outcome = stand.gate(&["--policy", "absent.yaml"])?.run(["true"])?;
    ensure!(
        outcome.status.code() == Some(125) && outcome.stderr.contains("absent.yaml"),
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn a_policy_is_read_only_in_the_run_that_it_governs() -> Result<()> {
    let stand = Stand::new()?;
    let file = stand.work().join("policy.yaml");
    fs::write(&file, CONTRACT)?;
    let script = "echo x >> policy.yaml; mv policy.yaml other.yaml; rm -f policy.yaml; ls";
    let outcome = stand.gate(&["--policy", "policy.yaml"])?.run(["sh", "-c", script])?;
    ensure!(outcome.stdout == "policy.yaml\n", "{outcome:?}");
    ensure!(fs::read_to_string(&file)? == CONTRACT, "the command changed its own contract");
    Ok(())
}

#[test]
fn a_policy_that_a_command_rewrote_is_refused_until_the_user_trusts_it() -> Result<()> {
    let stand = Stand::new()?;
    let file = stand.work().join("policy.yaml");
    fs::write(&file, CONTRACT)?;
    let governed = || stand.gate(&["--policy", "policy.yaml"])?.run(["echo", "runs"]);
    ensure!(governed()?.stdout == "runs\n", "a file that the user names is their word");

    let widen = "sed -i 's/\\[api.openai.com\\]/[api.openai.com, pastebin.com]/' policy.yaml";
    ensure!(stand.gate(&[])?.run(["sh", "-c", widen])?.status.success());
    ensure!(fs::read_to_string(&file)?.contains("pastebin.com"), "the command could not write it");

    for _ in 0..2 {
        let refused = governed()?;
        ensure!(refused.status.code() == Some(125) && refused.stdout.is_empty(), "{refused:?}");
        let next = "          tollgate trust policy.yaml";
        ensure!(
            refused.stderr.contains("policy.yaml has changed")
                && refused.stderr.lines().any(|line| line == next),
            "{refused:?}"
        );
    }
    let trusted = stand.tollgate(&["trust", "policy.yaml"])?;
    ensure!(trusted.status.success() && trusted.stdout.contains("policy.yaml"), "{trusted:?}");
    ensure!(governed()?.stdout == "runs\n", "not accepted after `tollgate trust`");
    Ok(())
}

#[test]
fn flags_narrow_a_written_contract() -> Result<()> {
    let stand = Stand::new()?;
    fs::write(stand.work().join("policy.yaml"), CONTRACT)?;
    let args = ["--policy", "policy.yaml", "--model", "gpt-5-nano"];
    let outcome = stand.gate(&args)?.run(asking("ask say:hello"))?;
    ensure!(outcome.stdout.ends_with("\n403\n"), "a flag widened the contract: {outcome:?}");
    ensure!(stand.log().records().is_empty(), "{outcome:?}");
    Ok(())
}
