//! `tollgate key`: standing keys, made for an agent and taken back.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use decide::case::Timestamp;
use serde_json::{Value, json};

use super::common::{Common, who_asks};
use super::failure::{Ended, Exit};
use super::kill::{ask, ask_existing, unexpected};
use super::out::{Line, Out, Paint, counted, grouped};
use super::when;
use crate::clock::Clock;
use crate::gate::protocol::{Act, Answer, KeyMade, KeyTaken};
use crate::keys::{Condition, KeyRow, NewKey, Origin};

/// Flags of `tollgate key`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate key create ci --agent refund-bot --credential openai-prod --expires 30d\n  tollgate key list"
)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Makes a key for an agent and prints it, this once
    Create(CreateArgs),
    /// Lists the keys, without the keys themselves
    #[command(before_help = "Example:\n  tollgate key list --json")]
    List(Common),
    /// Shows one key
    Show(ShowArgs),
    /// Takes a key back and cuts what it has under way
    Revoke(RevokeArgs),
}

/// Flags of `tollgate key create`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate key create ci --agent refund-bot --credential openai-prod --expires 30d --from address:10.1.0.0/16 > key"
)]
struct CreateArgs {
    /// What the key is called; no two live keys share a name
    #[arg(value_name = "NAME")]
    name: String,

    /// The agent, as contracts name it, who alone may use it
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    agent: String,

    /// The credential that it stands for, by its name in the vault
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    credential: String,

    /// How long it is valid: 30d, 12h, 2w
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,

    /// How many requests it is good for in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    uses: Option<u64>,

    /// A place that it may be used from (may be repeated): `address:RANGE`, `cgroup:/PATH` or `certificate:NAME`
    #[arg(long, value_name = "PLACE")]
    from: Vec<Origin>,

    #[command(flatten)]
    common: Common,
}

/// Flags of `tollgate key show`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate key show ci")]
struct ShowArgs {
    /// The key, by id or name
    #[arg(value_name = "KEY")]
    key: String,

    #[command(flatten)]
    common: Common,
}

/// Flags of `tollgate key revoke`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate key revoke ci --reason INC-4711")]
struct RevokeArgs {
    /// The key, by id or name
    #[arg(value_name = "KEY")]
    key: String,

    /// Why; it stands in the ledger
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,

    #[command(flatten)]
    common: Common,
}

/// Makes, lists, shows or revokes keys.
pub(crate) fn run(args: &KeyArgs, out: &mut Out) -> Ended {
    match &args.verb {
        Verb::Create(create) => self::create(create, out),
        Verb::List(common) => list(common, out),
        Verb::Show(show) => self::show(show, out),
        Verb::Revoke(revoke) => self::revoke(revoke, out),
    }
}

fn create(args: &CreateArgs, out: &mut Out) -> Ended {
    let now = Clock::system().now();
    let expires = args.expires.as_deref().map(|span| when::after(now, span)).transpose()?;
    let asked = NewKey {
        name: args.name.clone(),
        agent: args.agent.clone(),
        credential: args.credential.clone(),
        expires,
        uses: args.uses,
        from: args.from.clone(),
        by: who_asks(),
    };
    let answer = ask(&args.common, Act::CreateKey(asked))?;
    let Answer::KeyMade(made) = &answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&json!({
            "key": made.key.0,
            "id": made.id,
            "name": args.name,
            "agent": args.agent,
            "credential": args.credential,
            "expires": expires.map(when::utc),
            "uses": args.uses,
            "from": args.from,
            "entry": made.entry,
        }))?;
        return Ok(Exit::Done);
    }
    let mut aside = Out::stderr();
    aside.line(&made_line(args, expires, made, aside.is_terminal()))?;
    if args.from.is_empty() {
        aside.line(&Line::new().paint(Paint::Dim, "          nothing binds it to a place: it opens where the agent is known by its workload, or its contract says bearer: true"))?;
    }
    out.raw(&format!("{}\n", made.key.0))?;
    Ok(Exit::Done)
}

fn made_line(
    args: &CreateArgs,
    expires: Option<Timestamp>,
    made: &KeyMade,
    terminal: bool,
) -> Line {
    let mut line = Line::new().paint(Paint::Bold, "made").text(format!(
        ": {} ({}) for agent {} · credential {}",
        args.name, made.id, args.agent, args.credential
    ));
    if let Some(end) = expires {
        line = line.text(format!(" · until {}", when::shown(end, terminal)));
    }
    if let Some(uses) = args.uses {
        line = line.text(format!(" · {}", counted(uses, "use", "uses")));
    }
    line.text(format!(" · entry {} · the key is shown this once", grouped(made.entry)))
}

