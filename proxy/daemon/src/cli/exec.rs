//! `tollgate exec`: one word in front of the command.

mod inside;
mod places;
mod services;
mod summary;

use std::error::Error;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use decide::Policy;
use decide::policy::{Glob, builtin, parse_destination};
use launch::{Ports, Registration, Spec};
use sha2::{Digest, Sha256};

use self::places::{Around, Guarded};
use super::common::who_asks;
use super::exec_args::ExecArgs;
use super::failure::Failure;
use super::out::{Line, Out};
use crate::clock::Clock;
use crate::folder::{Make, StateFolder};
use crate::gate::client;
use crate::gate::protocol::{Answer, Ask, Prepared, RealKey, Register, Sealing, Summary};
use crate::gate::socket::Conn;
use crate::policy_file::{self, PolicyFile};
use crate::record::{Changed, Widened};
use crate::trust;
use crate::upstream::connect::read_authorities;
use crate::upstream::resolve::ConnectTo;
use crate::vault::known::{self, Sorted};

/// Runs a command behind the gate; the exit code is the command's own, or 125 to 127.
pub(crate) fn run(args: &ExecArgs) -> u8 {
    match exec(args) {
        Ok(code) => u8::try_from(code).unwrap_or(super::OWN_FAILURE),
        Err(failure) => {
            let mut err = Out::stderr();
            let lines = failure.what().iter().map(|what| format!("tollgate: {what}"));
            let next = failure.next().map(|next| format!("          {next}"));
            for line in lines.chain(next) {
                // There is nowhere else to say it.
                drop(err.line(&Line::of(line)));
            }
            super::OWN_FAILURE
        }
    }
}

/// A contract and where it comes from.
struct Contract {
    policy: Policy,
    shown: String,
    file: Option<PathBuf>,
}

fn exec(args: &ExecArgs) -> Result<i32, Failure> {
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let command = file_name(program);
    let here = std::env::current_dir().map_err(|error| {
        Failure::could_not(format!("the working folder cannot be found: {error}"))
    })?;
    let state = state(args, &here)?;
    let contract = contract(args, &command, &state)?;
    let sorted = known::sort(std::env::vars_os(), &args.keep_env);
    let mut spec = Spec::here(program.clone(), arguments.to_vec())
        .map_err(|error| Failure::could_not(format!("the run cannot be described: {error}")))?;
    let guarded = Guarded::find(Around::of(&here, &spec.identity, &args.write))?;
    let said = inside::Said::of(
        &contract.shown,
        contract.policy.contract(&agent(args, &command)),
        &sorted,
        &args.share_socket,
    )
    .and(guarded.said())
    .and(&services::said(std::env::vars_os(), &args.reach_port));
    let shared = Ports { reach: args.reach_port.clone(), publish: args.publish_port.clone() };
    let shared = shared.checked().map_err(|error| Failure::usage(error.to_string()))?;
    let register = register(args, &state, &command, contract.policy, &sorted, &shared)?;
    let mut conn = client::connect_or_spawn(&state)?;
    spec.places = guarded.places();
    spec.places.held.extend(above(state.shown()));
    spec.write.clone_from(&args.write);
    spec.share.clone_from(&args.share_fd);
    spec.ports = shared;
    spec.share_sockets.clone_from(&args.share_socket);
    let ended = launch::front(spec, |registration| {
        let prepared = registered(&mut conn, register, registration)?;
        said.say(registration.form);
        inside::prepared(
            &prepared,
            &sorted,
            &state,
            contract.file.as_deref(),
            &args.upstream_ca,
            &conn,
        )
    })
    .map_err(|error| failure(&error))?;
    let code = ended.code();
    if let Some(line) = not_started(ended, program) {
        // There is nowhere else to say it.
        drop(Out::stderr().line(&Line::of(line)));
    }
    let (changed, listed) = guarded.changed();
    let summary = finish(&mut conn, code, changed)?;
    summary::print(&summary, &state, &listed);
    Ok(code)
}

/// The folders above the state folder. If one could be renamed, another state folder could be put in this one's place,
/// with nothing spent and nobody stopped.
fn above(state: &Path) -> impl Iterator<Item = PathBuf> {
    let real = state.parent().and_then(|folder| folder.canonicalize().ok());
    let all = real.map(|folder| folder.ancestors().map(Path::to_owned).collect::<Vec<_>>());
    all.unwrap_or_default().into_iter().filter(|folder| folder.parent().is_some())
}

