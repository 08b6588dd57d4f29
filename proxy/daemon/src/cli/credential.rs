//! `tollgate credential`: real keys, sealed under names, exchanged and removed. No secret is an argument.

mod adopt;
mod dotenv;
mod secret;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::common::{Common, who_asks};
use super::failure::{Ended, Exit, Failure};
use super::kill::{ask, ask_existing, unexpected};
use super::out::{Line, Out, Paint, counted, grouped};
use super::when;
use crate::gate::protocol::{Act, Answer, CredentialSet, NewCredential};
use crate::vault::Listed;
use crate::vault::known::KINDS;

/// Flags of `tollgate credential`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate credential add openai-prod --provider openai --from-file key.txt\n  tollgate credential list"
)]
pub(crate) struct CredentialArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Seals a real key under a name; it is read from standard input, or from a file
    Add(AddArgs),
    /// Lists the credentials, without their secrets
    #[command(before_help = "Example:\n  tollgate credential list --json")]
    List(Common),
    /// Exchanges the secret; the next request has the new one
    Rotate(RotateArgs),
    /// Forgets a credential
    Remove(RemoveArgs),
    /// Seals a key that lies in a .env file or in this environment
    Adopt(adopt::AdoptArgs),
}

/// Flags of `tollgate credential add`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate credential add openai-prod --provider openai --from-file key.txt\n  tollgate credential add openai-prod --provider openai"
)]
struct AddArgs {
    /// What the credential is called, in configuration and for keys
    #[arg(value_name = "NAME")]
    name: String,

    /// Whose key it is
    #[arg(long, value_name = "NAME", value_parser = providers())]
    provider: String,

    /// The file that the key is read from, in place of standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

/// Flags of `tollgate credential rotate`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate credential rotate openai-prod --from-file new.txt")]
struct RotateArgs {
    /// The credential
    #[arg(value_name = "NAME")]
    name: String,

    /// The file that the new key is read from, in place of standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    #[command(flatten)]
    common: Common,
}

/// Flags of `tollgate credential remove`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate credential remove openai-prod")]
struct RemoveArgs {
    /// The credential
    #[arg(value_name = "NAME")]
    name: String,

    /// Even while virtual keys stand for it; they are revoked
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

fn providers() -> clap::builder::PossibleValuesParser {
    KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().into()
}

/// Adds, lists, exchanges, removes or adopts credentials.
pub(crate) fn run(args: &CredentialArgs, out: &mut Out) -> Ended {
    match &args.verb {
        Verb::Add(add) => self::add(add, out),
        Verb::List(common) => list(common, out),
        Verb::Rotate(rotate) => self::rotate(rotate, out),
        Verb::Remove(remove) => self::remove(remove, out),
        Verb::Adopt(adopt) => adopt::run(adopt, out),
    }
}

fn add(args: &AddArgs, out: &mut Out) -> Ended {
    let secret = secret::read(args.from_file.as_deref(), &args.name)?;
    let (name, provider) = (args.name.clone(), args.provider.clone());
    let asked = NewCredential { name, provider, secret, adopted: None, by: who_asks() };
    let set = set(ask(&args.common, Act::AddCredential(asked))?)?;
    if args.common.json {
        let (name, provider) = (&args.name, &args.provider);
        out.json(&json!({
            "name": name, "provider": provider, "version": set.version, "entry": set.entry,
        }))?;
    } else {
        let what = format!(": {} ({}) · entry {}", args.name, args.provider, grouped(set.entry));
        out.line(&Line::new().paint(Paint::Bold, "sealed").text(what))?;
    }
    Ok(Exit::Done)
}

fn list(common: &Common, out: &mut Out) -> Ended {
    let answer = ask_existing(common, Act::ListCredentials)?;
    let Answer::Credentials { credentials } = &answer else { return Err(unexpected(&answer)) };
    if common.json {
        let row = |one: &Listed| {
            json!({
                "name": one.name,
                "provider": one.provider,
                "since": one.since.map(when::utc),
                "version": one.version,
            })
        };
        out.json(&json!({ "credentials": credentials.iter().map(row).collect::<Vec<_>>() }))?;
        return Ok(Exit::Done);
    }
    if credentials.is_empty() {
        out.line(&Line::of("no credentials"))?;
    }
    let width = credentials.iter().map(|one| one.name.chars().count()).max().unwrap_or(0) + 2;
    let terminal = out.is_terminal();
    for one in credentials {
        out.line(&line(one, width, terminal))?;
    }
    Ok(Exit::Done)
}

fn line(one: &Listed, width: usize, terminal: bool) -> Line {
    let since = one.since.map_or_else(
        || "brought by a run".to_owned(),
        |since| format!("since {}", when::shown(since, terminal)),
    );
    Line::new()
        .column(Paint::Bold, width, &one.name)
        .column(Paint::Plain, 12, one.provider.as_deref().unwrap_or("(unknown)"))
        .text(format!("{since} · version {}", grouped(one.version)))
}

fn rotate(args: &RotateArgs, out: &mut Out) -> Ended {
    let secret = secret::read(args.from_file.as_deref(), &args.name)?;
    let act = Act::RotateCredential { name: args.name.clone(), secret, by: who_asks() };
    let set = set(ask_existing(&args.common, act)?)?;
    if args.common.json {
        out.json(&json!({ "name": args.name, "version": set.version, "entry": set.entry }))?;
    } else {
        let version = grouped(set.version.unwrap_or_default());
        let what = format!(": {} · version {version} · entry {}", args.name, grouped(set.entry));
        out.line(&Line::new().paint(Paint::Bold, "exchanged").text(what))?;
    }
    Ok(Exit::Done)
}

fn remove(args: &RemoveArgs, out: &mut Out) -> Ended {
    let act = Act::RemoveCredential { name: args.name.clone(), force: args.force, by: who_asks() };
    let set = set(ask_existing(&args.common, act)?)?;
    if args.common.json {
        out.json(&json!({ "name": args.name, "revoked": set.revoked, "entry": set.entry }))?;
    } else {
        let keys = match set.revoked.len() as u64 {
            0 => String::new(),
            keys => format!(" · {} revoked", counted(keys, "key", "keys")),
        };
        let what = format!(": {}{keys} · entry {}", args.name, grouped(set.entry));
        out.line(&Line::new().paint(Paint::Bold, "removed").text(what))?;
    }
    Ok(Exit::Done)
}

fn set(answer: Answer) -> Result<CredentialSet, Failure> {
    if let Answer::CredentialSet(set) = answer { Ok(set) } else { Err(unexpected(&answer)) }
}

#[cfg(test)]
mod tests {
    use decide::case::Timestamp;

    use super::*;
    use crate::cli::out::plain;

    #[test]
    fn a_line_of_the_list_says_whose_and_since_when() {
        let listed = |since| Listed {
            name: "openai-prod".into(),
            provider: Some("openai".into()),
            since,
            version: 2,
        };
        assert_eq!(
            plain(&line(&listed(Some(Timestamp(1_795_269_544_123_456))), 13, false)),
            "openai-prod  openai      since 2026-11-21T13:59:04.123Z · version 2"
        );
        assert!(plain(&line(&listed(None), 13, false)).contains("brought by a run"));
    }
}
