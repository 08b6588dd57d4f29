//! The agent's process as a test holds it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Ask, Line, Said, Told};

/// An agent that runs.
#[derive(Debug)]
pub struct Caller {
    child: Child,
    stdin: Mutex<Option<ChildStdin>>,
    reading: Option<JoinHandle<()>>,
    heard: Arc<Heard>,
    next: AtomicU64,
}

/// What it said of each request.
#[derive(Debug)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
    stderr: File,
}

#[derive(Debug, Default)]
struct State {
    begun: HashMap<u64, bool>,
    told: HashMap<u64, Told>,
    ended: bool,
}

/// A request that was asked.
#[derive(Debug)]
pub struct Pending {
    heard: Arc<Heard>,
    id: u64,
}

impl Caller {
    /// Starts it by this command, whose last word is the agent's program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let stderr = tempfile::tempfile()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let stdin = Mutex::new(child.stdin.take());
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let heard = Heard { state: Mutex::default(), changed: Condvar::new(), stderr };
        let heard = Arc::new(heard);
        let hearing = Arc::clone(&heard);
        let reading = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(said) = serde_json::from_str(&line) {
                    hearing.note(said);
                }
            }
            hearing.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            hearing.changed.notify_all();
        });
        Ok(Self { child, stdin, reading: Some(reading), heard, next: AtomicU64::new(0) })
    }

    /// Asks, and does not wait.
    ///
    /// # Errors
    /// When the agent has ended.
    pub fn ask(&self, ask: &Ask) -> Result<Pending> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let line = serde_json::to_string(&Line { id, ask: ask.clone() })? + "\n";
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = stdin.as_mut().context("no stdin")?.write_all(line.as_bytes());
        sent.with_context(|| format!("the agent ended: {}", self.heard.complaint()))?;
        Ok(Pending { heard: Arc::clone(&self.heard), id })
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end when all is answered, and waits for that.
    ///
    /// # Errors
    /// When it failed.
    pub fn end(mut self) -> Result<()> {
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the agent failed: {}", self.heard.complaint());
        }
        Ok(())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // Fails where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(reading) = self.reading.take() {
            drop(reading.join());
        }
    }
}

impl Heard {
    fn complaint(&self) -> String {
        let mut text = String::new();
        let read = self.stderr.try_clone().and_then(|mut file| {
            file.rewind()?;
            file.read_to_string(&mut text)
        });
        read.map_or_else(|error| error.to_string(), |_size| text)
    }

    fn note(&self, said: Said) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Said::Begun(id) => drop(state.begun.insert(id, true)),
            Said::Told(id, told) => drop(state.told.insert(id, told)),
        }
        self.changed.notify_all();
    }

    fn wait<T>(&self, limit: Duration, look: impl Fn(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            if state.ended {
                return None;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Pending {
    /// Waits until the body of the answer has begun to come.
    ///
    /// # Errors
    /// When the request is over without that, or `limit` passes.
    pub fn begun(&self, limit: Duration) -> Result<()> {
        let id = self.id;
        let begun = self.heard.wait(limit, |state| {
            let told = state.told.get(&id).cloned();
            state.begun.contains_key(&id).then_some(Ok(())).or(told.map(Err))
        });
        match begun {
            Some(Ok(())) => Ok(()),
            Some(Err(told)) => bail!("it is over before it began: {told:?}"),
            None => bail!("no answer begins within {limit:?}: {}", self.heard.complaint()),
        }
    }

    /// Waits for the end of the request.
    ///
    /// # Errors
    /// When it does not come within `limit`, or the agent ends.
    pub fn told(&self, limit: Duration) -> Result<Told> {
        let id = self.id;
        let told = self.heard.wait(limit, |state| state.told.get(&id).cloned());
        told.with_context(|| format!("no end within {limit:?}: {}", self.heard.complaint()))
    }

    /// Whether the request is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.heard.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.told.contains_key(&self.id)
    }
}
