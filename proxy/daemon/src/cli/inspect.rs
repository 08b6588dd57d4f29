//! `tollgate inspect`: one decision, explained.

use audit::Entry;
use clap::Args;
use decide::case::{Case, Reservation};
use decide::{Known, Missing, Outcome as Conclusion, Setting, Verdict};
use serde::Serialize;
use serde_json::Value;

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint, counted, grouped};
use super::tail::{Item, asked};
use super::when;
use crate::exchange::settle::hint_in;
use crate::ledger_view::{LedgerView, Said, Trails, time};
use crate::record::{Decided, Outcome};

/// How many of several are listed.
const LISTED: usize = 50;

/// Flags of `tollgate inspect`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate inspect 01JDB7W3\n  tollgate inspect 18202")]
pub(crate) struct InspectArgs {
    /// A decision's id or the beginning of one, a trace, an entry's number, or the provider's id of a request
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    common: Common,
}

/// What was found.
#[derive(Debug, Default)]
struct Finds {
    decisions: Vec<(Entry, Box<Decided>, Option<Box<Outcome>>)>,
    other: Option<Entry>,
}

impl Finds {
    /// Everything that `wanted` is true of, and the outcomes of the decisions among it.
    fn search(
        ledger: &mut LedgerView,
        wanted: impl Fn(&Entry, &Said) -> bool,
    ) -> Result<Self, Failure> {
        let mut finds = Self::default();
        ledger.each(|entry, said| {
            let hit = wanted(entry, &said);
            match said {
                Said::Decided(decided) if hit => {
                    finds.decisions.push((entry.clone(), decided, None));
                }
                Said::Outcome(outcome) => {
                    let of =
                        finds.decisions.iter_mut().find(|(_, decided, _)| decided.id == outcome.id);
                    if let Some((_, _, place)) = of {
                        *place = Some(outcome);
                    } else if hit {
                        finds.other = Some(entry.clone());
                    }
                }
                Said::Decided(_)
                | Said::Run(_)
                | Said::Killed(_)
                | Said::Unkilled(_)
                | Said::Budget(_)
                | Said::Refusals(_)
                | Said::Attempts(_)
                | Said::Inbound(_)
                | Said::Other
                | Said::Unreadable(_) => {
                    if hit {
                        finds.other = Some(entry.clone());
                    }
                }
            }
        })?;
        Ok(finds)
    }
}

/// What an ID may mean for an entry.
fn means(id: &str, entry: &Entry, said: &Said) -> bool {
    if id.parse() == Ok(entry.seq) {
        return true;
    }
    match said {
        Said::Decided(decided) => begins(&decided.id, id) || decided.trace == id,
        Said::Outcome(outcome) => outcome.provider_id.as_deref() == Some(id),
        Said::Run(_)
        | Said::Killed(_)
        | Said::Unkilled(_)
        | Said::Budget(_)
        | Said::Refusals(_)
        | Said::Attempts(_)
        | Said::Inbound(_)
        | Said::Other
        | Said::Unreadable(_) => false,
    }
}

/// ULIDs are typed in either case; a beginning of fewer than four characters is no name.
fn begins(id: &str, typed: &str) -> bool {
    typed.len() >= 4 && id.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
}

/// Explains one decision.
pub(crate) fn run(args: &InspectArgs, out: &mut Out) -> Ended {
    let id = args.id.trim().trim_end_matches('…').replace(',', "");
    let mut ledger = args.common.ledger()?;
    let mut finds = Finds::search(&mut ledger, |entry, said| means(&id, entry, said))?;
    // An outcome leads to its decision, which stands before it.
    let said = finds.other.as_ref().map(|entry| Said::by(entry, &Trails::default()));
    if let Some(Said::Outcome(outcome)) = said {
        ledger = args.common.ledger()?;
        finds = Finds::search(
            &mut ledger,
            |_, said| matches!(said, Said::Decided(decided) if decided.id == outcome.id),
        )?;
    }
    match (finds.decisions.as_slice(), &finds.other) {
        ([(entry, decided, outcome)], _) => {
            let page =
                Page { entry, decided, outcome: outcome.as_deref(), unlinked: ledger.unlinked() };
            page.show(args.common.json, out)
        }
        ([], Some(entry)) => other(entry, args.common.json, out),
        ([], None) => Err(Failure::no(format!("nothing in the ledger is called {id}"))
            .then("tollgate tail -n 50")),
        (several, _) => {
            for (entry, decided, _) in several.iter().take(LISTED) {
                let Some(item) = Item::of(entry, &Said::Decided(decided.clone())) else { continue };
                if args.common.json {
                    out.json(&item)?;
                } else {
                    out.line(&item.line(out.is_terminal()))?;
                }
            }
            if several.len() > LISTED {
                let more = several.len() - LISTED;
                Out::stderr().line(&Line::of(format!("… and {more} more: type more of the id")))?;
            }
            Ok(Exit::Done)
        }
    }
}

