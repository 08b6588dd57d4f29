//! `tollgate check`: whether this machine can run a gate. Nothing leaves the machine for it.

mod config;
mod form;
mod kernel;
mod place;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::common::{CONFIG, Common};
use super::failure::{Ended, Exit};
use super::out::{Line, Out, Paint};

/// Flags of `tollgate check`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate check\n  tollgate check --config /etc/tollgate/tollgate.yaml --json"
)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    common: Common,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Good,
    Warning,
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Item {
    name: &'static str,
    level: Level,
    found: String,
    /// The next command to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Item {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Good, found: found.into(), next: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, found: found.into(), next: Some(next.into()) }
    }

    fn failure(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name, level: Level::Failure, found: found.into(), next: Some(next.into()) }
    }

    fn lines(&self) -> Vec<Line> {
        let (sign, paint) = match self.level {
            Level::Good => ("✓", Paint::Good),
            Level::Warning => ("‼", Paint::Warn),
            Level::Failure => ("✗", Paint::Bad),
        };
        let first = Line::new()
            .paint(paint, sign)
            .text(" ")
            .column(Paint::Plain, 16, self.name)
            .text(&self.found);
        let next = self
            .next
            .as_ref()
            .map(|next| Line::new().text(" ".repeat(18)).paint(Paint::Dim, "next: ").text(next));
        std::iter::once(first).chain(next).collect()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    items: &'a [Item],
}

/// Looks at the machine, and at the configuration of its gate if there is one.
pub(crate) fn run(args: &CheckArgs, out: &mut Out) -> Ended {
    let there = || Path::new(CONFIG).exists().then(|| PathBuf::from(CONFIG));
    let config = args.common.config.clone().or_else(there);
    let (config, state) = config.map(|file| config::items(&file)).unwrap_or_default();
    let mut common = args.common.clone();
    common.state = common.state.or(state);
    // What is wrong with it has been said; the rest of the machine is looked at all the same.
    common.config = None;
    let mut items = vec![kernel::version()];
    items.extend(form::items());
    items.extend([
        place::state(&common),
        place::disk(&common),
        place::clock(&common, out.is_terminal() && !common.json),
        place::authorities(),
    ]);
    items.extend(config);
    let worst = items.iter().map(|item| item.level).max().unwrap_or(Level::Failure);
    if args.common.json {
        out.json(&Document { ok: worst != Level::Failure, items: &items })?;
    } else {
        for line in items.iter().flat_map(Item::lines) {
            out.line(&line)?;
        }
        out.line(&Line::new())?;
        out.line(&match worst {
            Level::Good => Line::of("a gate can run here: tollgate exec -- COMMAND"),
            Level::Warning => Line::of("a gate can run here; see ‼ above"),
            Level::Failure => Line::of("a gate cannot run here until ✗ is put right"),
        })?;
    }
    Ok(if worst == Level::Failure { Exit::No } else { Exit::Done })
}
