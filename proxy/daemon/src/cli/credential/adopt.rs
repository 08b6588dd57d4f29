//! `tollgate credential adopt`: seals a key where it lies, and puts a virtual one in its place.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use serde_json::json;
use zeroize::Zeroizing;

use super::{dotenv, secret, set};
use crate::cli::common::{Common, who_asks};
use crate::cli::failure::{Ended, Exit, Failure};
use crate::cli::kill::{ask, unexpected};
use crate::cli::out::{Line, Out, Paint, grouped};
use crate::gate::protocol::{Act, Answer, NewCredential, Sealing};
use crate::keys::{self, NewKey};
use crate::vault::known::{self, Kind};

/// Flags of `tollgate credential adopt`.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("where").required(true)),
    before_help = "Example:\n  tollgate credential adopt openai --from .env\n  tollgate credential adopt openai --from .env --write --agent refund-bot\n  tollgate credential adopt openai-ci --env OPENAI_API_KEY"
)]
pub(super) struct AdoptArgs {
    /// What the credential is called from now on
    #[arg(value_name = "NAME")]
    name: String,

    /// The .env file that holds the key
    #[arg(long, value_name = "FILE", group = "where")]
    from: Option<PathBuf>,

    /// The variable of this environment that holds the key
    #[arg(long, value_name = "VAR", group = "where")]
    env: Option<String>,

    /// Whose key it is, where the name and the variable do not say
    #[arg(long, value_name = "NAME", value_parser = super::providers())]
    provider: Option<String>,

    /// Put a virtual key of --agent in its place in the file
    #[arg(long, requires = "agent", conflicts_with = "env")]
    write: bool,

    /// The agent that the virtual key is for
    #[arg(long, value_name = "NAME", requires = "write", value_parser = NonEmptyStringValueParser::new())]
    agent: Option<String>,

