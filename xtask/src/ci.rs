//! What CI runs, in the order in which a mistake is cheapest to find.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bound::within;
use crate::shell::{self, command, fetch, run, say};
use crate::steps::{Step, Steps};
use crate::{bench, ebpf, setup, soak, suite, tidy};

/// How long all of it may take, in minutes: some four times what it takes on two slow processors with nothing built.
const MINUTES: u64 = 75;

const FORMAT: Step = Step { name: "format", minutes: 5, remedy: "is `cargo fmt` installed?" };
const TIDY: Step = Step {
    name: "conventions",
    minutes: 10,
    remedy: "`cargo xtask tidy` asks git and cargo for what there is",
};
const PROGRAMS: Step = Step {
    name: "kernel programs",
    minutes: 10,
    remedy: "`cargo xtask ebpf` builds them where the recorded toolchain is",
};
const DENY: Step = Step {
    name: "bans and licences",
    minutes: 15,
    remedy: "it fetches every crate that Cargo.lock names: is there a network?",
};
const CLIPPY: Step = Step {
    name: "clippy",
    minutes: 30,
    remedy: "it builds the workspace: how busy is the machine?",
};
const BUILD: Step = Step {
    name: "build",
    minutes: 40,
    remedy: "it builds every test of the workspace: how busy is the machine?",
};
const TESTS: Step = Step {
    name: "tests",
    minutes: 45,
    remedy: "the suites above that failed say why; `cargo test --package e2e --test NAME` runs one of them",
};
const SOAK: Step =
    Step { name: "soak", minutes: 10, remedy: "`cargo xtask soak --minutes 2` runs it alone" };

/// Everything CI checks.
pub(crate) fn ci() -> Result<()> {
    shell::needs_root("ci")?;
    let late = format!("ci did not end within {MINUTES} minutes: the times of its steps say why");
    within(Duration::from_mins(MINUTES), &late, || {
        let steps = Steps::begin();
        setup::setup(&steps)?;
        steps.step(&FORMAT, || run(command(env!("CARGO"))?.args(["fmt", "--all", "--check"])))?;
        steps.step(&TIDY, tidy::tidy)?;
        steps.step(&PROGRAMS, ebpf::check)?;
        steps.step(&DENY, deny)?;
        steps.step(&CLIPPY, || {
            let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            run(command(env!("CARGO"))?.args(clippy))
        })?;
        tests(&steps)?;
        steps.step(&SOAK, || soak::soak(soak::IN_CI, 4))
    })
}

/// Licences, sources and the ban on second TLS and crypto backends. Advisories need a database from the network, which
/// a machine without one cannot fetch, so they are not part of this.
fn deny() -> Result<()> {
    say(format_args!(
        "deny: bans, licenses and sources; advisories are not checked, their database needs a network"
    ));
    // Also what no build of this machine needed yet: cargo-deny reads every crate's manifest.
    fetch(10, || {
        let mut cargo = command(env!("CARGO"))?;
        cargo.args(["fetch", "--locked"]);
        Ok(cargo)
    })?;
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
    let steps = Steps::begin();
    setup::clients(&steps)?;
    tests(&steps)
}

fn tests(steps: &Steps) -> Result<()> {
    steps.step(&BUILD, || {
        let bins = ["build", "--bins", "--package", "tollgate", "--package", "tollgate-init"];
        let helpers = ["--package", "e2e", "--package", "netns"];
        run(command(env!("CARGO"))?.args(bins).args(helpers))?;
        run(command(env!("CARGO"))?.args(["test", "--workspace", "--no-run"]))
    })?;
    steps.step(&TESTS, || {
        let mut cargo = command(env!("CARGO"))?;
        cargo.args(["test", "--workspace", "--no-fail-fast"]);
        suite::all(&mut cargo, &bench::target()?.join("suites"))
    })
}
