//! What CI runs, in the order in which a mistake is cheapest to find.

use std::process::Command;

use anyhow::Result;

use crate::shell::{self, command, run, say};
use crate::{ebpf, setup, soak, tidy};

/// Everything CI checks.
pub(crate) fn ci() -> Result<()> {
    shell::needs_root("ci")?;
    setup::setup()?;
    run(command(env!("CARGO"))?.args(["fmt", "--all", "--check"]))?;
    tidy::tidy()?;
    ebpf::check()?;
    deny()?;
    run(command(env!("CARGO"))?.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    test()?;
    soak::soak(soak::IN_CI, 4)
}

/// Licences, sources and the ban on second TLS and crypto backends. Advisories need a database from the network, which
/// a machine without one cannot fetch, so they are not part of this.
fn deny() -> Result<()> {
    say(format_args!(
        "deny: bans, licenses and sources; advisories are not checked, their database needs a network"
    ));
    // Also what no build of this machine needed yet: cargo-deny reads every crate's manifest.
    run(command(env!("CARGO"))?.args(["fetch", "--locked"]))?;
    let mut deny = Command::new(setup::deny_bin()?);
    run(deny.current_dir(shell::root()?).args([
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// All tests of the workspace, with the programs they drive installed first.
pub(crate) fn test() -> Result<()> {
    shell::needs_root("test")?;
    setup::clients()?;
    run(command(env!("CARGO"))?.args([
        "build",
        "--bins",
        "--package",
        "tollgate",
        "--package",
        "tollgate-init",
        "--package",
        "tollgate-init",
        "--package",
        "e2e",
        "--package",
        "netns",
    ]))?;
    run(command(env!("CARGO"))?.args(["test", "--workspace", "--no-fail-fast"]))
}
