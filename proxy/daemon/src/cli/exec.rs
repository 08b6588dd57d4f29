//! `tollgate exec`.

use super::exec_args::ExecArgs;
use super::out::{Line, Out};

/// Runs a command behind the gate; the exit code is the command's own, or 125 to 127.
pub(crate) fn run(_args: ExecArgs) -> u8 {
    let said = Out::stderr().line(&Line::of("tollgate: this build cannot run commands"));
    // There is nowhere else to say it.
    drop(said);
    super::OWN_FAILURE
}
