//! `tollgate exec` as a user at a terminal sees it: keys, screens, streams, exit codes, and the second terminal beside it.

mod inside;
mod jobs;
mod keys;
mod pipes;
mod policy;
mod runs;
mod screen;
mod second;
mod streams;
mod unread;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::harness::{LIMIT, Run, Stand};
use e2e::process::Outcome;

/// Asks a model as a shell script would: `ask PROMPT [TOKENS]` prints the answer and, last, its status.
const ASK: &str = r#"ask() {
    curl --silent --show-error --max-time 50 --write-out '\n%{http_code}\n' \
        -H "authorization: Bearer $OPENAI_API_KEY" -H 'content-type: application/json' \
        --data-binary "{\"model\":\"gpt-5-mini\",\"max_completion_tokens\":${2:-100},\"messages\":[{\"role\":\"user\",\"content\":\"$1\"}]}" \
        https://api.openai.com/v1/chat/completions
}
await() { while [ ! -e "$1" ]; do sleep 0.02; done; }
"#;

/// The command line of a shell script that may [`ASK`].
fn asking(script: &str) -> [String; 3] {
    ["sh".to_owned(), "-c".to_owned(), format!("{ASK}{script}")]
}

/// Waits until `happened` says so.
fn until(what: &str, mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !happened()? {
        ensure!(Instant::now() < deadline, "{what} within {LIMIT:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// Makes an executable shell script.
fn program(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Runs `script` in a shell of the user's own, outside; `$RUN` in it is the governed run.
fn outside(stand: &Stand, run: Run<'_>, words: &[&str], script: &str) -> Result<Outcome> {
    let file = run.script(words)?;
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script]).env("RUN", file).current_dir(stand.work());
    e2e::process::Running::start(&mut shell)?.end(LIMIT)
}
