//! `tollgate metrics`: what a running gate counts.

use clap::Args;

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::kill::{answer, unexpected};
use super::out::Out;
use crate::gate::client;
use crate::gate::protocol::{Answer, Ask};

/// Flags of `tollgate metrics`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate metrics > /var/lib/node_exporter/textfile/tollgate.prom"
)]
pub(crate) struct MetricsArgs {
    #[command(flatten)]
    common: Common,
}

/// Prints them in the text form that Prometheus reads. Counts begin with the gate's process.
pub(crate) fn run(args: &MetricsArgs, out: &mut Out) -> Ended {
    let state = args.common.folder()?;
    let Some(mut conn) = client::connect(&state)? else {
        return Err(Failure::no("no gate runs on this state folder, so nothing is counted")
            .then("tollgate spend"));
    };
    let answer = answer(&mut conn, &state, &Ask::Metrics)?;
    let Answer::Metrics { text } = answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&serde_json::json!({ "prometheus": text }))?;
    } else {
        out.raw(&text)?;
    }
    Ok(Exit::Done)
}
