//! Shows the main job in eight steps, with all the set-up it takes.

use std::process::Command;

use anyhow::Result;

use crate::shell::{self, command, run};
use crate::steps::Steps;
use crate::{bench, setup};

/// Builds the gate and the demo, and runs the demo.
pub(crate) fn demo() -> Result<()> {
    shell::needs_root("demo")?;
    setup::clients(&Steps::begin())?;
    let build = [
        "build",
        "--package",
        "tollgate",
        "--bin",
        "tollgate",
        "--package",
        "e2e",
        "--bin",
        "demo",
    ];
    run(command(env!("CARGO"))?.args(build))?;
    run(&mut Command::new(bench::target()?.join("debug/demo")))
}
