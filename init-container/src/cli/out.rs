//! What the commands print, and the exit codes.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    install,
    probes::{Finding, Outcome},
    validate,
};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// The answer is no.
    No = 1,
    /// Wrong use.
    Usage = 2,
    /// Could not: privileges, kernel, node.
    Could = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    what: String,
}

impl Failure {
    pub(super) fn could_not(what: impl fmt::Display) -> Self {
        Self { exit: Exit::Could, what: what.to_string() }
    }

    pub(super) fn usage(what: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, what: what.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::could_not(format_args!("cannot print: {error}"))
    }
}

/// Standard output, as text or as one document.
#[derive(Debug)]
pub(super) struct Out {
    json: bool,
}

impl Out {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints the document, or what `text` says of it.
    pub(super) fn document(
        &mut self,
        document: &impl Serialize,
        text: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.json {
            let line = serde_json::to_string(document).map_err(Failure::could_not)?;
            return Ok(self.line(&line)?);
        }
        Ok(text(self)?)
    }

    /// One line, without what a terminal would obey.
    #[expect(clippy::unused_self, reason = "who prints has been given the right to")]
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{}", harmless(line))
    }

    /// Says why on standard error.
    #[expect(clippy::unused_self, reason = "who prints has been given the right to")]
    pub(super) fn fail(&mut self, failure: &Failure) -> Exit {
        // Where nobody reads, the code is what is left.
        match writeln!(io::stderr().lock(), "tollgate-init: {}", harmless(&failure.what)) {
            Ok(()) | Err(_) => failure.exit,
        }
    }

    pub(super) fn installed(&mut self, report: &install::Report) -> io::Result<()> {
        self.line(&format!("mode {} ({}), in {} ms", report.mode, report.why, report.millis))?;
        for cgroup in &report.cgroups {
            self.line(&format!("  cgroup {} (id {})", cgroup.folder.display(), cgroup.id))?;
        }
        if let Some(pins) = &report.pins {
            self.line(&format!(
                "  programs pinned at {}: {} attached, {} replaced, {} detached",
                pins.display(),
                report.attached,
                report.replaced,
                report.detached
            ))?;
        }
        self.line(&format!("  floor on {}", list(&report.interfaces)))?;
        let ports: Vec<_> = report.inbound.iter().map(u16::to_string).collect();
        self.line(&format!("  inbound ports {}", list(&ports)))?;
        if let Some(state) = &report.state {
            self.line(&format!("  {} is the gate's alone, for its state", state.display()))?;
        }
        for mesh in &report.meshes {
            self.line(&format!("‼ {}: {}", mesh.name, mesh.means))?;
        }
        for weaker in &report.weaker {
            self.line(&format!("‼ {weaker}"))?;
        }
        self.findings(&report.probes)?;
        for next in &report.next {
            self.line(&format!("next: {next}"))?;
        }
        Ok(())
    }

    pub(super) fn validated(&mut self, report: &validate::Report) -> io::Result<()> {
        self.findings(&report.probes)?;
        let verdict = if report.holds { "holds" } else { "does not hold" };
        self.line(&format!("mode {}: {verdict}", report.mode))
    }

    fn findings(&mut self, findings: &[Finding]) -> io::Result<()> {
        for Finding { name, expected, seen, outcome } in findings {
            let (sign, rest) = match outcome {
                Outcome::Holds => ("✓", String::new()),
                Outcome::Fails => ("✗", format!("; expected: {expected}")),
                Outcome::Weaker => ("‼", format!("; stronger: {expected}")),
                Outcome::NotRun => ("-", " (not run)".to_owned()),
            };
            self.line(&format!("{sign} {name:<20} {seen}{rest}"))?;
        }
        Ok(())
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "(none)".to_owned() } else { items.join(", ") }
}

/// Control characters are shown by their number.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // Writing to a string does not fail.
            write!(shown, "\\u{{{:x}}}", u32::from(c)).unwrap_or_default();
        } else {
            shown.push(c);
        }
    }
    shown
}
