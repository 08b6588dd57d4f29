//! Brings real containers up by a script, and reads what it found out.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::clients::images;
use crate::harness::tollgate;
use crate::process::Running;

/// Containers are started by the dozen, on a machine that does other things.
const LIMIT: Duration = Duration::from_mins(5);
/// The programs that containers and their world are made of, beside `tollgate`.
const PROGRAMS: [&str; 4] = ["provider", "tollgate-init", "techniques", "attempts"];

/// What a script found out, by name.
#[derive(Debug)]
pub struct Found(BTreeMap<String, String>);

/// The attempts of the catalogue that were made, and the names of those of which a frame arrived in the world.
#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many were made.
    pub attempts: u64,
    /// Whose frames arrived.
    pub arrived: Vec<String>,
}

impl Found {
    /// Runs `script`, a path below `tests`, in namespaces of its own, with the repository, the folders of binaries and images, and `more`.
    ///
    /// # Errors
    /// When something that it needs is not there, or it fails, with all that it wrote.
    pub fn by(script: &str, more: &[&Path]) -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository")?;
        let images = images()?;
        let tollgate = tollgate()?;
        let binaries = tollgate.parent().context("the gate lies in no folder")?;
        for program in PROGRAMS {
            let built = binaries.join(program);
            ensure!(built.is_file(), "{} is not there: run cargo xtask test", built.display());
        }
        let dir = tempfile::TempDir::with_prefix("pods-")?;
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--"])
            .arg(repository.join("tests").join(script))
            .args([repository, binaries, &images])
            .args(more)
            .current_dir(dir.path());
        let outcome = Running::start(&mut command)?.end(LIMIT)?;
        let log = |name| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        ensure!(
            outcome.status.success(),
            "{}{}{}{}",
            outcome.stdout,
            outcome.stderr,
            log("compose.log"),
            log("gate.log")
        );
        let lines = outcome.stdout.lines().filter_map(|line| line.split_once(": "));
        Ok(Self(lines.map(|(name, found)| (name.to_owned(), found.trim().to_owned())).collect()))
    }

    /// What it found out under this name.
    ///
    /// # Errors
    /// When it found nothing, with all that it did.
    pub fn of(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("no {name}: {:#?}", self.0))
    }

    /// Claims something of what it found out under this name.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn is(&self, name: &str, holds: impl FnOnce(&str) -> bool) -> Result<()> {
        let said = self.of(name)?;
        ensure!(holds(said), "{name}: {said}");
        Ok(())
    }

    /// Claims that of all attempts of the catalogue counted under this name those of `arrived` came through.
    ///
    /// # Errors
    /// When others did, or not all were made.
    pub fn let_through(&self, name: &str, attempts: u64, arrived: &[&str]) -> Result<()> {
        let seen = self.catalogue(name)?;
        ensure!(seen.attempts == attempts && seen.arrived == arrived, "{name}: {seen:?}");
        Ok(())
    }

    /// What came of the catalogue's attempts under this name.
    ///
    /// # Errors
    /// When they were not counted.
    pub fn catalogue(&self, name: &str) -> Result<Counted> {
        let found: Value = serde_json::from_str(self.of(name)?)?;
        let attempts = found.get("attempts").and_then(Value::as_u64).context("no attempts")?;
        let arrived = found.get("arrived").and_then(Value::as_array).context("no count")?;
        let name = |name: &Value| name.as_str().map(str::to_owned).context("a name is no text");
        Ok(Counted { attempts, arrived: arrived.iter().map(name).collect::<Result<_>>()? })
    }
}