/// Why there was no command, as a shell would say it.
fn not_started(ended: launch::Ended, program: &OsStr) -> Option<String> {
    let program = program.to_string_lossy();
    match ended {
        launch::Ended::Exited(_) | launch::Ended::Killed(_) => None,
        launch::Ended::NotFound => {
            Some(format!("tollgate: {program}: command not found (looked for in PATH, inside)"))
        }
        launch::Ended::NotExecutable(errno) => {
            let why = std::io::Error::from_raw_os_error(errno);
            Some(format!("tollgate: {program}: cannot be executed: {why}"))
        }
    }
}

/// What went wrong before the command ran, or with the gate while it ran.
fn failure(error: &launch::LaunchError) -> Failure {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what = format!("{what}: {error}");
        cause = error.source();
    }
    let failure = Failure::could_not(what);
    // What is wrong with what a flag or a redirection names is all there is to know.
    let named = matches!(
        error,
        launch::LaunchError::Port { .. }
            | launch::LaunchError::Share { .. }
            | launch::LaunchError::ShareSocket { .. }
            | launch::LaunchError::Stream { .. }
    );
    if named { failure } else { failure.then("tollgate check") }
}

fn file_name(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
}

fn agent(args: &ExecArgs, command: &str) -> String {
    args.agent.clone().unwrap_or_else(|| command.to_owned())
}

/// The state folder. One that is named may not be at or below the working folder; the default may lie below it.
fn state(args: &ExecArgs, here: &Path) -> Result<StateFolder, Failure> {
    let (path, outside) = match &args.state {
        Some(path) => (path.clone(), Some(here)),
        None => (StateFolder::default_path()?, None),
    };
    Ok(StateFolder::open(&path, Make::IfAbsent, outside)?)
}

/// The contract of this run: the built-in one or a file's, its command's profile, and the flags.
fn contract(args: &ExecArgs, command: &str, state: &StateFolder) -> Result<Contract, Failure> {
    let now = Clock::system().now();
    let file = match &args.policy {
        Some(path) => PolicyFile::read(path).map_err(Failure::usage)?,
        None => PolicyFile::builtin(),
    };
    if let Some(path) = &args.policy {
        trusted(state, path, &file.digest())?;
    }
    let faults = |faults: Vec<policy_file::PolicyFault>| {
        let mut faults = faults.into_iter().map(|fault| fault.to_string());
        Failure::usage(faults.next().unwrap_or_default()).with_all(faults)
    };
    let mut policy = file.compile(now).map_err(faults)?;
    let mut shown = file.name.clone();
    // A contract that somebody wrote is not widened by the name of the command.
    let known = args.policy.is_none() && builtin::profile(command).is_some();
    let profile = args.profile.as_deref().or_else(|| known.then_some(command));
    if let Some(name) = profile {
        let missing = || {
            Failure::usage(format!("there is no profile {name}"))
                .then("tollgate policy show --help")
        };
        policy = policy_file::add_profile(&policy, name).ok_or_else(missing)?.map_err(faults)?;
        shown = format!("{shown}, profile {name}");
    }
    Ok(Contract { policy: edited(args, policy)?, shown, file: args.policy.clone() })
}

/// A file named by a flag is the user's word, unless it changed since where a governed command could write.
fn trusted(state: &StateFolder, path: &Path, digest: &[u8; 32]) -> Result<(), Failure> {
    match trust::check(state, path, digest, false).map_err(Failure::could_not)? {
        trust::Verdict::MayWiden | trust::Verdict::MayNarrow => Ok(()),
        trust::Verdict::Changed | trust::Verdict::NotTrusted => Err(Failure::no(format!(
            "{} has changed since it was used last, and lies where a governed command could write",
            path.display()
        ))
        .then(format!("tollgate trust {}", path.display()))),
    }
}

