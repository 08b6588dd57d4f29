//! The binary: one command in a pod's init container, or as the node's agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_init::cli::run(std::env::args_os())
}
