//! `cargo xtask soak`: churns over a gate and says what was left.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use e2e::soak::{Options, soak};

/// cargo run -p e2e --bin soak -- --minutes 2
#[derive(Parser)]
struct Args {
    /// How long
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Where the choices begin
    #[arg(long, default_value_t = 4)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let lasts = Duration::from_secs_f64(args.minutes * 60.0);
    let found = soak(Options { lasts, seed: args.seed }).await?;
    writeln!(std::io::stdout(), "{found}")?;
    Ok(())
}
