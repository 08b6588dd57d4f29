//! A program run to its end within a limit, with what it wrote.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::provider::{Log, Record};

/// How often a program is looked at that somebody waits for.
const GLANCE: Duration = Duration::from_millis(50);

/// What a program left behind.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote on stdout.
    pub stdout: String,
    /// All it wrote on stderr.
    pub stderr: String,
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts a program with an empty stdin.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name, stdout, stderr })
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written on stdout so far.
    ///
    /// # Errors
    /// When the file behind it cannot be read.
    pub fn stdout(&self) -> Result<String> {
        written(&self.stdout)
    }

    /// What it has written on stderr so far.
    ///
    /// # Errors
    /// When the file behind it cannot be read.
    pub fn stderr(&self) -> Result<String> {
        written(&self.stderr)
    }

    /// Waits until its stdout satisfies `wanted`.
    ///
    /// # Errors
    /// When it ends or `limit` passes before that.
    pub fn until_stdout(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            let text = written(&self.stdout)?;
            if wanted(&text) {
                return Ok(text);
            }
            if let Some(status) = ended {
                bail!(
                    "{} ended with {status} before it wrote that: {text}{}",
                    self.name,
                    written(&self.stderr)?
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not write that within {limit:?}: {text}{}",
                    self.name,
                    written(&self.stderr)?
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until what the provider was asked satisfies `wanted`, and returns that.
    ///
    /// # Errors
    /// When it ends or `limit` passes before that.
    pub fn until_asked(
        &mut self,
        log: &Log,
        limit: Duration,
        wanted: impl Fn(&[Record]) -> bool,
    ) -> Result<Vec<Record>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            if let Some(asked) = log.wait(GLANCE, &wanted) {
                return Ok(asked);
            }
            let how = match ended {
                Some(status) => format!("ended with {status}"),
                None if Instant::now() > deadline => format!("went on for {limit:?}"),
                None => continue,
            };
            bail!(
                "{} {how} and the provider was asked {} times: {}{}",
                self.name,
                log.records().len(),
                written(&self.stdout)?,
                written(&self.stderr)?
            );
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When `limit` passes first; the program is killed then.
    pub fn end(mut self, limit: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not end within {limit:?}; stdout: {}; stderr: {}",
                    self.name,
                    written(&self.stdout)?,
                    written(&self.stderr)?
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Outcome { status, stdout: written(&self.stdout)?, stderr: written(&self.stderr)? })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Read by position: the writer shares the descriptor's offset.
fn written(file: &File) -> Result<String> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