/// An entry that is about no exchange.
fn other(entry: &Entry, json: bool, out: &mut Out) -> Ended {
    if json {
        out.json(entry)?;
        return Ok(Exit::Done);
    }
    let kind = serde_json::to_value(entry.kind).ok();
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("entry");
    let at = when::shown(time(entry), out.is_terminal());
    out.line(
        &Line::new().paint(Paint::Bold, kind).text(format!("  entry {}  {at}", grouped(entry.seq))),
    )?;
    out.line(&Line::of(entry.body.as_str()))?;
    field(out, "hash", entry.hash)?;
    Ok(Exit::Done)
}

/// One decision with all that is known of it.
struct Page<'a> {
    entry: &'a Entry,
    decided: &'a Decided,
    outcome: Option<&'a Outcome>,
    unlinked: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    entry: u64,
    time: String,
    hash: audit::Hash,
    prev: audit::Hash,
    who: &'a audit::Who,
    linked: bool,
    decided: &'a Decided,
    outcome: Option<&'a Outcome>,
}

impl Page<'_> {
    fn linked(&self) -> bool {
        self.unlinked.is_none_or(|at| at > self.entry.seq)
    }

    fn forwarded(&self) -> bool {
        matches!(self.decided.decision.outcome, Conclusion::Forward { .. })
    }

    fn show(&self, json: bool, out: &mut Out) -> Ended {
        if json {
            out.json(&Document {
                entry: self.entry.seq,
                time: when::utc(time(self.entry)),
                hash: self.entry.hash,
                prev: self.entry.prev,
                who: &self.entry.who,
                linked: self.linked(),
                decided: self.decided,
                outcome: self.outcome,
            })?;
            return Ok(Exit::Done);
        }
        self.head(out)?;
        facts(&self.decided.case, out)?;
        self.money(out)?;
        self.end(out)?;
        self.rules(out)?;
        self.proof(out)?;
        Ok(Exit::Done)
    }

    fn head(&self, out: &mut Out) -> Result<(), Failure> {
        let decided = self.decided;
        let at = when::shown(time(self.entry), out.is_terminal());
        out.line(
            &Line::new()
                .text("decision ")
                .paint(Paint::Bold, &decided.id)
                .text(format!("  entry {}  {at}", grouped(self.entry.seq))),
        )?;
        let line = match (&decided.decision.outcome, &decided.decision.observed) {
            (Conclusion::Refuse(refusal), _) => Line::new()
                .paint(Paint::Bad, "refused")
                .text(format!(" by {}: {}", refusal.rule, refusal.reason)),
            (Conclusion::Forward { .. }, Some(would)) => Line::new()
                .paint(Paint::Warn, "observed")
                .text(format!(", enforce would refuse by {}: {}", would.rule, would.reason)),
            (Conclusion::Forward { redact: true }, None) => {
                Line::new().paint(Paint::Warn, "forwarded").text(", secrets replaced")
            }
            (Conclusion::Forward { redact: false }, None) => {
                Line::new().paint(Paint::Good, "forwarded")
            }
        };
        out.line(&line)?;
        if let Conclusion::Refuse(refusal) = &decided.decision.outcome
            && let Some(hint) = hint_in(&decided.run, setting(&decided.case), refusal)
        {
            field(out, "to do", hint)?;
        }
        out.line(&Line::new())?;
        field(out, "agent", &decided.agent)?;
        field(out, "run", &decided.run)?;
        field(out, "trace", &decided.trace)?;
        field(out, "asked", asked(decided))?;
        let mode = match decided.mode {
            decide::policy::Mode::Observe => "observe",
            decide::policy::Mode::Enforce => "enforce",
        };
        field(out, "policy", format!("{} ({mode})", decided.policy))?;
        if !self.forwarded() {
            return Ok(());
        }
        if let Some(credential) = &decided.credential {
            field(out, "credential", format!("{credential}, put in by the gate"))?;
        }
        let amended = decided.amended;
        if amended.redacted > 0 {
            field(out, "replaced", counted(amended.redacted, "secret", "secrets"))?;
        }
        if let Some(limit) = amended.output_limit {
            field(out, "amended", format!("output limit set to {} tokens", grouped(limit)))?;
        }
        if amended.include_usage {
            field(out, "amended", "stream_options.include_usage added")?;
        }
        Ok(())
    }

    fn money(&self, out: &mut Out) -> Result<(), Failure> {
        // What a refused request would have cost at worst was given back.
        if let Ok(Reservation::Granted { worst, .. }) = self.decided.case.budget.get()
            && self.forwarded()
        {
            field(out, "set aside", worst)?;
        }
        let Some(outcome) = self.outcome else { return Ok(()) };
        if let Some(cost) = outcome.cost {
            let sign = if outcome.usage.is_none() && cost.0 > 0 { "≈ " } else { "" };
            field(out, "cost", format!("{sign}{cost}"))?;
        }
        if let Some(doubt) = outcome.in_doubt.filter(|doubt| doubt.0 > 0) {
            field(out, "in doubt", doubt)?;
        }
        if let Some(usage) = outcome.usage {
            let cached = usage.cache_read + usage.cache_write_5m + usage.cache_write_1h;
            let tokens = format!(
                "{} in, {} cached, {} out",
                grouped(usage.input),
                grouped(cached),
                grouped(usage.output)
            );
            field(out, "tokens", tokens)?;
        }
        Ok(())
    }

    fn end(&self, out: &mut Out) -> Result<(), Failure> {
        let Some(outcome) = self.outcome else {
            if self.forwarded() {
                field(out, "answer", "none recorded: still open, or lost when the gate ended")?;
            }
            return Ok(());
        };
        let status = outcome.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let gone = if outcome.gone { ", the caller went away" } else { "" };
        let took = grouped(outcome.took_us / 1000);
        let bytes =
            format!("{} B out, {} B in", grouped(outcome.bytes_out), grouped(outcome.bytes_in));
        field(out, "answer", format!("{status}, {bytes}, {took} ms{gone}"))?;
        if let Some(cut) = &outcome.cut {
            let line = Line::new().column(Paint::Dim, 12, "cut");
            out.line(&line.paint(Paint::Bad, format!("by {}: {}", cut.rule, cut.reason)))?;
        }
        if let Some(id) = &outcome.provider_id {
            field(out, "provider id", id)?;
        }
        if !outcome.calls.is_empty() {
            field(out, "tool calls", outcome.calls.join(", "))?;
        }
        Ok(())
    }

    fn rules(&self, out: &mut Out) -> Result<(), Failure> {
        out.line(&Line::new())?;
        for said in &self.decided.decision.trail {
            let (sign, paint, why) = match &said.verdict {
                Verdict::Pass => ("✓", Paint::Good, String::new()),
                Verdict::Abstain => ("·", Paint::Dim, "does not concern it".to_owned()),
                Verdict::Redact => ("‼", Paint::Warn, "replace every finding".to_owned()),
                Verdict::Block(reason) => ("✗", Paint::Bad, reason.to_string()),
            };
            out.line(
                &Line::new()
                    .paint(paint, sign)
                    .text(" ")
                    .column(Paint::Plain, 26, said.rule)
                    .text(why),
            )?;
        }
        Ok(())
    }

    fn proof(&self, out: &mut Out) -> Result<(), Failure> {
        out.line(&Line::new())?;
        field(out, "hash", self.entry.hash)?;
        field(out, "follows", self.entry.prev)?;
        let links = if self.linked() {
            format!("every entry from 0 to {} links to the one before", grouped(self.entry.seq))
        } else {
            "an entry before this one does not link: tollgate audit verify".to_owned()
        };
        field(out, "chain", links)
    }
}

