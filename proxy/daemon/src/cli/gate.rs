//! `tollgate __gate`: the gate's own process, started by [`crate::gate::client`] and by nobody else.

use clap::Args;

use crate::gate::start::{self, Start};

/// What the gate is started with.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate __gate --state-fd 0")]
pub(crate) struct GateArgs {
    /// The state folder, as an open descriptor
    #[arg(long, value_name = "N")]
    state_fd: i32,
}

/// Becomes the gate.
pub(crate) fn run(args: &GateArgs) -> u8 {
    match Start::take(args.state_fd) {
        Ok(start) => {
            start::log_as_json();
            crate::gate::life::run(start)
        }
        // Whoever started this waits for a line; that there is none names the log.
        Err(_) => 3,
    }
}
