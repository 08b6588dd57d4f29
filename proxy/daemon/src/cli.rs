//! The command line: what each command is called, what it takes, and how it ends.

mod agents;
mod amount;
mod attach;
mod audit;
mod budget;
mod ca;
mod check;
mod common;
mod credential;
mod exec;
pub(crate) mod exec_args;
mod failure;
mod gate;
mod init;
mod inspect;
mod key;
mod kill;
mod metrics;
pub(crate) mod out;
pub(crate) mod policy;
mod schema;
mod serve;
mod spend;
mod tail;
mod trust;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use failure::{Ended, Exit, Failure};
use out::{Line, Out, Paint};

/// The exit code of `exec` where the failure is its own and not the command's.
pub(crate) const OWN_FAILURE: u8 = 125;

/// Governs what AI agents send and receive: every request leaves through one gate that the kernel
/// forces it through
#[derive(Debug, Parser)]
#[command(
    name = "tollgate",
    version,
    disable_help_subcommand = true,
    before_help = "Example:\n  tollgate exec -- python agent.py",
    after_help = "Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 could not; exec returns the command's own, \
                  125 to 127 its own failures."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a command behind the gate
    Exec(Box<exec_args::ExecArgs>),
    /// Writes a first configuration and a first contract
    Init(init::InitArgs),
    /// Runs one gate for many agents
    Serve(serve::ServeArgs),
    /// Sends what a service of this host connects to through the gate
    Attach(attach::AttachArgs),
    /// Lets a service of this host connect directly again
    Detach(attach::DetachArgs),
    /// Says whether this machine can run a gate, and what to do where it cannot
    Check(check::CheckArgs),
    /// Shows and checks contracts
    Policy(policy::PolicyArgs),
    /// Prints the JSON schema of a file
    Schema(schema::SchemaArgs),
    /// Stops an agent, a team, a key or everyone, at once
    Kill(kill::KillArgs),
    /// Lifts a kill switch
    Unkill(kill::UnkillArgs),
    /// Shows how runs, agents, keys and teams stand, and gives them more
    Budget(budget::BudgetArgs),
    /// Makes, lists and revokes an agent's virtual keys
    Key(key::KeyArgs),
    /// Seals, lists, exchanges and removes the real keys
    Credential(credential::CredentialArgs),
    /// Prints the certificate that programs behind a gate have to trust
    Ca(ca::CaArgs),
    /// Says who is behind the gate
    Agents(agents::AgentsArgs),
    /// Sums up what was spent
    Spend(spend::SpendArgs),
    /// Prints what a running gate counts, for Prometheus
    Metrics(metrics::MetricsArgs),
    /// Shows decisions as they happen
    Tail(tail::TailArgs),
    /// Explains one decision: rules, facts, policy, cost, proof
    Inspect(inspect::InspectArgs),
    /// Checks the ledger
    Audit(audit::AuditArgs),
    /// Vouches for a file as it is now, so that it may widen what a run is allowed
    Trust(trust::TrustArgs),
    /// Prints what makes a shell complete these commands
    Completions(CompletionsArgs),
    /// The gate's own process
    #[command(name = "__gate", hide = true)]
    Gate(gate::GateArgs),
}

/// Flags of `tollgate completions`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate completions bash > /etc/bash_completion.d/tollgate")]
struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command that `args` names.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let exec = args.get(1).is_some_and(|first| first == "exec");
    let matches = match Cli::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(page) => return ExitCode::from(show(&page, exec)),
    };
    let code = match Cli::from_arg_matches(&matches) {
        Ok(Cli { command: Command::Exec(args) }) => exec::run(&args),
        Ok(Cli { command: Command::Gate(args) }) => gate::run(&args),
        Ok(Cli { command }) => end(dispatch(&command, &matches)),
        Err(page) => show(&page, exec),
    };
    ExitCode::from(code)
}

fn dispatch(command: &Command, matches: &ArgMatches) -> Ended {
    let mut out = Out::stdout();
    let out = &mut out;
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Attach(args) => attach::attach(args, out),
        Command::Detach(args) => attach::detach(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Init(args) => init::run(args, out),
        Command::Policy(args) => policy::run(args, out),
        Command::Schema(args) => schema::run(args, out),
        Command::Kill(args) => kill::kill(args, out),
        Command::Unkill(args) => kill::unkill(args, out),
        Command::Budget(args) => budget::run(args, out),
        Command::Key(args) => key::run(args, out),
        Command::Credential(args) => credential::run(args, out),
        Command::Ca(args) => ca::run(args, out),
        Command::Agents(args) => agents::run(args, out),
        Command::Spend(args) => spend::run(args, out),
        Command::Metrics(args) => metrics::run(args, out),
        Command::Tail(args) => tail::run(args, typed(matches, "newest"), out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Audit(args) => audit::run(args, out),
        Command::Trust(args) => trust::run(args, out),
        Command::Completions(args) => completions(args, out),
        Command::Exec(_) | Command::Gate(_) => Ok(Exit::Done),
    }
}

/// Whether an argument of the command was typed, and not left at its default.
fn typed(matches: &ArgMatches, argument: &str) -> bool {
    matches
        .subcommand()
        .and_then(|(_, command)| command.value_source(argument))
        .is_some_and(|source| source == ValueSource::CommandLine)
}

fn completions(args: &CompletionsArgs, out: &mut Out) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tollgate", &mut script);
    out.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Says how a command ended, if not well, and gives its exit code.
fn end(ended: Ended) -> u8 {
    match ended {
        Ok(exit) => exit as u8,
        Err(failure) => {
            // An error that cannot be said is still in the exit code.
            drop(complain(&failure));
            failure.exit() as u8
        }
    }
}

fn complain(failure: &Failure) -> Result<(), Failure> {
    let mut aside = Out::stderr();
    for (i, what) in failure.what().iter().enumerate() {
        let (name, paint) = if i == 0 { ("tollgate: ", Paint::Bad) } else { ("  ", Paint::Plain) };
        aside.line(&Line::new().paint(paint, name).text(what))?;
    }
    if let Some(next) = failure.next() {
        aside.line(&Line::new().paint(Paint::Dim, "next: ").text(next))?;
    }
    Ok(())
}

/// Help and version go to standard output, what is wrong with the arguments to standard error.
fn show(page: &clap::Error, exec: bool) -> u8 {
    let wrong = page.use_stderr();
    let mut out = if wrong { Out::stderr() } else { Out::stdout() };
    let text =
        if out.colour() { page.render().ansi().to_string() } else { page.render().to_string() };
    match (out.raw(&text), wrong) {
        (Err(failure), _) => failure.exit() as u8,
        (Ok(()), false) => Exit::Done as u8,
        (Ok(()), true) if exec => OWN_FAILURE,
        (Ok(()), true) => Exit::Usage as u8,
    }
}

#[cfg(test)]
mod tests;
