//! `tollgate policy`: shows and checks contracts.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use decide::policy::builtin::{PROFILES, profile};
use serde_json::json;

use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint, counted};
use crate::clock::Clock;
use crate::policies::Policies;
use crate::policy_file::{PolicyFault, PolicyFile};
use crate::trust::hex;

/// Flags of `tollgate policy`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate policy show --builtin > policy.yaml\n  tollgate policy check policy.yaml"
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints a contract: the built-in one, a program's profile, or a file if it is valid
    Show(ShowArgs),
    /// Says everything that is wrong with a contract or a folder of them: exit code 0 if nothing is, 1 if not
    Check(CheckArgs),
}

/// Flags of `tollgate policy show`.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("which")),
    before_help = "Example:\n  tollgate policy show --builtin\n  tollgate policy show --profile claude\n  tollgate policy show policy.yaml --json"
)]
struct ShowArgs {
    /// The contract that holds where no other is given; so it is without any flag
    #[arg(long, group = "which")]
    builtin: bool,

    /// What a known program needs besides the contract
    #[arg(long, value_name = "NAME", group = "which")]
    profile: Option<String>,

    /// A contract's file
    #[arg(value_name = "FILE", group = "which")]
    file: Option<PathBuf>,

    /// Print the compiled contract as JSON, with its digest
    #[arg(long, conflicts_with = "profile")]
    json: bool,
}

/// Flags of `tollgate policy check`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate policy check policy.yaml\n  tollgate policy check /etc/tollgate/policy"
)]
struct CheckArgs {
    /// A contract's file, or a folder of them as `tollgate serve` reads it
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Shows or checks a contract.
pub(crate) fn run(args: &PolicyArgs, out: &mut Out) -> Ended {
    match &args.verb {
        Verb::Show(args) => show(args, out),
        Verb::Check(args) => check(args, out),
    }
}

fn show(args: &ShowArgs, out: &mut Out) -> Ended {
    if let Some(name) = &args.profile {
        let Some(text) = profile(name) else {
            let names: Vec<_> = PROFILES.iter().map(|(name, _)| *name).collect();
            return Err(Failure::usage(format!(
                "no profile is called {name}; there are: {}",
                names.join(", ")
            )));
        };
        out.raw(text)?;
        return Ok(Exit::Done);
    }
    let file = match &args.file {
        Some(path) => PolicyFile::read(path).map_err(|fault| invalid(&[fault]))?,
        None => PolicyFile::builtin(),
    };
    let policy = file.compile(Clock::system().now()).map_err(|faults| invalid(&faults))?;
    if args.json {
        out.json(&json!({ "source": file.name, "sha256": hex(&policy.digest), "policy": policy }))?;
    } else {
        out.raw(&file.text)?;
    }
    Ok(Exit::Done)
}

fn check(args: &CheckArgs, out: &mut Out) -> Ended {
    if args.path.is_dir() {
        return check_folder(args, out);
    }
    let checked = PolicyFile::read(&args.path)
        .map_err(|fault| vec![fault])
        .and_then(|file| file.compile(Clock::system().now()));
    let name = args.path.display().to_string();
    match checked {
        Ok(policy) if args.json => {
            out.json(&json!({
                "file": name, "valid": true, "policy_id": policy.id, "version": policy.version,
                "sha256": hex(&policy.digest), "agents": policy.agents.len(), "faults": [],
            }))?;
            Ok(Exit::Done)
        }
        Ok(policy) => {
            let agents = counted(policy.agents.len() as u64, "agent", "agents");
            let line = Line::new().paint(Paint::Good, "valid");
            let what = format!(
                ": {name} · {} {} · {agents} · sha256 {}",
                policy.id,
                policy.version,
                hex(&policy.digest)
            );
            out.line(&line.text(what))?;
            Ok(Exit::Done)
        }
        Err(faults) if args.json => {
            let faults: Vec<_> = faults.iter().map(fault_json).collect();
            out.json(&json!({ "file": name, "valid": false, "faults": faults }))?;
            Ok(Exit::No)
        }
        Err(faults) => Err(invalid(&faults)),
    }
}

/// All files of the folder together, as they would come into force.
fn check_folder(args: &CheckArgs, out: &mut Out) -> Ended {
    let name = args.path.display().to_string();
    match Policies::read(&args.path, Clock::system().now()) {
        Ok(policies) if args.json => {
            let files: Vec<_> = policies
                .files()
                .iter()
                .map(|file| {
                    json!({
                        "file": file.file, "policy_id": file.id, "version": file.version,
                        "sha256": hex(&file.digest), "agents": file.agents,
                    })
                })
                .collect();
            out.json(&json!({
                "folder": name, "valid": true, "sha256": hex(policies.digest()), "files": files,
                "agents": policies.agents().len(), "faults": [],
            }))?;
            Ok(Exit::Done)
        }
        Ok(policies) => {
            for file in policies.files() {
                let agents = counted(file.agents as u64, "agent", "agents");
                let what = format!("{} · {} {} · {agents}", file.file, file.id, file.version);
                out.line(&Line::new().paint(Paint::Good, "valid").text(format!(": {what}")))?;
            }
            let files = counted(policies.files().len() as u64, "file", "files");
            let agents = counted(policies.agents().len() as u64, "agent", "agents");
            let digest = hex(policies.digest());
            out.line(&Line::of(format!("{name}: {files} · {agents} · sha256 {digest}")))?;
            Ok(Exit::Done)
        }
        Err(faults) if args.json => {
            let faults: Vec<_> = faults
                .iter()
                .map(|fault| {
                    let mut item = fault_json(fault);
                    if let Some(item) = item.as_object_mut() {
                        item.insert("file".to_owned(), fault.file.clone().into());
                    }
                    item
                })
                .collect();
            out.json(&json!({ "folder": name, "valid": false, "faults": faults }))?;
            Ok(Exit::No)
        }
        Err(faults) => Err(Failure::no(wrong(faults.len(), &name))
            .with_all(faults.iter().map(ToString::to_string))
            .then(format!("correct it, then: tollgate policy check {name}"))),
    }
}

/// `2 things are wrong with policy.yaml`.
fn wrong(count: usize, with: &str) -> String {
    format!("{} wrong with {with}", counted(count as u64, "thing is", "things are"))
}

fn fault_json(fault: &PolicyFault) -> serde_json::Value {
    json!({
        "line": fault.at.map(|at| at.0), "column": fault.at.map(|at| at.1),
        "path": fault.path, "message": fault.message,
    })
}

/// Every fault on a line of its own.
pub(crate) fn invalid(faults: &[PolicyFault]) -> Failure {
    let file = faults.first().map(|fault| fault.file.clone()).unwrap_or_default();
    Failure::no(wrong(faults.len(), &file))
        .with_all(faults.iter().map(ToString::to_string))
        .then("tollgate policy show --builtin")
}