fn edited(args: &ExecArgs, mut policy: Policy) -> Result<Policy, Failure> {
    if !args.models.is_empty() {
        let models: Vec<Glob> = args.models.iter().map(|model| Glob::new(model.as_str())).collect();
        policy = policy.with_models(&models);
    }
    if let Some(limit) = args.budget {
        policy = policy.with_run_budget(limit);
    }
    if !args.allow.is_empty() {
        let parsed = args.allow.iter().map(|text| {
            parse_destination(text)
                .map_err(|error| Failure::usage(format!("--allow {text}: {error}")))
        });
        policy = policy.with_grants(&parsed.collect::<Result<Vec<_>, _>>()?);
    }
    if args.observe {
        policy = policy.observing();
    }
    Ok(policy)
}

fn register(
    args: &ExecArgs,
    state: &StateFolder,
    command: &str,
    policy: Policy,
    sorted: &Sorted,
    shared: &Ports,
) -> Result<Register, Failure> {
    for text in &args.connect_to {
        text.parse::<ConnectTo>()
            .map_err(|error| Failure::usage(format!("--connect-to {text}: {error}")))?;
    }
    let mut upstream_ca = Vec::new();
    for path in &args.upstream_ca {
        let pem = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("--upstream-ca {} cannot be read: {error}", path.display()))
        })?;
        read_authorities(pem.as_bytes())
            .map_err(|why| Failure::usage(format!("--upstream-ca {} {why}", path.display())))?;
        trusted(state, path, &Sha256::digest(&pem).into())?;
        upstream_ca.push(pem);
    }
    // The gate trusts what this variable names, as programs do; what is not there it does not read.
    if let Some(path) = std::env::var_os("SSL_CERT_FILE")
        && let Ok(bytes) = std::fs::read(&path)
    {
        trusted(state, Path::new(&path), &Sha256::digest(bytes).into())?;
    }
    Ok(Register {
        agent: agent(args, command),
        command: command.to_owned(),
        form: launch::Form::of_this_process().map_err(|error| failure(&error))?,
        policy,
        keys: sorted
            .found
            .iter()
            .map(|found| RealKey {
                credential: found.credential.name.to_owned(),
                variables: found.variables.clone(),
                secret: Sealing(String::from_utf8_lossy(found.secret.reveal()).into_owned()),
            })
            .collect(),
        accounts: sorted
            .account
            .iter()
            .map(|account| (account.header.to_owned(), account.value.clone()))
            .collect(),
        widened: Widened {
            connect_to: args.connect_to.clone(),
            upstream_ca: upstream_ca.iter().map(|pem| digest(pem)).collect(),
            share_fd: args.share_fd.clone(),
            share_socket: paths(&args.share_socket),
            write: paths(&args.write),
            keep_env: sorted.kept.clone(),
            reach_port: shared.reach.clone(),
            publish_port: shared.publish.clone(),
        },
        upstream_ca,
        by: who_asks(),
    })
}

fn paths(named: &[PathBuf]) -> Vec<String> {
    named.iter().map(|path| path.display().to_string()).collect()
}

fn digest(text: &str) -> String {
    trust::hex(&Sha256::digest(text.as_bytes()).into())
}

/// Hands the run's sockets and contract to the gate and waits until it may start.
fn registered(
    conn: &mut Conn,
    mut register: Register,
    registration: &Registration<'_>,
) -> Result<Prepared, Box<dyn Error + Send + Sync>> {
    register.form = registration.form;
    conn.send(&Ask::Register(Box::new(register)))?;
    let stderr = std::io::stderr();
    let mut fds = registration.listeners.fds();
    fds.extend(registration.cgroup);
    fds.push(stderr.as_fd());
    launch::send_fds(conn.stream(), &[0], &fds)?;
    match conn.receive::<Answer>()? {
        Some(Answer::Ready(prepared)) => Ok(*prepared),
        Some(Answer::Failed { what }) => Err(what.into()),
        Some(_) => Err("the gate answered something else than was asked".into()),
        None => Err(
            "the gate ended before the run could start; its log is gate.log in the state folder"
                .into(),
        ),
    }
}

fn finish(conn: &mut Conn, exit: i32, changed: Changed) -> Result<Summary, Failure> {
    let broke = || {
        Failure::could_not("the gate ended before the run did: what it did last is in the ledger")
            .then("tollgate tail")
    };
    conn.send(&Ask::Finish { exit, changed: Some(changed) }).map_err(|_gone| broke())?;
    match conn.receive::<Answer>() {
        Ok(Some(Answer::Finished(summary))) => Ok(*summary),
        Ok(_) | Err(_) => Err(broke()),
    }
}
