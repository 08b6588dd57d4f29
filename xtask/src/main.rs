//! Every chore of this repository is a subcommand of `cargo xtask`, so that CI and a desk run the same thing.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::stat::{Mode, umask};

mod bench;
mod bound;
mod chain;
mod ci;
mod demo;
mod ebpf;
mod parts;
mod prices;
mod schema;
mod setup;
mod shell;
mod soak;
mod steps;
mod suite;
mod threats;
mod tidy;

/// `cargo xtask CHORE`
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, generation, demo and bench of this repository")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// All that CI checks: format, conventions, bans, clippy, tests
    Ci,
    /// All tests, with their set-up
    Test,
    /// Writes docs/chain.md from the chain in force
    Chain,
    /// Writes docs/schema and the table of docs/configuration.md from the code
    Schema,
    /// Writes the catalogue of docs/threat-model.md from the recorded run of tests/netns
    Threats {
        /// Runs the catalogue first and records what it found
        #[arg(long)]
        measure: bool,
    },
    /// The conventions no compiler checks
    Tidy,
    /// Installs what the checks and tests need
    Setup,
    /// Builds the Kubernetes that the test of a pod on a real kubelet needs, into the cache: six minutes
    Kube,
    /// Builds the kernel programs anew and records what they were built from
    Ebpf,
    /// Shows the main job in eight steps
    Demo,
    /// Measures the gate beside the floor and writes the tables of docs/performance.md
    Bench {
        /// Arguments of tests/bench/bench.py
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// Churns over a gate: memory and descriptors stay flat, and nothing is stuck
    Soak {
        /// How long
        #[arg(long, default_value_t = 60.0)]
        minutes: f64,
        /// Where the choices begin
        #[arg(long, default_value_t = 4)]
        seed: u64,
    },
    /// Runs one suite of tests within its time, as cargo calls it
    #[command(hide = true)]
    Suite {
        /// The suite's program and its arguments
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Converts litellm's price list into proxy/daemon/catalog/prices.json
    Prices,
}

fn main() -> ExitCode {
    // Users without privileges run and read what is built and installed here, whoever builds it.
    umask(Mode::from_bits_truncate(0o022));
    let done = match Args::parse().chore {
        Chore::Ci => ci::ci(),
        Chore::Test => ci::test(),
        Chore::Chain => chain::write(),
        Chore::Schema => schema::write(),
        Chore::Threats { measure } => threats::write(measure),
        Chore::Tidy => tidy::tidy(),
        Chore::Setup => setup::setup(&steps::Steps::begin()),
        Chore::Kube => parts::kube(),
        Chore::Ebpf => ebpf::build(),
        Chore::Demo => demo::demo(),
        Chore::Bench { more } => bench::bench(&more),
        Chore::Soak { minutes, seed } => soak::soak(minutes, seed),
        Chore::Suite { words } => match suite::run(&words) {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
        Chore::Prices => prices::update(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(format_args!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
