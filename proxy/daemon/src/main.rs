//! The binary: the first process inside a run, the gate, or one command.

use std::process::ExitCode;

/// A tenth of the gate's time goes into allocating; this one takes half of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // This same program is the first process inside a run. It asks before anything else is done:
    // before any thread, and before anybody reads arguments.
    launch::init_if_asked();
    tollgate::cli::run(std::env::args_os())
}
