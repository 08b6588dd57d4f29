//! `tollgate serve`: one gate for many agents.

use std::path::PathBuf;

use clap::Args;

use super::common::who_asks;
use super::failure::{Ended, Exit, Failure};
use crate::service::{self, Options, ServeError};
use crate::service_log;

/// Flags of `tollgate serve`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate serve --config /etc/tollgate/tollgate.yaml",
    after_help = "SIGHUP reads contracts and certificates again, SIGTERM ends in order: not ready, no new requests, \
                  streams to their end or a typed one, the ledger last."
)]
pub(crate) struct ServeArgs {
    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        env = "TOLLGATE_CONFIG",
        default_value = "/etc/tollgate/tollgate.yaml"
    )]
    config: PathBuf,

    /// Take over from the gate that serves this state folder now; no connection is refused meanwhile
    #[arg(long)]
    upgrade: bool,
}

/// Serves until it is told to end.
pub(crate) fn run(args: &ServeArgs) -> Ended {
    let filter = std::env::var("TOLLGATE_LOG").ok();
    service_log::start(filter.as_deref()).map_err(Failure::usage)?;
    let options = Options { config: args.config.clone(), upgrade: args.upgrade, by: who_asks() };
    match service::run(&options) {
        Ok(()) => Ok(Exit::Done),
        Err(error @ (ServeError::Config(_) | ServeError::Policy(_))) => {
            let config = args.config.display();
            Err(Failure::no(error).then(format!("tollgate check --config {config}")))
        }
        Err(error) => Err(Failure::could_not(error)),
    }
}