fn list(common: &Common, out: &mut Out) -> Ended {
    let answer = ask_existing(common, Act::ListKeys)?;
    let Answer::Keys { keys } = &answer else { return Err(unexpected(&answer)) };
    if common.json {
        out.json(&json!({ "keys": keys.iter().map(document).collect::<Vec<_>>() }))?;
        return Ok(Exit::Done);
    }
    if keys.is_empty() {
        out.line(&Line::of("no standing keys"))?;
    }
    let width = |of: fn(&KeyRow) -> &str| {
        keys.iter().map(|key| of(key).chars().count()).max().unwrap_or(0) + 2
    };
    let (names, agents, credentials) =
        (width(|key| &key.name), width(|key| &key.agent), width(|key| &key.credential));
    let terminal = out.is_terminal();
    for key in keys {
        let (word, paint) = condition(key.condition);
        let line = Line::new()
            .column(Paint::Bold, names, &key.name)
            .column(Paint::Dim, 20, &key.id)
            .column(paint, 9, word)
            .column(Paint::Plain, agents, &key.agent)
            .column(Paint::Plain, credentials, &key.credential);
        out.line(&line.text(terms(key, terminal)))?;
    }
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, out: &mut Out) -> Ended {
    let answer = ask_existing(&args.common, Act::ShowKey { which: args.key.clone() })?;
    let Answer::Key(key) = &answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&document(key))?;
        return Ok(Exit::Done);
    }
    let terminal = out.is_terminal();
    let (word, paint) = condition(key.condition);
    out.line(
        &Line::new()
            .paint(Paint::Bold, &key.name)
            .text(format!(" ({}) ", key.id))
            .paint(paint, word),
    )?;
    let places: Vec<String> = key.from.iter().map(ToString::to_string).collect();
    let from =
        if places.is_empty() { "not bound to a place".to_owned() } else { places.join(", ") };
    for (name, value) in [
        ("agent", key.agent.clone()),
        ("credential", key.credential.clone()),
        ("made", format!("{} by {}", when::shown(key.created, terminal), key.by)),
        (
            "until",
            key.expires.map_or_else(|| "revoked".to_owned(), |end| when::shown(end, terminal)),
        ),
        ("used", uses(key)),
        ("from", from),
    ] {
        out.line(&Line::new().column(Paint::Dim, 12, name).text(value))?;
    }
    Ok(Exit::Done)
}

fn revoke(args: &RevokeArgs, out: &mut Out) -> Ended {
    let (which, reason) = (args.key.clone(), args.reason.clone());
    let answer = ask_existing(&args.common, Act::RevokeKey { which, reason, by: who_asks() })?;
    let Answer::KeyTaken(taken) = &answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&json!({
            "id": taken.id, "in_force": true, "recorded": taken.entry.is_some(), "entry": taken.entry, "cut": taken.cut,
        }))?;
    } else {
        out.line(&taken_line(&args.key, taken))?;
    }
    // In force, but a gate that starts anew would not know of it.
    Ok(if taken.entry.is_some() { Exit::Done } else { Exit::Could })
}

fn taken_line(typed: &str, taken: &KeyTaken) -> Line {
    let id = if typed == taken.id { String::new() } else { format!(" ({})", taken.id) };
    let cut = counted(taken.cut, "stream", "streams");
    let line =
        Line::new().paint(Paint::Bold, "revoked").text(format!(": key {typed}{id} · {cut} cut · "));
    match taken.entry {
        Some(entry) => line.text(format!("entry {}", grouped(entry))),
        None => line.paint(
            Paint::Bad,
            "in force, not recorded: the ledger cannot write; free disk space and revoke again",
        ),
    }
}

fn document(key: &KeyRow) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "agent": key.agent,
        "credential": key.credential,
        "condition": key.condition,
        "created": when::utc(key.created),
        "expires": key.expires.map(when::utc),
        "uses": key.uses,
        "used": key.used,
        "from": key.from,
        "by": key.by,
    })
}

const fn condition(condition: Condition) -> (&'static str, Paint) {
    match condition {
        Condition::Live => ("live", Paint::Good),
        Condition::Expired => ("expired", Paint::Dim),
        Condition::UsedUp => ("used up", Paint::Dim),
        Condition::Revoked => ("revoked", Paint::Bad),
    }
}

fn uses(key: &KeyRow) -> String {
    let used = counted(key.used, "time", "times");
    key.uses.map_or_else(|| used.clone(), |uses| format!("{used} of {}", grouped(uses)))
}

fn terms(key: &KeyRow, terminal: bool) -> String {
    let until = key.expires.map(|end| format!("until {}", when::shown(end, terminal)));
    let places = key.from.iter().map(ToString::to_string);
    let terms = [format!("used {}", uses(key))].into_iter().chain(until).chain(places);
    terms.collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::plain;

    #[test]
    fn a_revoked_key_is_named_as_it_was_typed_and_by_its_id() {
        let taken = KeyTaken { id: "k_1".into(), entry: Some(18_202), cut: 3 };
        assert_eq!(
            plain(&taken_line("ci", &taken)),
            "revoked: key ci (k_1) · 3 streams cut · entry 18,202"
        );
        let lost = KeyTaken { entry: None, cut: 1, ..taken };
        let line = plain(&taken_line("k_1", &lost));
        assert!(
            line.starts_with("revoked: key k_1 · 1 stream cut · in force, not recorded"),
            "{line}"
        );
    }

    #[test]
    fn a_line_of_the_list_says_the_terms() {
        let key = KeyRow {
            id: "k_1".into(),
            name: "ci".into(),
            agent: "bot".into(),
            credential: "openai".into(),
            created: Timestamp(0),
            expires: Some(Timestamp(1_795_269_544_123_456)),
            uses: Some(2_000),
            used: 1,
            from: vec!["address:10.0.0.0/8".parse().unwrap()],
            condition: Condition::Live,
            by: "uid 0".into(),
        };
        assert_eq!(
            terms(&key, false),
            "used 1 time of 2,000 · until 2026-11-21T13:59:04.123Z · address:10.0.0.0/8"
        );
        assert_eq!(document(&key)["condition"], "live");
    }
}
