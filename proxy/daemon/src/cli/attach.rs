//! `tollgate attach` and `detach`: services of this host, sent through the gate by the kernel.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::common::{Common, who_asks};
use super::failure::{Ended, Exit, Failure};
use super::kill::{ask_existing, unexpected};
use super::out::{Line, Out, Paint, grouped};
use super::when;
use crate::attached::{ADVISORY, Listed, Standing, Target, UNPINNED};
use crate::gate::protocol::{Act, Answer};

/// Flags of `tollgate attach`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate attach --unit refund-bot\n  tollgate attach --cgroup /agents.slice\n  tollgate attach --list"
)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    which: Which,

    /// Show what is attached
    #[arg(long, conflicts_with_all = ["cgroup", "unit"])]
    list: bool,

    #[command(flatten)]
    common: Common,
}

/// Flags of `tollgate detach`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate detach --unit refund-bot")]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    common: Common,
}

/// A control group, by its path or by the unit it belongs to.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Which {
    /// The control group, from the root of the hierarchy or as a folder of its mount
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,

    /// The systemd unit; .service may be left out
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
}

impl Which {
    fn target(&self) -> Result<Target, Failure> {
        match (&self.cgroup, &self.unit) {
            (Some(path), None) => Ok(Target::Cgroup(path.clone())),
            (None, Some(unit)) => Ok(Target::Unit(unit.clone())),
            (None, None) | (Some(_), Some(_)) => {
                Err(Failure::usage("name one: --cgroup PATH or --unit NAME"))
            }
        }
    }
}

/// Attaches, or lists.
pub(crate) fn attach(args: &AttachArgs, out: &mut Out) -> Ended {
    let AttachArgs { which, common, .. } = args;
    if args.list {
        return list(common, out);
    }
    let act = Act::Attach { target: which.target()?, by: who_asks() };
    let answer = ask_existing(common, act)?;
    let Answer::Attached { attachment, entry } = answer else { return Err(unexpected(&answer)) };
    if common.json {
        let said = json!({
            "cgroup": attachment.cgroup, "at": attachment.at, "entry": entry,
            "enforcement": "advisory", "note": ADVISORY,
        });
        out.json(&said)?;
        return Ok(Exit::Done);
    }
    let line = Line::new().paint(Paint::Good, "attached").text(format!(": {}", attachment.cgroup));
    out.line(&line.text(format!(" · entry {}", grouped(entry))))?;
    out.line(&Line::new().paint(Paint::Warn, ADVISORY))?;
    out.line(&Line::new().text(UNPINNED))?;
    Ok(Exit::Done)
}

/// Lets go.
pub(crate) fn detach(args: &DetachArgs, out: &mut Out) -> Ended {
    let act = Act::Detach { target: args.which.target()?, by: who_asks() };
    let answer = ask_existing(&args.common, act)?;
    let Answer::Detached { attachment, entry } = answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&json!({ "cgroup": attachment.cgroup, "entry": entry }))?;
        return Ok(Exit::Done);
    }
    let line = Line::new().text(format!("detached: {}", attachment.cgroup));
    out.line(&line.text(format!(" · entry {}", grouped(entry))))?;
    Ok(Exit::Done)
}

fn list(common: &Common, out: &mut Out) -> Ended {
    let answer = ask_existing(common, Act::Attachments)?;
    let Answer::Attachments { attachments } = answer else { return Err(unexpected(&answer)) };
    if common.json {
        out.json(&json!({ "attachments": attachments }))?;
        return Ok(Exit::Done);
    }
    if attachments.is_empty() {
        out.line(&Line::of("nothing is attached"))?;
    }
    for Listed { attachment, standing } in &attachments {
        let (paint, word) = match standing {
            Standing::Redirected => (Paint::Good, "redirected"),
            Standing::Absent => (Paint::Warn, "not there"),
            Standing::Refused => (Paint::Bad, "refused"),
        };
        let since = when::shown(attachment.at, out.is_terminal());
        let line = Line::new().paint(paint, word).text(format!("  {}", attachment.cgroup));
        out.line(&line.text(format!("  since {since}")))?;
    }
    Ok(Exit::Done)
}
