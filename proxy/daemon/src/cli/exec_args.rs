//! What `tollgate exec` takes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use decide::case::MicroUsd;

use super::amount;

/// Flags of `tollgate exec`.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "Example:\n  tollgate exec -- python agent.py\n  tollgate exec --budget 2 --model 'gpt-5*' -- \
                   python agent.py\n  tollgate exec --observe -- npm test"
)]
pub(crate) struct ExecArgs {
    /// Record what would be refused, and let it pass. Money limits, kills and the address policy still hold
    #[arg(long)]
    pub(crate) observe: bool,

    /// The most that this run may cost, in dollars
    #[arg(long, value_name = "AMOUNT", value_parser = amount::parse)]
    pub(crate) budget: Option<MicroUsd>,

    /// Models that may be asked, of those in the contract; may be repeated
    #[arg(long = "model", value_name = "GLOB")]
    pub(crate) models: Vec<String>,

    /// A host that may be reached besides those in the contract: read only, with `:write`, or unread with
    /// `:PORT:opaque`; may be repeated
    #[arg(long = "allow", value_name = "HOST[:write|:PORT:opaque]")]
    pub(crate) allow: Vec<String>,

    /// A variable with a real key that the command keeps. What it spends with it is not governed; may be repeated
    #[arg(long = "keep-env", value_name = "NAME")]
    pub(crate) keep_env: Vec<String>,

    /// The contract, in place of the built-in one
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// The name of the agent, as contracts and `tollgate kill` use it; the command's file name where not given
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,

    /// The state folder: ledger, keys, budgets. Not at or below the working folder
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// A path that the command may write although it is read-only inside; may be repeated
    #[arg(long = "write", value_name = "PATH")]
    pub(crate) write: Vec<PathBuf>,

    /// An open descriptor that the command keeps, besides 0, 1 and 2; recorded; may be repeated
    #[arg(long = "share-fd", value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    pub(crate) share_fd: Vec<i32>,

    /// A port of this host's 127.0.0.1 that the command reaches at its own: a database, a model; counted, not read; may
    /// be repeated
    #[arg(long = "reach-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) reach_port: Vec<u16>,

    /// A port that the command listens on, for this host's 127.0.0.1: your browser and its development server; counted,
    /// not read; may be repeated
    #[arg(long = "publish-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) publish_port: Vec<u16>,

    /// A socket of a program outside that the command may connect to, such as a container engine's: what listens
    /// there is not governed. Recorded; may be repeated
    #[arg(long = "share-socket", value_name = "PATH")]
    pub(crate) share_socket: Vec<PathBuf>,

    /// Where HOST:PORT is really dialled, as curl means it; may name loopback; may be repeated
    #[arg(long = "connect-to", value_name = "HOST:PORT:ADDR:PORT")]
    pub(crate) connect_to: Vec<String>,

    /// A certificate authority that upstreams are verified against besides the system's; may be repeated
    #[arg(long = "upstream-ca", value_name = "PEM")]
    pub(crate) upstream_ca: Vec<PathBuf>,

    /// What a known program needs (`tollgate policy show --profile NAME`), in place of the one that its file name brings
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
