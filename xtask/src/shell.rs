//! Commands are run in the open: each is printed before it starts, and one that fails says which it was.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::bound::within;

/// Prints one line on stderr; a closed stderr is no reason to stop the work.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "{line}"));
}

/// The repository: the folder above `xtask/`.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies in no folder")?.to_owned())
}

/// What is downloaded or built once per machine, outside the clone: `$TOLLGATE_CACHE`, else `~/.cache/tollgate`.
pub(crate) fn cache() -> Result<PathBuf> {
    let dir = match std::env::var_os("TOLLGATE_CACHE") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither TOLLGATE_CACHE nor HOME is set")?,
        )
        .join(".cache/tollgate"),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// A command that runs in the repository's root.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(root()?);
    Ok(command)
}

/// Runs a command whose output the reader sees.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(format_args!("$ {}", shown(command)));
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// How often something is fetched before the network is held to be at fault.
const ATTEMPTS: u32 = 3;
/// How long it has to come back, and twice that the next time.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs a command that fetches something, again where it fails or hangs: it begins anew each time.
pub(crate) fn fetch(minutes: u64, command: impl Fn() -> Result<Command>) -> Result<()> {
    let limit = Duration::from_mins(minutes);
    let mut attempt = 1;
    loop {
        let mut command = command()?;
        let late = format!("{} did not end within {minutes} minutes", shown(&command));
        let Err(error) = within(limit, &late, || run(&mut command)) else { return Ok(()) };
        if attempt == ATTEMPTS {
            return Err(error.context(format!("failed {ATTEMPTS} times: is there a network?")));
        }
        say(format_args!("{error:#}; once more"));
        thread::sleep(PAUSE * attempt);
        attempt += 1;
    }
}

/// Runs a command and returns what it wrote on its stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !out.status.success() {
        bail!(
            "{} ended with {}: {}",
            shown(command),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    String::from_utf8(out.stdout).with_context(|| format!("{} wrote no UTF-8", shown(command)))
}

/// Whether a program of that name is on the `PATH`, or a file where an absolute path says.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

/// Whether this runs as the superuser.
pub(crate) fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc is not mounted")?;
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .context("no Uid line in /proc/self/status")?;
    Ok(uids.split_whitespace().nth(1) == Some("0"))
}

/// Refuses, with the way out, where namespaces and kernel programs could not be set up.
pub(crate) fn needs_root(chore: &str) -> Result<()> {
    ensure!(
        is_root()?,
        "`cargo xtask {chore}` needs root: it makes network namespaces and loads kernel programs. \
         Run: sudo -E env \"PATH=$PATH\" cargo xtask {chore}"
    );
    Ok(())
}
