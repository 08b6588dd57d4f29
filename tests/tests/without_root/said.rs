//! What a user is told of the form, and what the record keeps of it.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use e2e::by::By;
use e2e::harness::Stand;
use e2e::proofs::tail;

#[test]
fn the_form_is_said_at_the_start_and_recorded() -> Result<()> {
    let stand = Stand::new()?;
    ensure!(stand.by() == By::User, "this suite is not run as a user");
    let outcome = stand.gate(&[])?.run(["sh", "-c", "id -u; grep CapBnd /proc/self/status"])?;
    ensure!(outcome.stdout == "1000\nCapBnd:\t0000000000000000\n", "{outcome:?}");
    ensure!(outcome.stderr.contains("form: user namespace, nftables · with sudo"), "{outcome:?}");
    let begun = tail(&stand)?.into_iter().next().context("nothing is recorded")?;
    let what = begun.get("what").and_then(serde_json::Value::as_str).unwrap_or_default();
    ensure!(what.ends_with(", user-namespace"), "{begun}");
    Ok(())
}

#[test]
fn the_state_folder_cannot_be_moved_away_with_the_folders_above_it() -> Result<()> {
    let stand = Stand::new()?;
    let state = stand.state();
    let above = state.parent().context("no folder above")?;
    let script = format!(
        "mv {0} {0}.away; ls -d {0}; cat {1}/vault; ls {1}",
        above.display(),
        state.display()
    );
    let outcome = stand.gate(&[])?.run(["sh", "-c", &script])?;
    ensure!(outcome.stdout.trim() == above.display().to_string(), "{outcome:?}");
    ensure!(state.join("vault").exists(), "it was moved");
    Ok(())
}

#[test]
fn check_says_which_form_is_possible() -> Result<()> {
    let stand = Stand::new()?;
    let outcome = stand.tollgate(&["check"])?;
    ensure!(outcome.status.success(), "{outcome:?}");
    ensure!(outcome.stdout.contains("user namespace  can be made"), "{outcome:?}");
    ensure!(
        outcome.stdout.contains("CAP_BPF"),
        "what the other form takes is not said: {outcome:?}"
    );
    Ok(())
}

#[test]
fn the_gate_s_program_may_lie_where_its_user_may_not_go() -> Result<()> {
    let stand = Stand::new()?;
    let folder = stand.file("closed");
    std::fs::create_dir(&folder)?;
    let program = folder.join("tollgate");
    std::fs::copy(e2e::harness::tollgate()?, &program)?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    let script = format!("echo \"a word\"; cat {}", program.display());
    let outcome = stand.gate_at(&program, &[]).run(["sh", "-c", &script])?;
    ensure!(outcome.stdout == "a word\n", "{outcome:?}");
    ensure!(outcome.stderr.contains("Permission denied"), "it was read: {outcome:?}");
    Ok(())
}
