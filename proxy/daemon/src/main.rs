//! The binary: the first process inside a run, the gate, or one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // This same program is the first process inside a run. It asks before anything else is done:
    // before any thread, and before anybody reads arguments.
    launch::init_if_asked();
    tollgate::cli::run(std::env::args_os())
}
