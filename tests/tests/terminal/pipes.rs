//! Part pipe, part terminal, and the window that goes away.

use std::fs;

use anyhow::{Result, ensure};
use e2e::harness::Stand;

use super::runs::gates;
use super::screen::Screen;
use super::until;

#[test]
fn a_pager_at_the_end_of_a_pipe_has_the_keyboard() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    let run = stand.gate(&[])?.script(["less"])?;
    screen.line(&format!("seq -f 'row %g.' 200 | sh {}; echo code=$?", run.display()))?;
    screen.shows("row 20.")?;
    screen.key("Space")?;
    screen.shows("row 40.")?;
    screen.key("q")?;
    let shown = screen.shows("code=0")?;
    ensure!(!screen.is_full()? && !shown.contains("row 40."), "{shown}");
    Ok(())
}

#[test]
fn control_c_ends_a_whole_pipeline() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    let run = stand.gate(&[])?.script(["sh", "-c", "echo ready; exec cat"])?;
    screen.line(&format!("sleep 60 | sh {} | cat", run.display()))?;
    screen.shows("ready")?;
    screen.key("C-c")?;
    screen.shows("chain valid")?;
    // The command may have seen the end of its input before it was interrupted.
    screen.line("echo codes=${PIPESTATUS[*]}")?;
    screen.shows_that("the codes", |shown| {
        shown.contains("codes=130 130 130") || shown.contains("codes=130 0 130")
    })?;
    Ok(())
}

#[test]
fn the_end_of_input_typed_at_the_terminal_reaches_a_command_whose_output_is_a_file() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    let run = stand.gate(&[])?.script(["sh", "-c", "echo begun >&2; cat"])?;
    let heard = stand.work().join("heard");
    screen.line(&format!("sh {} > {}; echo code=$?", run.display(), heard.display()))?;
    screen.shows("begun")?;
    screen.line("one line")?;
    screen.key("C-d")?;
    screen.shows("code=0")?;
    ensure!(fs::read_to_string(&heard)? == "one line\n");
    Ok(())
}

#[test]
fn control_backslash_quits_the_command() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    let script = "ulimit -c 0; echo ready; exec sleep 60";
    let run = stand.gate(&[])?.script(["sh", "-c", script])?;
    screen.line(&format!("sh {}; echo code=$?", run.display()))?;
    screen.shows("ready")?;
    screen.key("C-\\")?;
    screen.shows("code=131")?;
    Ok(())
}

#[test]
fn a_run_in_the_background_prints_and_stops_only_when_it_reads() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    let script = "echo printed; while [ ! -e go ]; do sleep 0.02; done; read line; echo got=$line";
    let run = stand.gate(&[])?.script(["sh", "-c", script])?;
    screen.line(&format!("sh {} &", run.display()))?;
    screen.shows("printed")?;
    screen.line("echo mine=$((20+22))")?;
    screen.shows("mine=42")?;
    fs::write(stand.work().join("go"), "")?;
    screen.line("fg")?;
    screen.line("word")?;
    let shown = screen.shows("got=word")?;
    ensure!(!shown.contains("word: command not found"), "{shown}");
    screen.shows("chain valid")?;
    Ok(())
}

#[test]
fn a_window_that_is_closed_takes_its_run_with_it() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    let script = "trap 'echo hung up > said; exit' HUP; echo ready; while :; do sleep 0.02; done";
    let run = stand.gate(&[])?.script(["sh", "-c", script])?;
    screen.line(&format!("sh {}", run.display()))?;
    screen.shows("ready")?;
    drop(screen);
    let said = stand.work().join("said");
    until("the command was not told", || {
        Ok(fs::read_to_string(&said).is_ok_and(|text| text == "hung up\n"))
    })?;
    until("the gate outlived the window", || Ok(gates(&stand)?.is_empty()))?;
    stand.verified()?;
    Ok(())
}
