//! Churns over a gate for as long as wanted, and fails where something is stuck, lost or grown.

use std::process::Command;

use anyhow::Result;

use crate::bench;
use crate::shell::{command, run};

/// How long CI soaks: past the minute in which a gate grows to its load.
pub(crate) const IN_CI: f64 = 2.0;

/// Builds gate and clients, and soaks for so many minutes with the choices that follow from `seed`.
pub(crate) fn soak(minutes: f64, seed: u64) -> Result<()> {
    let build = ["build", "--package", "tollgate", "--bin", "tollgate"];
    run(command(env!("CARGO"))?.args(build).args(["--package", "e2e", "--bin", "soak"]))?;
    let mut soak = Command::new(bench::target()?.join("debug/soak"));
    run(soak.args(["--minutes", &minutes.to_string(), "--seed", &seed.to_string()]))
}
