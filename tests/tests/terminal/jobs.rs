//! Keys, window size, full-screen programs: what a terminal gives a program in it.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::Stand;

use super::screen::Screen;
use super::until;

/// What the user types to start the run that `script` describes, and to see how it ended.
fn typed(stand: &Stand, script: &str) -> Result<String> {
    let file = stand.gate(&[])?.script(["sh", "-c", script])?;
    Ok(format!("sh {}; echo code=$?", file.display()))
}

#[test]
fn control_c_reaches_the_command_and_the_front_lives_to_say_how_it_went() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 120, 24)?;
    let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.02; done";
    screen.line(&typed(&stand, script)?)?;
    screen.shows("ready")?;
    screen.key("C-c")?;
    let shown = screen.shows("code=9")?;
    ensure!(shown.contains("caught") && shown.contains("chain valid"), "{shown}");
    stand.verified()?;
    Ok(())
}

#[test]
fn a_command_that_ends_by_control_c_ends_the_run_with_130() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 120, 24)?;
    screen.line(&typed(&stand, "echo ready; exec sleep 60")?)?;
    screen.shows("ready")?;
    screen.key("C-c")?;
    let shown = screen.shows("code=130")?;
    ensure!(shown.contains("chain valid"), "{shown}");
    Ok(())
}

/// The process of this machine whose arguments hold `mark`, and the letter of its state.
fn state(mark: &str) -> Result<char> {
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        // A process may end while it is looked at.
        let Ok(arguments) = fs::read(process.join("cmdline")) else { continue };
        // Its whole first word: the front and the shell have the mark in theirs, too.
        if arguments.split(|byte| *byte == 0).next() != Some(mark.as_bytes()) {
            continue;
        }
        let Ok(stat) = fs::read_to_string(process.join("stat")) else { continue };
        let letter = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        return letter.with_context(|| format!("{stat} has no state"));
    }
    anyhow::bail!("nothing is called {mark}")
}

#[test]
fn control_z_stops_the_run_and_gives_the_shell_back_and_fg_goes_on() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 120, 24)?;
    let mark = format!("counting-{}", std::process::id());
    let count = "echo ready; n=0; while read line; do n=$((n+1)); echo \"heard $n $line\"; done";
    fs::write(stand.work().join("count.sh"), count)?;
    let words = ["bash", "-c", &format!("exec -a {mark} bash count.sh")];
    let file = stand.gate(&[])?.script(words)?;
    screen.line(&format!("sh {}", file.display()))?;
    screen.shows("ready")?;
    screen.line("one")?;
    screen.shows("heard 1 one")?;
    screen.key("C-z")?;
    screen.shows("Stopped")?;
    until("the command was not stopped", || Ok(state(&mark)? == 'T'))?;
    screen.line("echo mine=$((20+22))")?;
    let shown = screen.shows("mine=42")?;
    ensure!(!shown.contains("heard 2"), "the stopped command read the shell's line: {shown}");
    ensure!(state(&mark)? == 'T', "it went on by itself");
    screen.line("fg")?;
    until("the command did not go on", || Ok(state(&mark)? != 'T'))?;
    screen.line("two")?;
    screen.shows("heard 2 two")?;
    screen.key("C-d")?;
    let shown = screen.shows("chain valid")?;
    ensure!(!shown.contains("heard 3"), "{shown}");
    Ok(())
}

#[test]
fn the_command_sees_the_windows_size_and_is_told_when_it_changes() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 90, 20)?;
    let script =
        "trap 'stty size' WINCH; stty size; while :; do sleep 0.02; [ -e done ] && exit 0; done";
    screen.line(&typed(&stand, script)?)?;
    screen.shows("20 90")?;
    screen.resize(130, 31)?;
    screen.shows("31 130")?;
    fs::write(stand.work().join("done"), "")?;
    screen.shows("code=0")?;
    Ok(())
}

#[test]
fn a_pager_draws_reacts_and_leaves_the_screen_as_it_was() -> Result<()> {
    let stand = Stand::new()?;
    let lines: Vec<String> = (1..=200).map(|n| format!("row number {n}")).collect();
    fs::write(stand.work().join("long"), lines.join("\n"))?;
    let screen = Screen::open(&stand, 100, 24)?;
    screen.line("echo before=$((1+1))")?;
    screen.shows("before=2")?;
    screen.line(&typed(&stand, "exec less long")?)?;
    screen.shows("row number 20\n")?;
    ensure!(screen.is_full()?, "less draws among the shell's lines");
    screen.key("Space")?;
    screen.shows("row number 40\n")?;
    screen.resize(100, 12)?;
    screen.line("/number 150")?;
    screen.shows_that("the searched row on the smaller screen", |shown| {
        shown.contains("row number 150\n") && !shown.contains("row number 165\n")
    })?;
    screen.resize(100, 24)?;
    screen.key("q")?;
    let shown = screen.shows("code=0")?;
    ensure!(!screen.is_full()?, "the second screen was left on");
    ensure!(shown.contains("before=2") && !shown.contains("row number"), "{shown}");
    screen.line("echo after=$((1+2))")?;
    let shown = screen.shows("after=3")?;
    ensure!(shown.contains("echo after=$((1+2))"), "the terminal does not echo any more: {shown}");
    Ok(())
}

#[test]
fn an_editor_works_and_the_summary_stands_on_the_restored_screen() -> Result<()> {
    let stand = Stand::new()?;
    let screen = Screen::open(&stand, 100, 24)?;
    screen.line(&typed(&stand, "exec vim -u NONE -i NONE -n note")?)?;
    screen.shows("\"note\" [New")?;
    ensure!(screen.is_full()?, "vim draws among the shell's lines");
    screen.line("ifirst")?;
    screen.shows_that("the first line", |shown| shown.starts_with("first\n"))?;
    screen.line("second")?;
    screen.key("Escape")?;
    screen.line(":wq")?;
    let shown = screen.shows("code=0")?;
    ensure!(!screen.is_full()? && shown.contains("chain valid"), "{shown}");
    let written = fs::read_to_string(stand.work().join("note"))?;
    ensure!(written == "first\nsecond\n\n", "{written:?}");
    Ok(())
}
