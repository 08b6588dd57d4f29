//! Each suite of tests runs within a bound of its own, and the log says how long it took.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bound::within;
use crate::shell::say;

/// Names the file to which the times are added.
const TIMES: &str = "SUITE_TIMES";
/// The slowest takes two minutes on two processors.
const MINUTES: u64 = 12;
/// How long the path of the folder for temporary files may be: a socket's has 107 bytes, and tests make some below it.
const LONGEST: usize = 40;
/// How many of the slowest are named at the end.
const NAMED: usize = 12;

/// Has cargo run all suites of the workspace, each by [`run`], and names the slowest.
pub(crate) fn all(cargo: &mut Command, times: &Path) -> Result<()> {
    let program = std::env::current_exe()?;
    let runner = format!("target.'cfg(unix)'.runner=['{}', 'suite', '--']", program.display());
    fs::write(times, "")?;
    cargo.args(["--config", &runner]).env(TIMES, times);
    let done = crate::shell::run(cargo);
    let text = fs::read_to_string(times)?;
    let mut took: Vec<(f64, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(seconds, name)| Some((seconds.parse().ok()?, name)))
        .collect();
    took.sort_by(|one, other| other.0.total_cmp(&one.0));
    for (seconds, name) in took.iter().take(NAMED) {
        say(format_args!("{seconds:>8.1} s  suite {name}"));
    }
    done
}

/// Runs one suite, as cargo would itself, and returns its exit code.
pub(crate) fn run(words: &[OsString]) -> Result<u8> {
    let (program, arguments) = words.split_first().context("no suite is named")?;
    let name = name(Path::new(program));
    let late = format!(
        "suite {name} did not end within {MINUTES} minutes: a test in it hangs, the last that are named above"
    );
    let folder = std::env::var_os("TMPDIR").filter(|folder| folder.len() > LONGEST);
    let began = Instant::now();
    let status = within(Duration::from_mins(MINUTES), &late, || {
        let mut suite = Command::new(program);
        suite.args(arguments).env_remove(TIMES);
        if let Some(long) = folder {
            say(format_args!("{}: too long a path for sockets below it, so /tmp", long.display()));
            suite.env("TMPDIR", "/tmp");
        }
        suite.status().with_context(|| format!("cannot start {name}"))
    })?;
    let took = began.elapsed().as_secs_f64();
    if let Some(times) = std::env::var_os(TIMES) {
        let mut times = OpenOptions::new().append(true).open(times)?;
        writeln!(times, "{took:.1} {name}")?;
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// `terminal` for `…/deps/terminal-0123456789abcdef`.
fn name(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 16 => name.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{name, run};

    #[test]
    fn a_suite_ends_as_its_program_does() {
        for (script, code) in [("exit 0", 0), ("exit 101", 101), ("kill -KILL $$", 137)] {
            assert_eq!(run(&["sh", "-c", script].map(OsString::from)).unwrap(), code, "{script}");
        }
    }

    #[test]
    fn a_suite_is_named_as_its_source() {
        assert_eq!(name("/t/debug/deps/without_root-ae3cb9d0e5c4c431".as_ref()), "without_root");
        assert_eq!(name("/t/debug/deps/stub-gate".as_ref()), "stub-gate");
    }
}
