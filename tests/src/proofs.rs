//! What the proofs share: a client of the standard library alone, the gate's processes as the system shows them, and waiting.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;

use crate::by::By;
use crate::clients::{Language, Words};
use crate::harness::Stand;
use crate::process::Outcome;

/// Long enough for a busy machine, short enough for a test.
pub const SOON: Duration = Duration::from_secs(15);

/// One answer as the asking client saw it.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// The trace it was asked under, which the ledger keeps with the decision.
    pub trace: String,
    /// The status, where a head came.
    pub status: Option<u16>,
    /// The answer came to its end.
    pub whole: bool,
    /// The body.
    pub body: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What the client's library raised.
    pub error: Option<String>,
}

impl Answer {
    /// The message of an error in the provider's format.
    ///
    /// # Errors
    /// When the body is no such error.
    pub fn message(&self) -> Result<String> {
        let body: Value =
            serde_json::from_str(&self.body).with_context(|| format!("not JSON: {self:?}"))?;
        let message = body.pointer("/error/message").and_then(Value::as_str);
        Ok(message.with_context(|| format!("no message: {self:?}"))?.to_owned())
    }
}

/// The answers among the whole lines of what the asking client wrote.
#[must_use]
pub fn answers(stdout: &str) -> Vec<Answer> {
    let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Python of the standard library alone, running this program with these arguments.
///
/// # Errors
/// When Python is not installed.
pub fn python(stand: &Stand, program: &str, arguments: &[&str]) -> Result<Words> {
    let interpreter = match stand.by() {
        By::Root => stand.clients().agent(Language::Python)?.into_iter().next(),
        // The clients may lie where only root may enter; the proofs need none of them.
        By::User => Some("/usr/bin/python3".to_owned()),
    };
    let mut words = vec![interpreter.context("no Python")?, "-c".to_owned(), program.to_owned()];
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    Ok(words)
}

/// The command that asks as `spec` says; see `clients/proofs/ask.py`.
///
/// # Errors
/// When Python is not installed.
pub fn asking(stand: &Stand, spec: &Value) -> Result<Words> {
    python(stand, include_str!("../clients/proofs/ask.py"), &[&spec.to_string()])
}

/// Asks under the gate to the end; the answers and how `tollgate exec` ended.
///
/// # Errors
/// When the run does not end.
pub fn ask(stand: &Stand, args: &[&str], spec: &Value) -> Result<(Vec<Answer>, Outcome)> {
    let outcome = stand.gate(args)?.run(asking(stand, spec)?)?;
    Ok((answers(&outcome.stdout), outcome))
}

/// The one answer to the one request of `spec`.
///
/// # Errors
/// When there is not exactly one.
pub fn ask_once(stand: &Stand, args: &[&str], spec: &Value) -> Result<Answer> {
    let (answers, outcome) = ask(stand, args, spec)?;
    match <[Answer; 1]>::try_from(answers) {
        Ok([answer]) => Ok(answer),
        Err(several) => bail!("{} answers: {outcome:?}", several.len()),
    }
}

/// The one document that a command of `tollgate` prints with `--json`.
///
/// # Errors
/// When it fails or prints something else.
pub fn said(stand: &Stand, words: &[&str]) -> Result<Value> {
    let outcome = stand.tollgate(&[words, &["--json"]].concat())?;
    serde_json::from_str(&outcome.stdout).with_context(|| format!("{words:?}: {outcome:?}"))
}

/// All that `tollgate tail` knows.
///
/// # Errors
/// When it fails or prints something else.
pub fn tail(stand: &Stand) -> Result<Vec<Value>> {
    let outcome = stand.tollgate(&["tail", "-n", "1000000", "--json"])?;
    let lines = outcome.stdout.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().with_context(|| format!("{outcome:?}"))
}

/// How many lines of the tail say that.
#[must_use]
pub fn became(tail: &[Value], what: &str) -> usize {
    tail.iter().filter(|line| line.get("became").and_then(Value::as_str) == Some(what)).count()
}

/// A number in a document.
///
/// # Errors
/// When there is none.
pub fn number(document: &Value, pointer: &str) -> Result<u64> {
    let found = document.pointer(pointer).and_then(Value::as_u64);
    found.with_context(|| format!("no number {pointer} in {document}"))
}

/// Looks again and again until there is something.
///
/// # Errors
/// When there is nothing within `limit`, or looking fails.
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until every decision that forwarded has come to its outcome: nothing is left open.
///
/// # Errors
/// When one is.
pub fn settled(stand: &Stand) -> Result<()> {
    let ids: Vec<String> = tail(stand)?
        .iter()
        .filter(|line| line.get("became").and_then(Value::as_str) == Some("forwarded"))
        .filter_map(|line| line.get("id").and_then(Value::as_str).map(str::to_owned))
        .collect();
    for id in ids {
        until(SOON, "an outcome", || {
            let found = said(stand, &["inspect", &id])?;
            Ok(found.pointer("/outcome/settled").is_some_and(Value::is_object).then_some(()))
        })?;
    }
    Ok(())
}

/// A process as the system shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id out here.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its id in its own namespace.
    pub inside: i32,
    /// Names its namespace of processes.
    pub namespace: String,
    /// Its command line, with spaces.
    pub command: String,
}

