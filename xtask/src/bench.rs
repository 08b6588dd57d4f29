//! Measures the gate beside the floor and puts the tables into docs/performance.md.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{self, command, output, run};

const PAGE: &str = "docs/performance.md";

/// Builds everything for release and measures; `more` goes to `tests/bench/bench.py` as it is.
pub(crate) fn bench(more: &[String]) -> Result<()> {
    shell::needs_root("bench")?;
    let build = ["build", "--release", "--bins", "--package", "e2e", "--package", "tollgate"];
    run(command(env!("CARGO"))?.args(build))?;
    let hooks = ["build", "--release", "--package", "tollgate-ebpf", "--example", "hooks"];
    run(command(env!("CARGO"))?.args(hooks))?;
    let root = shell::root()?;
    let mut python = Command::new("python3");
    python.arg(root.join("tests/bench/bench.py")).arg("--bin").arg(target()?.join("release"));
    python.arg("--page").arg(root.join(PAGE)).args(more);
    run(&mut python)
}

/// Where cargo builds to.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata =
        output(command(env!("CARGO"))?.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let dir = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(PathBuf::from(dir.context("cargo metadata names no target directory")?))
}
