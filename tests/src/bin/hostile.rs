//! A hostile client as a program: runs the list of abuses against one way into the gate, a line of JSON for each.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::abuse::{self, Door, Front};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// tollgate exec -- hostile
#[derive(Parser)]
struct Args {
    /// The host that requests name
    #[arg(long, default_value = "api.openai.com")]
    host: String,
    /// Where TCP goes, if not to port 443 of the host
    #[arg(long)]
    dial: Option<String>,
    /// Ask a proxy for a tunnel to port 443 of the host
    #[arg(long)]
    connect: bool,
    /// Speak in clear
    #[arg(long)]
    plain: bool,
    /// What stands before a provider's own path
    #[arg(long, default_value = "")]
    prefix: String,
    /// Only cases whose name has this
    #[arg(long, default_value = "")]
    only: String,
    /// Cases at once
    #[arg(long, default_value_t = 4)]
    at_once: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let https = format!("{}:443", args.host);
    let ca = match std::env::var_os("SSL_CERT_FILE") {
        Some(path) if !args.plain => std::fs::read(path)?,
        _ => Vec::new(),
    };
    let door = Arc::new(Door {
        dial: args.dial.unwrap_or_else(|| https.clone()),
        connect: args.connect.then(|| (https, String::new())),
        name: (!args.plain).then(|| args.host.clone()),
        host: args.host,
        prefix: args.prefix,
        key: std::env::var("OPENAI_API_KEY").context("OPENAI_API_KEY is not set")?,
        ca,
    });
    let front = match (args.connect, door.prefix.is_empty()) {
        (true, _) => Front::Tunnel,
        (false, true) => Front::Provider,
        (false, false) => Front::Gateway,
    };
    let room = Arc::new(Semaphore::new(args.at_once));
    let mut running = JoinSet::new();
    for case in abuse::cases_at(front).into_iter().filter(|case| case.name.contains(&args.only)) {
        let (door, room) = (Arc::clone(&door), Arc::clone(&room));
        running.spawn(async move {
            let _room = room.acquire().await;
            abuse::run(&case, &door).await
        });
    }
    while let Some(ended) = running.join_next().await {
        let line = serde_json::to_string(&ended?)? + "\n";
        std::io::stdout().write_all(line.as_bytes())?;
    }
    Ok(())
}
