//! Every chore of this repository is a subcommand of `cargo xtask`, so that CI and a desk run the same thing.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod prices;
mod shell;

/// `cargo xtask CHORE`
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, generation, demo and bench of this repository")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Converts litellm's price list into proxy/daemon/catalog/prices.json
    Prices,
}

fn main() -> ExitCode {
    let done = match Args::parse().chore {
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
