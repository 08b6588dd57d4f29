//! The offline provider as a program: prints where it listens as one line of JSON, and serves until it is ended.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::provider::{Alpn, Options, Provider};

/// cargo run -p e2e --bin provider -- --listen 127.0.0.1:0 --dir /tmp/provider
#[derive(Parser)]
struct Args {
    /// Where to listen for TLS; port 0 takes any
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A folder for the CA's certificate
    #[arg(long)]
    dir: PathBuf,
    /// A further name to hold a certificate for
    #[arg(long = "name")]
    names: Vec<String>,
    /// Offer HTTP/1.1 only
    #[arg(long)]
    http1: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    let alpn = if args.http1 { Alpn::Http1 } else { Alpn::Both };
    let provider =
        Provider::start(Options { listen: args.listen, dir: args.dir, names: args.names, alpn })
            .await?;
    let line = serde_json::json!({
        "port": provider.addr().port(),
        "addr": provider.addr().to_string(),
        "control": provider.control().to_string(),
        "ca": provider.ca(),
        "openai_key": provider.keys().openai,
        "anthropic_key": provider.keys().anthropic,
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context("nobody reads where the provider listens")?;
    out.flush()?;
    drop(out);
    std::future::pending::<()>().await;
    Ok(())
}