/// All processes but zombies.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn processes() -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        if let Some(process) = process(&path) {
            all.push(process);
        }
    }
    Ok(all)
}

/// None where it ended meanwhile.
fn process(path: &Path) -> Option<Process> {
    let pid = path.file_name()?.to_str()?.parse().ok()?;
    let status = fs::read_to_string(path.join("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).map(str::to_owned)
    };
    if field("State:")?.starts_with('Z') {
        return None;
    }
    let command = fs::read(path.join("cmdline")).ok()?;
    Some(Process {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        inside: field("NSpid:")?.split_whitespace().last()?.parse().ok()?,
        namespace: fs::read_link(path.join("ns/pid")).ok()?.to_string_lossy().into_owned(),
        command: String::from_utf8_lossy(&command).replace('\0', " "),
    })
}

/// The gate of a state folder: the process that was started as one and has the folder's ledger open.
///
/// # Errors
/// When there is none soon.
pub fn gate(stand: &Stand) -> Result<Process> {
    until(SOON, "a gate of the state folder", || running_gate(stand))
}

/// Waits until the state folder has no gate: it ends by itself after its last run.
///
/// # Errors
/// When it goes on.
pub fn gate_ended(stand: &Stand) -> Result<()> {
    until(SOON, "the gate ends after its last run", || {
        Ok(running_gate(stand)?.is_none().then_some(()))
    })
}

fn running_gate(stand: &Stand) -> Result<Option<Process>> {
    let state = fs::canonicalize(stand.state())?;
    let gates = processes()?.into_iter().filter(|process| process.command.contains("__gate"));
    Ok(gates.into_iter().find(|process| {
        let open = fs::read_dir(format!("/proc/{}/fd", process.pid));
        let links = open.into_iter().flatten().flatten();
        links.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(&state)))
    }))
}

/// The first process inside a run, and the one that it was started for.
///
/// # Errors
/// When they are not there soon.
pub fn inside(front: u32) -> Result<(Process, Process)> {
    let front = i32::try_from(front)?;
    until(SOON, "a command inside the run", || {
        let all = processes()?;
        let mut below = vec![front];
        for _ in 0..4 {
            let more = all.iter().filter(|p| below.contains(&p.parent)).map(|p| p.pid);
            below.extend(more.collect::<Vec<_>>());
        }
        let init = all.iter().find(|p| below.contains(&p.pid) && p.inside == 1);
        let command = init.and_then(|init| all.iter().find(|p| p.parent == init.pid));
        Ok(init.cloned().zip(command.cloned()))
    })
}

/// Waits until nothing lives in that namespace of processes.
///
/// # Errors
/// When something still does.
pub fn empty(namespace: &str) -> Result<()> {
    until(SOON, &format!("nothing lives in {namespace}"), || {
        let left = processes()?.into_iter().any(|process| process.namespace == namespace);
        Ok((!left).then_some(()))
    })
}

/// `kill -9`.
///
/// # Errors
/// When there is no such process.
pub fn slay(pid: i32) -> Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("cannot kill {pid}"))
}