    /// What the virtual key is called; AGENT-NAME where not given
    #[arg(long, value_name = "NAME", requires = "write")]
    key_name: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// A real key, and where it lies.
struct Lying {
    kind: &'static Kind,
    variable: String,
    line: Option<usize>,
    secret: Sealing,
}

/// A virtual key that was put in its place.
struct Put {
    name: String,
    id: String,
}

/// Seals the key; with `--write` the file holds a virtual one from then on.
pub(super) fn run(args: &AdoptArgs, out: &mut Out) -> Ended {
    let lying = match (&args.from, &args.env) {
        (Some(path), _) => in_file(args, path)?,
        (None, Some(variable)) => in_environment(args, variable)?,
        (None, None) => {
            return Err(Failure::usage("where does the key lie? --from FILE or --env VAR"));
        }
    };
    let asked = NewCredential {
        name: args.name.clone(),
        provider: lying.kind.name.to_owned(),
        secret: lying.secret.clone(),
        adopted: Some(lying.variable.clone()),
        by: who_asks(),
    };
    let set = set(ask(&args.common, Act::AddCredential(asked))?)?;
    let put = match (&args.from, &args.agent) {
        (Some(path), Some(agent)) if args.write => Some(put(args, path, agent, &lying)?),
        (Some(_) | None, _) => None,
    };
    if args.common.json {
        out.json(&json!({
            "name": args.name,
            "provider": lying.kind.name,
            "variable": lying.variable,
            "line": lying.line,
            "version": set.version,
            "entry": set.entry,
            "written": put.is_some(),
            "key": put.as_ref().map(|put| json!({ "id": put.id, "name": put.name })),
        }))?;
        return Ok(Exit::Done);
    }
    let place = place(args, &lying);
    let what =
        format!(": {} ({}) · {place} · entry {}", args.name, lying.kind.name, grouped(set.entry));
    out.line(&Line::new().paint(Paint::Bold, "sealed").text(what))?;
    for line in to_do(args, &lying, put.as_ref(), &place) {
        out.line(&Line::of(line))?;
    }
    Ok(Exit::Done)
}

/// `OPENAI_API_KEY in .env, line 3`.
fn place(args: &AdoptArgs, lying: &Lying) -> String {
    match (&args.from, lying.line) {
        (Some(path), Some(line)) => {
            format!("{} in {}, line {line}", lying.variable, path.display())
        }
        (Some(_) | None, _) => format!("{} in this environment", lying.variable),
    }
}

/// What is left to be done by hand.
fn to_do(args: &AdoptArgs, lying: &Lying, put: Option<&Put>, place: &str) -> Vec<String> {
    match put {
        Some(put) => vec![
            format!("written: {place} is the virtual key {} ({}) now", put.name, put.id),
            "         copies of the real key elsewhere (shells, history, backups) are as they were: exchange it at the provider if that matters, then `tollgate credential rotate`".to_owned(),
        ],
        None => vec![
            format!("the real key still stands there: put a virtual one in its place ({})", lying.variable),
            format!("  tollgate key create KEY --agent AGENT --credential {}", args.name),
        ],
    }
}

/// The key goes to the file and nowhere else; where it cannot be written it is taken back.
fn put(args: &AdoptArgs, path: &Path, agent: &str, lying: &Lying) -> Result<Put, Failure> {
    let name = args.key_name.clone().unwrap_or_else(|| format!("{agent}-{}", args.name));
    let asked = NewKey {
        name: name.clone(),
        agent: agent.to_owned(),
        credential: args.name.clone(),
        expires: None,
        uses: None,
        from: Vec::new(),
        by: who_asks(),
    };
    let answer = ask(&args.common, Act::CreateKey(asked))?;
    let Answer::KeyMade(made) = answer else { return Err(unexpected(&answer)) };
    let id = made.id.clone();
    if let Err(error) = dotenv::replace(path, &lying.secret.0, &made.key.0) {
        let reason = "it could not be written where it was made for".to_owned();
        ask(&args.common, Act::RevokeKey { which: id, reason, by: who_asks() })?;
        return Err(Failure::could_not(format!(
            "{} is sealed, but {} cannot be written: {error}",
            args.name,
            path.display()
        )));
    }
    Ok(Put { name, id })
}

fn in_file(args: &AdoptArgs, path: &Path) -> Result<Lying, Failure> {
    let failed = |error| Failure::could_not(format!("{}: {error}", path.display()));
    let text = dotenv::read(path).map_err(failed)?;
    let wanted = wanted(args)?;
    let held = dotenv::assignments(&text).filter_map(|one| {
        let (rank, kind) = known::held_by(one.name)?;
        let fits = wanted.is_none_or(|wanted| wanted == kind) && !one.value.is_empty();
        fits.then_some((rank, kind, one))
    });
    // Of one variable the last assignment counts, as it does for whoever reads the file.
    let mut found: Vec<_> = held.collect();
    found.sort_by_key(|(rank, _, one)| (*rank, std::cmp::Reverse(one.line)));
    let Some((_, kind, one)) = found.first() else {
        return Err(Failure::no(format!(
            "{} holds no key of a provider that the gate puts in",
            path.display()
        ))
        .then("tollgate credential add NAME --provider openai|anthropic"));
    };
    if wanted.is_none() && found.iter().any(|(_, other, _)| other != kind) {
        return Err(Failure::usage(format!(
            "{} holds keys of several providers: say which with --provider",
            path.display()
        )));
    }
    if keys::is_virtual(one.value) {
        return Err(Failure::no(format!(
            "{} in {} is a virtual key already",
            one.name,
            path.display()
        )));
    }
    Ok(Lying {
        kind,
        variable: one.name.to_owned(),
        line: Some(one.line),
        secret: secret::checked(one.value.as_bytes())?,
    })
}

fn in_environment(args: &AdoptArgs, variable: &str) -> Result<Lying, Failure> {
    use std::os::unix::ffi::OsStringExt;
    let of_variable = known::held_by(variable).map(|(_, kind)| kind);
    let kind = wanted(args)?.or(of_variable).ok_or_else(|| {
        Failure::usage(format!("whose key is in {variable}? say it with --provider"))
    })?;
    let value = std::env::var_os(variable)
        .ok_or_else(|| Failure::no(format!("{variable} is not set in this environment")))?;
    let value = Zeroizing::new(value.into_vec());
    let secret = secret::checked(&value)?;
    Ok(Lying { kind, variable: variable.to_owned(), line: None, secret })
}

/// The provider that was said, or that the credential is called after.
fn wanted(args: &AdoptArgs) -> Result<Option<&'static Kind>, Failure> {
    match &args.provider {
        Some(name) => known::named(name)
            .map(Some)
            .ok_or_else(|| Failure::usage(format!("no provider is called {name}"))),
        None => Ok(known::named(&args.name)),
    }
}
