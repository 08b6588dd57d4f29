//! What takes too long ends, with what it started, and what does not is left alone.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{descendants, within};
use crate::shell::run;

#[test]
fn work_in_time_gives_its_result_and_failing_work_its_own_error() {
    let limit = Duration::from_mins(1);
    assert_eq!(within(limit, "late", || Ok(7)).unwrap(), 7);
    let failed = within::<()>(limit, "late", || anyhow::bail!("wrong")).unwrap_err();
    assert_eq!(format!("{failed:#}"), "wrong");
}

/// Set where this program is started once more, so that what is ended is nothing of the tests beside this one.
const HANGS: &str = "XTASK_TEST_HANGS";

#[test]
fn work_that_takes_too_long_ends_with_what_it_started_and_says_what_to_do() {
    if std::env::var_os(HANGS).is_some() {
        // The second sleeper is a child of a child, and the shell between takes no notice of SIGTERM.
        let script = "trap '' TERM; (exec sleep 977) & wait; exec sleep 976";
        let failed = within(Duration::from_millis(300), "did not end: look at the network", || {
            run(Command::new("sh").args(["-c", script]))
        });
        let said = format!("{:#}", failed.unwrap_err());
        assert!(said.starts_with("did not end: look at the network: "), "{said}");
        return;
    }
    let began = Instant::now();
    let name = "work_that_takes_too_long_ends_with_what_it_started_and_says_what_to_do";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let again = again.args(["--exact", &format!("bound::tests::{name}")]).env(HANGS, "1");
    let seen = again.output().unwrap();
    assert!(seen.status.success(), "{seen:?}");
    assert!(String::from_utf8_lossy(&seen.stdout).contains("1 passed"), "{seen:?}");
    // Both sleepers would have gone on for a quarter of an hour, holding this output open.
    assert!(began.elapsed() < Duration::from_mins(1));
}

#[test]
fn what_came_of_a_process_is_found_with_its_children() -> anyhow::Result<()> {
    let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while descendants(shell.id()).is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let found = descendants(shell.id());
    let all = descendants(std::process::id());
    super::signal(&found, nix::sys::signal::Signal::SIGKILL);
    shell.wait()?;
    ensure!(found.len() == 1, "{found:?}");
    ensure!(all.contains(&found[0]), "{all:?}");
    Ok(())
}
