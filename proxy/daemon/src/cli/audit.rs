//! `tollgate audit verify`: whether all that was acknowledged is there, unchanged. No gate needed.

use audit::{Fault, OpenError, Report};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint, counted, grouped};
use crate::folder::StateFolder;
use crate::ledger_view;

/// How many faults are shown where nobody asked for JSON.
const SHOWN: usize = 20;

/// Flags of `tollgate audit`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate audit verify")]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Checks every byte of the ledger: exit code 0 if all that was acknowledged is there, 1 if not
    #[command(
        before_help = "Example:\n  tollgate audit verify\n  tollgate audit verify --state /mnt/copy --json"
    )]
    Verify(Common),
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// What a valid report does not show.
    excludes: &'static str,
}

const EXCLUDES: &str = "a rewrite by the holder of the master key, or a whole older copy with its mark, is not excluded";

/// Verifies the ledger.
pub(crate) fn run(args: &AuditArgs, out: &mut Out) -> Ended {
    let Verb::Verify(common) = &args.verb;
    let state = common.folder()?;
    let key = ledger_view::master(&state)?;
    match audit::verify(&state.path(), None, &key) {
        Ok(report) => report_on(&report, common.json, out),
        Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            removed(&state, common.json, out)
        }
        Err(error) => Err(Failure::could_not(error)),
    }
}

/// There is no ledger. If there was one, that is the answer; if not, there is nothing to verify.
fn removed(state: &StateFolder, json: bool, out: &mut Out) -> Ended {
    let trace = ["checkpoint", "checkpoints", "snapshots", "vault"];
    let Some(left) = trace.into_iter().find(|name| state.path().join(name).exists()) else {
        return Err(ledger_view::ViewError::Empty(state.shown().display().to_string()).into());
    };
    let what = format!("the ledger is gone: {left} is still there");
    if json {
        out.json(&json!({ "valid": false, "entries": 0, "faults": [{ "what": what }] }))?;
    } else {
        out.line(&Line::new().paint(Paint::Bad, "invalid").text(format!(": {what}")))?;
    }
    Ok(Exit::No)
}

fn report_on(report: &Report, json: bool, out: &mut Out) -> Ended {
    let exit = if report.valid { Exit::Done } else { Exit::No };
    if json {
        out.json(&Document { report, excludes: EXCLUDES })?;
        return Ok(exit);
    }
    let counts = format!(
        ": {}, {}, {}",
        counted(report.entries, "entry", "entries"),
        counted(report.segments as u64, "segment", "segments"),
        counted(report.checkpoints as u64, "signed checkpoint", "signed checkpoints"),
    );
    if report.valid {
        out.line(&Line::new().paint(Paint::Good, "valid").text(counts).text(", no gap"))?;
    } else {
        let faults = counted(report.faults.len() as u64, "fault", "faults");
        out.line(
            &Line::new().paint(Paint::Bad, "invalid").text(counts).text(format!(", {faults}")),
        )?;
    }
    for fault in report.faults.iter().take(SHOWN) {
        out.line(&Line::new().paint(Paint::Bad, "  ✗ ").text(place(fault)).text(&fault.what))?;
    }
    if report.faults.len() > SHOWN {
        let more = report.faults.len() - SHOWN;
        out.line(&Line::of(format!("  … and {more} more: tollgate audit verify --json")))?;
    }
    if let Some(torn) = &report.torn_tail {
        let what = format!(
            "a torn tail of {} bytes after entry {}: a crash left it, nobody was told that it is there",
            grouped(torn.bytes),
            torn.seq.checked_sub(1).map_or_else(|| "none".to_owned(), grouped),
        );
        out.line(&Line::new().paint(Paint::Warn, "  ‼ ").text(what))?;
    }
    for entry in &report.accepted_losses {
        let what = format!("entry {}: an operator accepted a loss here", grouped(*entry));
        out.line(&Line::new().paint(Paint::Warn, "  ‼ ").text(what))?;
    }
    if let Some(key) = &report.verifier_key {
        out.line(&Line::new().paint(Paint::Dim, format!("  checkpoints verify under {key}")))?;
    }
    out.line(&Line::new().paint(Paint::Dim, format!("  {EXCLUDES}")))?;
    Ok(exit)
}

fn place(fault: &Fault) -> String {
    match (fault.segment, fault.seq) {
        (_, Some(seq)) => format!("entry {}: ", grouped(seq)),
        (Some(segment), None) => format!("segment {}: ", grouped(segment)),
        (None, None) => String::new(),
    }
}
