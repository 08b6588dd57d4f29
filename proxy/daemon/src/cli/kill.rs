//! `tollgate kill` and `tollgate unkill`.

use std::io::{self, BufRead, IsTerminal};

use clap::{ArgGroup, Args};
use serde_json::json;

use super::common::{Common, who_asks};
use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint, counted, grouped, harmless};
use crate::folder::StateFolder;
use crate::gate::client;
use crate::gate::protocol::{Act, Answer, Ask, Killed, Switch, Target};

/// Whom a switch stops.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true)))]
struct Whom {
    /// One agent, by name
    #[arg(long, value_name = "NAME", group = "whom", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    agent: Option<String>,

    /// Every agent of one team, by name
    #[arg(long, value_name = "NAME", group = "whom", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    team: Option<String>,

    /// One virtual key, by id
    #[arg(long, value_name = "ID", group = "whom", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key: Option<String>,

    /// Every agent of this state folder
    #[arg(long, group = "whom")]
    all: bool,
}

impl Whom {
    fn target(&self) -> Target {
        match (&self.agent, &self.team, &self.key) {
            (Some(name), ..) => Target::Agent(name.clone()),
            (None, Some(name), _) => Target::Team(name.clone()),
            (None, None, Some(id)) => Target::Key(id.clone()),
            (None, None, None) => Target::All,
        }
    }
}

/// Flags of `tollgate kill`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate kill --agent refund-bot --reason \"INC-4711\"\n  tollgate kill --team payments --reason INC-4711\n  tollgate kill --all --reason drill --dry-run"
)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    whom: Whom,

    /// Why; it stands in the ledger
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,

    /// Only say what it would cut
    #[arg(long)]
    dry_run: bool,

    /// Do not ask before --all
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    common: Common,
}

/// Flags of `tollgate unkill`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate unkill --agent refund-bot --reason INC-4711")]
pub(crate) struct UnkillArgs {
    #[command(flatten)]
    whom: Whom,

    /// Why; it stands in the ledger
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,

    #[command(flatten)]
    common: Common,
}

/// Sets a kill switch.
pub(crate) fn kill(args: &KillArgs, out: &mut Out) -> Ended {
    if args.whom.all && !args.yes && !args.dry_run {
        confirm(&args.common)?;
    }
    let (target, reason) = (args.whom.target(), args.reason.clone());
    let switch = Switch { target: target.clone(), reason, by: who_asks(), dry_run: args.dry_run };
    let path = args.common.path()?;
    let is_new = !path.exists();
    let answer = ask(&args.common, Act::Kill(switch))?;
    let Answer::Killed(killed) = &answer else { return Err(unexpected(&answer)) };
    if is_new {
        // Who mistyped the folder must not believe that they stopped somebody.
        let path = harmless(&path.display().to_string());
        let made = format!(
            "{path} was not there and was made: no gate has used it, so nobody runs there yet"
        );
        Out::stderr().line(&Line::new().paint(Paint::Bad, made))?;
    }
    report(args, &target, killed, out)
}

fn report(args: &KillArgs, target: &Target, killed: &Killed, out: &mut Out) -> Ended {
    let recorded = killed.entry.is_some() || args.dry_run;
    if args.common.json {
        out.json(&json!({
            "target": target,
            "dry_run": args.dry_run,
            "in_force": !args.dry_run,
            "recorded": killed.entry.is_some(),
            "entry": killed.entry,
            "cut": killed.cut,
            "reset": killed.reset,
            "took_us": killed.took_us,
        }))?;
    } else {
        out.line(&sentence(args.dry_run, target, killed))?;
    }
    // In force, but a gate that starts anew would not know of it.
    Ok(if recorded { Exit::Done } else { Exit::Could })
}

fn sentence(dry_run: bool, target: &Target, killed: &Killed) -> Line {
    let streams = counted(killed.cut, "stream", "streams");
    if dry_run {
        return Line::new()
            .paint(Paint::Bold, "would kill")
            .text(format!(": {target} · {streams} to cut"));
    }
    let mut line =
        Line::new().paint(Paint::Bold, "killed").text(format!(": {target} · {streams} cut"));
    if killed.reset > 0 {
        line = line.text(format!(", {} of them by reset", grouped(killed.reset)));
    }
    line = match killed.entry {
        Some(entry) => line.text(format!(" · entry {}", grouped(entry))),
        None => line.text(" · ").paint(
            Paint::Bad,
            "in force, not recorded: the ledger cannot write; free disk space and kill again",
        ),
    };
    line.text(format!(" · {}", took(killed.took_us)))
}

