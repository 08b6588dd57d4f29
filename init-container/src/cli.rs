//! The command line: what each command takes, what it prints, and how it ends.

mod check;
mod out;
mod pod;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{install, node, place::Tree, pod_file, ports::GATE_UID, probes, remove, validate};
use out::{Exit, Failure, Out};
use pod::{InstallArgs, PINS};

/// Puts a pod behind its gate, proves it, and exits
#[derive(Debug, Parser)]
#[command(
    name = "tollgate-init",
    version,
    disable_help_subcommand = true,
    before_help = "Example:\n  tollgate-init install --pod \"$POD_UID\" --inbound 8080",
    after_help = "Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 could not (privileges, kernel, node)."
)]
struct Cli {
    /// One JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Closes the pod: floor, kernel programs, pod file, and the tries that must fail
    Install(InstallArgs),
    /// Proves that the pod is behind its gate
    Validate(ValidateArgs),
    /// Takes everything of this pod away
    Uninstall(UninstallArgs),
    /// Takes away what pods left that are gone
    Gc(GcArgs),
    /// Says which mode this node and container allow, and what stands in the way of stronger ones
    #[command(before_help = "Example:\n  tollgate-init check --pod \"$POD_UID\" --inbound 8080")]
    Check(InstallArgs),
    /// Closes a pod from outside, where the node makes no cgroup for it
    Node(NodeArgs),
}

#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate-init validate")]
struct ValidateArgs {
    /// What the installation wrote
    #[arg(long, value_name = "PATH", default_value = pod_file::PATH)]
    pod_file: PathBuf,
    /// The gate's user
    #[arg(long, value_name = "UID", default_value_t = GATE_UID)]
    gate_uid: u32,
    /// How long to wait for the gate
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate-init uninstall --pod \"$POD_UID\"")]
struct UninstallArgs {
    #[command(flatten)]
    pins: pod::PinArgs,
    /// What the installation wrote
    #[arg(long, value_name = "PATH", default_value = pod_file::PATH)]
    pod_file: PathBuf,
    /// The node's cgroup v2 tree, as seen here, by which a pod without --pod is known
    #[arg(long, value_name = "PATH")]
    cgroup_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate-init gc --root /sys/fs/bpf/tollgate")]
struct GcArgs {
    /// The folder that holds the pods' folders of pins
    #[arg(long, value_name = "PATH", default_value = PINS)]
    root: PathBuf,
    /// The node's cgroup v2 tree, as seen here [default: /host/sys/fs/cgroup, else where it is mounted]
    #[arg(long, value_name = "PATH")]
    cgroup_root: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate-init node --pod \"$POD_UID\" --netns /run/netns/cni-1234"
)]
struct NodeArgs {
    /// The pod's network namespace
    #[arg(long, value_name = "PATH", required_unless_present = "pid", conflicts_with = "pid")]
    netns: Option<PathBuf>,
    /// A process in it
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// A process of the gate's container; otherwise containers of which all runs as --gate-uid
    #[arg(long, value_name = "PID")]
    gate_pid: Option<u32>,
    #[command(flatten)]
    install: InstallArgs,
}

/// Runs the command that `args` names.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // A page that was asked for is no wrong use; where it cannot be printed nobody reads it.
        Err(page) => {
            let code = if page.use_stderr() { Exit::Usage } else { Exit::Done };
            return page.print().map_or(Exit::Could, |()| code).into();
        }
    };
    let mut out = Out::new(cli.json);
    let ended = match &cli.command {
        Command::Install(args) => install(args, &mut out),
        Command::Validate(args) => validate(args, &mut out),
        Command::Uninstall(args) => uninstall(args, &mut out),
        Command::Gc(args) => gc(args, &mut out),
        Command::Check(args) => check::run(args, &mut out),
        Command::Node(args) => node(args, &mut out),
    };
    ended.unwrap_or_else(|failure| out.fail(&failure)).into()
}

fn install(args: &InstallArgs, out: &mut Out) -> Result<Exit, Failure> {
    let report = install::install(&args.options()?).map_err(Failure::could_not)?;
    out.document(&report, |out| out.installed(&report))?;
    Ok(if probes::hold(&report.probes) { Exit::Done } else { Exit::No })
}

fn validate(args: &ValidateArgs, out: &mut Out) -> Result<Exit, Failure> {
    let options = validate::Options {
        pod_file: args.pod_file.clone(),
        gate_uid: args.gate_uid,
        wait: Duration::from_secs(args.wait),
    };
    let report = validate::validate(&options).map_err(Failure::could_not)?;
    out.document(&report, |out| out.validated(&report))?;
    Ok(if report.holds { Exit::Done } else { Exit::No })
}

fn uninstall(args: &UninstallArgs, out: &mut Out) -> Result<Exit, Failure> {
    let pins = args.pins.folder(args.cgroup_root.as_ref());
    let done = remove::uninstall(&args.pod_file, &pins).map_err(Failure::could_not)?;
    out.document(&done, |out| {
        let gone = |what: &str, path: Option<&PathBuf>| match path {
            Some(path) => format!("removed {what} {}", path.display()),
            None => format!("there was no {what}"),
        };
        out.line(&gone("pod file", done.pod_file.as_ref()))?;
        out.line(&gone("kernel program pinned", done.pins.as_ref()))?;
        out.line(if done.floor { "removed the floor" } else { "there was no floor" })?;
        out.line("nothing leads this pod to a gate any more: what it sends goes where it wants")
    })?;
    Ok(Exit::Done)
}

fn gc(args: &GcArgs, out: &mut Out) -> Result<Exit, Failure> {
    let tree = Tree::open(args.cgroup_root.as_deref());
    let done = remove::collect(&args.root, tree.as_ref().ok().map(Tree::root))
        .map_err(Failure::could_not)?;
    out.document(&done, |out| {
        for path in done.pins.iter().chain(&done.cgroups) {
            out.line(&format!("removed {}", path.display()))?;
        }
        if done.pins.is_empty() && done.cgroups.is_empty() {
            out.line("nothing was left of pods that are gone")?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

fn node(args: &NodeArgs, out: &mut Out) -> Result<Exit, Failure> {
    let by_pid = args.pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    let network = args.netns.clone().or(by_pid);
    let network = network.ok_or_else(|| Failure::usage("--netns or --pid is needed"))?;
    let pod = args.install.pod();
    let pod = pod.ok_or_else(|| Failure::usage("--pod is needed: the pod's uid"))?;
    let gate = args.gate_pid.map_or_else(|| args.install.gate_user(), node::Known::Process);
    let target = node::Target { network, pod, gate };
    let report = node::install(&target, &args.install.options()?).map_err(Failure::could_not)?;
    out.document(&report, |out| {
        out.installed(&report.installed)?;
        let moved = format!(
            "moved {} processes to the gate's cgroup, {} to the pod's; sockets that they had before stay outside, and \
             the floor drops what those send",
            report.gate.len(),
            report.moved.len()
        );
        out.line(&moved)
    })?;
    Ok(Exit::Done)
}
