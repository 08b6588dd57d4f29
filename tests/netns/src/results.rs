//! What a run found, as it is kept beside the catalogue and shown in the threat model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tollgate_init::mode::Mode;

use crate::attempt::Report;
use crate::case::{Case, Form, Who};
use crate::catalogue::{Elsewhere, elsewhere};
use crate::judge::{Sight, State};

/// Where the last recorded run lies, below the repository.
pub const RECORD: &str = "tests/netns/results.json";

/// What stands in the way of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// A pod's gate, in this mode.
    Pod(Mode),
    /// `tollgate exec`.
    Exec,
}

/// Behind what one case was tried, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Behind what.
    pub behind: Behind,
    /// By whom.
    pub who: Who,
}

impl Trial {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.behind, self.who) {
            (Behind::Exec, Who::Agent) => "exec, user",
            (Behind::Exec, Who::Root) => "exec, root",
            (Behind::Pod(Mode::Kernel), Who::Agent) => "pod, user",
            (Behind::Pod(Mode::Kernel), Who::Root) => "pod, root",
            (Behind::Pod(Mode::NftCgroup), Who::Agent) => "nft-cgroup, user",
            (Behind::Pod(Mode::NftCgroup), Who::Root) => "nft-cgroup, root",
            (Behind::Pod(Mode::NftUser), Who::Agent) => "nft-user, user",
            (Behind::Pod(Mode::NftUser), Who::Root) => "nft-user, root",
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// The kernel's version, without what its builder appended.
    pub kernel: String,
    /// Every case, in the order of the catalogue.
    pub cases: Vec<Row>,
    /// What other tests show.
    pub elsewhere: Vec<Elsewhere>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its part of the table.
    pub group: String,
    /// What is tried.
    pub says: String,
    /// The forms it is about.
    pub form: Form,
    /// What stands in the way.
    pub closed_by: String,
    /// What was found, by trial.
    pub found: BTreeMap<String, Found>,
}

/// What was found in one trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The state.
    pub state: State,
    /// What the program said it saw, or why nothing was shown.
    pub saw: String,
}

impl Found {
    /// It held.
    #[must_use]
    pub fn held(report: &Report) -> Self {
        Self { state: State::Held, saw: report.said() }
    }

    /// Nothing was shown.
    #[must_use]
    pub const fn not_run(why: String) -> Self {
        Self { state: State::NotRun, saw: why }
    }

    /// It did not hold, and this was declared.
    #[must_use]
    pub fn left(sight: &Sight, why: &str) -> Self {
        let state = if sight.frames.is_empty() { State::Weaker } else { State::Open };
        Self { state, saw: format!("{}; {why}", sight.report.said()) }
    }

    /// It did not hold.
    #[must_use]
    pub fn leaked(faults: &[String]) -> Self {
        Self { state: State::Leaked, saw: faults.join("; ") }
    }
}

impl Row {
    /// A case about which nothing is known yet.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        Self {
            name: case.name.to_owned(),
            group: case.group.to_owned(),
            says: case.says.to_owned(),
            form: case.form,
            closed_by: case.closed_by.to_owned(),
            found: BTreeMap::new(),
        }
    }

    fn without_findings(&self) -> Self {
        Self { found: BTreeMap::new(), ..self.clone() }
    }
}

impl Results {
    /// The catalogue on this kernel, with nothing found yet.
    ///
    /// # Errors
    /// When the kernel does not tell its version.
    pub fn of(cases: &[Case]) -> Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let kernel = release.split('-').next().unwrap_or_default().trim().to_owned();
        let elsewhere = elsewhere();
        Ok(Self { kernel, cases: cases.iter().map(Row::of).collect(), elsewhere })
    }

    /// Enters what was found.
    pub fn enter(&mut self, case: &str, trial: Trial, found: Found) {
        if let Some(row) = self.cases.iter_mut().find(|row| row.name == case) {
            row.found.insert(trial.name().to_owned(), found);
        }
    }

    /// Each trial of each case.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Found)> {
        self.cases.iter().flat_map(|row| {
            row.found.iter().map(|(trial, found)| (row.name.as_str(), trial.as_str(), found))
        })
    }

    /// What it tells beside the findings, which the code alone decides.
    #[must_use]
    pub fn catalogue(&self) -> (Vec<Row>, &[Elsewhere]) {
        (self.cases.iter().map(Row::without_findings).collect(), &self.elsewhere)
    }

    /// The recorded run.
    ///
    /// # Errors
    /// When there is none, or it is of another form.
    pub fn recorded() -> Result<Self> {
        let path = place()?;
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Makes this the recorded run.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&self) -> Result<()> {
        let path = place()?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// How many trials are in each state.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (.., found) in self.all() {
            *counts.entry(found.state.word().to_owned()).or_insert(0) += 1;
        }
        counts
    }
}

fn place() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).context("the package lies in no repository")?;
    Ok(root.join(RECORD))
}