fn took(us: u64) -> String {
    if us < 1000 { format!("{us} µs") } else { format!("{} ms", grouped((us + 500) / 1000)) }
}

/// Lifts a kill switch.
pub(crate) fn unkill(args: &UnkillArgs, out: &mut Out) -> Ended {
    let (target, reason) = (args.whom.target(), args.reason.clone());
    let switch = Switch { target: target.clone(), reason, by: who_asks(), dry_run: false };
    let answer = ask(&args.common, Act::Unkill(switch))?;
    let Answer::Unkilled { entry } = answer else { return Err(unexpected(&answer)) };
    if args.common.json {
        out.json(&json!({ "target": target, "entry": entry }))?;
    } else {
        let line = Line::new().paint(Paint::Bold, "lifted");
        out.line(&line.text(format!(": {target} · entry {}", grouped(entry))))?;
    }
    Ok(Exit::Done)
}

/// Asks the gate of the state folder, started if need be: a switch holds for runs to come too.
pub(super) fn ask(common: &Common, act: Act) -> Result<Answer, Failure> {
    let state = common.folder_or_new()?;
    let mut conn = client::connect_or_spawn(&state)?;
    answer(&mut conn, &state, &Ask::Act(Box::new(act)))
}

/// The same of a state folder that is there already: what is asked for cannot be in one that is not.
pub(super) fn ask_existing(common: &Common, act: Act) -> Result<Answer, Failure> {
    common.folder()?;
    ask(common, act)
}

/// The gate's answer; what it could not do is a failure.
pub(super) fn answer(
    conn: &mut crate::gate::socket::Conn,
    state: &StateFolder,
    ask: &Ask,
) -> Result<Answer, Failure> {
    let answer = client::ask(conn, state, ask)?;
    if let Answer::Failed { what } = answer { Err(Failure::no(what)) } else { Ok(answer) }
}

/// A gate of another version may answer what this one does not ask for.
pub(super) fn unexpected(answer: &Answer) -> Failure {
    let name = serde_json::to_value(answer).ok().and_then(|value| value.get("answer").cloned());
    let name = name.map_or_else(|| "something else".to_owned(), |name| name.to_string());
    Failure::could_not(format!(
        "the gate answered {name}: it is of another version than this command"
    ))
    .then("end its runs, so that the gate ends, and try again")
}

/// Asks twice before every agent is stopped.
fn confirm(common: &Common) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage("--all stops every agent, and there is no terminal to ask on")
            .then("tollgate kill --all --yes --reason TEXT"));
    }
    let path = common.path()?;
    let questions = [
        (format!("This stops every agent of {}. Go on? Type yes: ", path.display()), "yes"),
        ("Their streams are cut at once and nothing more is sent. Type ALL: ".to_owned(), "ALL"),
    ];
    for (question, wanted) in questions {
        Out::stderr().raw(&harmless(&question))?;
        let mut typed = String::new();
        io::stdin().lock().read_line(&mut typed).map_err(Failure::could_not)?;
        if typed.trim() != wanted {
            return Err(Failure::no("nothing was killed"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::plain;

    fn killed(entry: Option<u64>, cut: u64, reset: u64) -> Killed {
        Killed { entry, cut, reset, took_us: 4123 }
    }

    #[test]
    fn a_team_is_named_as_one() {
        let team = Target::Team("payments".into());
        let line = plain(&sentence(false, &team, &killed(Some(7), 2, 0)));
        assert_eq!(line, "killed: team payments · 2 streams cut · entry 7 · 4 ms");
        let json = serde_json::to_string(&team).unwrap();
        assert_eq!(json, r#"{"team":"payments"}"#);
    }

    #[test]
    fn a_kill_says_whom_what_where_and_how_long() {
        let agent = Target::Agent("refund-bot".into());
        assert_eq!(
            plain(&sentence(false, &agent, &killed(Some(18_202), 3, 0))),
            "killed: agent refund-bot · 3 streams cut · entry 18,202 · 4 ms"
        );
        assert_eq!(
            plain(&sentence(false, &Target::All, &killed(None, 1, 1))),
            "killed: every agent · 1 stream cut, 1 of them by reset · in force, not recorded: the ledger cannot write; \
             free disk space and kill again · 4 ms"
        );
        assert_eq!(
            plain(&sentence(true, &Target::Key("k1".into()), &killed(None, 0, 0))),
            "would kill: key k1 · 0 streams to cut"
        );
    }
}
