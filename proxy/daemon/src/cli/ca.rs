//! `tollgate ca`: the certificates that the programs behind a gate have to trust, and how one is exchanged for
//! another.

use clap::{Args, Subcommand};
use decide::case::Timestamp;
use serde_json::{Value, json};

use super::common::{Common, who_asks};
use super::failure::{Ended, Exit, Failure};
use super::kill::{answer, unexpected};
use super::out::{Line, Out, grouped};
use super::when;
use crate::clock::Clock;
use crate::gate::client;
use crate::gate::protocol::{Act, Answer, Ask};
use crate::listen::mint::Root;

/// Flags of `tollgate ca`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate ca > tollgate-ca.pem",
    after_help = "While the CA is rotated this prints two certificates: trust both."
)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a new CA that holds beside the old one, and retires the old one
    Rotate(RotateArgs),
}

/// Flags of `tollgate ca rotate`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate ca rotate --overlap 30d\n  tollgate ca > tollgate-ca.pem   # hand this out\n  \
                   tollgate ca rotate --finish"
)]
struct RotateArgs {
    /// How long the old CA signs and both are trusted (`12h`, `30d`); without it, until `--finish`
    #[arg(long, value_name = "TIME")]
    overlap: Option<String>,

    /// Retires the old CA now: programs that trust only it get no connection any more
    #[arg(long, conflicts_with = "overlap")]
    finish: bool,

    #[command(flatten)]
    common: Common,
}

/// Prints them, or exchanges one for another.
pub(crate) fn run(args: &CaArgs, out: &mut Out) -> Ended {
    match &args.verb {
        None => print(&args.common, out),
        Some(Verb::Rotate(rotate)) => self::rotate(rotate, out),
    }
}

fn print(common: &Common, out: &mut Out) -> Ended {
    let state = common.folder_or_new()?;
    let mut conn = client::connect_or_spawn(&state)?;
    let answer = answer(&mut conn, &state, &Ask::Authority)?;
    let Answer::Authority { roots } = answer else { return Err(unexpected(&answer)) };
    if common.json {
        out.json(&listed(&roots))?;
    } else {
        out.raw(&pem(&roots))?;
    }
    Ok(Exit::Done)
}

fn rotate(args: &RotateArgs, out: &mut Out) -> Ended {
    let by = who_asks();
    let act = if args.finish {
        Act::FinishCa { by }
    } else {
        let until = args.overlap.as_deref().map(|span| when::after(Clock::system().now(), span));
        Act::RotateCa { until: until.transpose()?, by }
    };
    let state = args.common.folder_or_new()?;
    let mut conn = client::connect_or_spawn(&state)?;
    let answer = answer(&mut conn, &state, &Ask::Act(Box::new(act)))?;
    let Answer::CaRotated { roots, entry } = answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        let mut document = listed(&roots);
        if let Some(members) = document.as_object_mut() {
            members.insert("entry".to_owned(), entry.into());
        }
        out.json(&document)?;
    } else {
        say(&roots, entry, out)?;
    }
    Ok(Exit::Done)
}

fn say(roots: &[Root], entry: u64, out: &mut Out) -> Result<(), Failure> {
    let terminal = out.is_terminal();
    for root in roots {
        let role = match root.next {
            None => "signs".to_owned(),
            Some(next) => match next.until {
                Some(until) => format!("signs from {}", when::shown(until, terminal)),
                None => "signs from tollgate ca rotate --finish on".to_owned(),
            },
        };
        let short: String = root.fingerprint.chars().take(16).collect();
        out.line(&Line::of(format!("CA {short}…  {role}")))?;
    }
    let next = if roots.len() > 1 {
        "hand both out: tollgate ca > tollgate-ca.pem"
    } else {
        "the old CA is retired, and its key gone"
    };
    out.line(&Line::of(format!("entry {} · {next}", grouped(entry))))
}

fn pem(roots: &[Root]) -> String {
    roots.iter().map(|root| root.pem.as_str()).collect()
}

/// All certificates in one text, and each with what it is.
fn listed(roots: &[Root]) -> Value {
    let at = |at: Timestamp| when::utc(at);
    let rows: Vec<Value> = roots
        .iter()
        .map(|root| {
            json!({
                "fingerprint": root.fingerprint,
                "signs": root.next.is_none(),
                "since": root.next.map(|next| at(next.since)),
                "until": root.next.and_then(|next| next.until).map(at),
            })
        })
        .collect();
    json!({ "pem": pem(roots), "roots": rows })
}