/// The facts that were judged, as far as they were established.
fn facts(case: &Case, out: &mut Out) -> Result<(), Failure> {
    let facts = serde_json::to_value(case).map_err(Failure::could_not)?;
    let Value::Object(facts) = facts else { return Ok(()) };
    for (name, value) in
        facts.iter().filter(|(name, _)| !["id", "received", "budget"].contains(&name.as_str()))
    {
        let said = match (value.get("fact"), value.get("missing")) {
            (Some(fact), _) => brief(fact),
            // A rule before it refused, so nobody asked.
            (None, Some(why)) if *why == serde_json::json!(Missing::NotGathered) => continue,
            (None, Some(why)) => format!("not established: {}", brief(why)),
            (None, None) => brief(value),
        };
        field(out, name, said)?;
    }
    Ok(())
}

/// A fact in one line: `host=api.openai.com port=443`.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(flag) => (if *flag { "yes" } else { "no" }).to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.replace('_', " "),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name}({})", brief(value)),
                Value::String(text) => format!("{name}={text}"),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                    format!("{name}={}", brief(value))
                }
            };
            // What is not there is not worth a word among what is.
            let there = |(_, value): &(&String, &Value)| {
                !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
            };
            fields.iter().filter(there).map(field).collect::<Vec<_>>().join(" ")
        }
    }
}

fn field(out: &mut Out, name: &str, value: impl std::fmt::Display) -> Result<(), Failure> {
    out.line(&Line::new().column(Paint::Dim, 12, name).text(value))
}
/// What the caller of a recorded case is behind.
fn setting(case: &Case) -> Setting {
    match &case.caller {
        Known::Fact(caller) => caller.by.setting(),
        Known::Missing(_) => Setting::Exec,
    }
}
