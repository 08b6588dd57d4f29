//! `tollgate ca`: the certificate that the programs behind a gate have to trust.

use clap::Args;
use serde_json::json;

use super::common::Common;
use super::failure::{Ended, Exit};
use super::kill::{answer, unexpected};
use super::out::Out;
use crate::gate::client;
use crate::gate::protocol::{Answer, Ask};

/// Flags of `tollgate ca`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate ca > tollgate-ca.pem")]
pub(crate) struct CaArgs {
    #[command(flatten)]
    common: Common,
}

/// Prints it. It is made with the state folder and stays the same.
pub(crate) fn run(args: &CaArgs, out: &mut Out) -> Ended {
    let state = args.common.folder_or_new()?;
    let mut conn = client::connect_or_spawn(&state)?;
    let answer = answer(&mut conn, &state, &Ask::Authority)?;
    let Answer::Authority { pem } = answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&json!({ "pem": pem }))?;
    } else {
        out.raw(&pem)?;
    }
    Ok(Exit::Done)
}
