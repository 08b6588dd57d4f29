//! `tollgate tail`: decisions as they happen.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use audit::Entry;
use clap::Args;
use decide::case::Destination;
use decide::{Outcome, Refusal};
use serde::Serialize;

use super::common::Common;
use super::failure::{Ended, Exit, Failure};
use super::out::{Line, Out, Paint, grouped};
use super::when;
use crate::ledger_view::{Said, time};
use crate::money::books::AccountId;
use crate::record::{Decided, Run, RunEvent};

/// How often the ledger is looked at for more.
const EVERY: Duration = Duration::from_millis(100);

/// Flags of `tollgate tail`.
#[derive(Debug, Args)]
#[command(
    before_help = "Example:\n  tollgate tail\n  tollgate tail --refused --agent refund-bot -n 50"
)]
pub(crate) struct TailArgs {
    /// Only this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// Only what this rule refused, cut or would have refused: `model_scope`
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    /// Only what was refused or cut
    #[arg(long)]
    refused: bool,

    /// How many of the newest to begin with
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 10)]
    newest: usize,

    /// Go on with those to come; so it does by itself on a terminal where no -n is given
    #[arg(long, short)]
    follow: bool,

    #[command(flatten)]
    common: Common,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Became {
    Forwarded,
    Redacted,
    Observed,
    Refused,
    Cut,
    Killed,
    Lifted,
    Raised,
    Started,
    Ended,
    Unreadable,
}

impl Became {
    const fn word(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Redacted => "redacted",
            Self::Observed => "observed",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Killed => "killed",
            Self::Lifted => "lifted",
            Self::Raised => "raised",
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Unreadable => "unreadable",
        }
    }

    pub(crate) const fn paint(self) -> Paint {
        match self {
            Self::Forwarded => Paint::Good,
            Self::Redacted | Self::Observed | Self::Unreadable => Paint::Warn,
            Self::Refused | Self::Cut | Self::Killed => Paint::Bad,
            Self::Lifted | Self::Raised | Self::Started | Self::Ended => Paint::Dim,
        }
    }
}

/// One line of the tail.
#[derive(Debug, Serialize)]
pub(crate) struct Item {
    entry: u64,
    time: String,
    #[serde(skip)]
    at: decide::case::Timestamp,
    became: Became,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// The decision's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The trace that its caller named, or the decision's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    /// Where it was to go and what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many equal ones this stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl Item {
    fn new(entry: &Entry, became: Became) -> Self {
        Self {
            entry: entry.seq,
            time: when::utc(time(entry)),
            at: time(entry),
            became,
            agent: entry.who.agent.clone(),
            run: entry.who.run.clone(),
            id: None,
            trace: None,
            what: None,
            rule: None,
            reason: None,
            count: None,
        }
    }

    /// What a tail shows of an entry, if anything.
    pub(crate) fn of(entry: &Entry, said: &Said) -> Option<Self> {
        let item = |became| Self::new(entry, became);
        match said {
            Said::Decided(decided) => Some(Self::decided(entry, decided)),
            Said::Outcome(outcome) => {
                let cut = outcome.cut.as_ref()?;
                let mut item = item(Became::Cut).because(cut);
                item.id = Some(outcome.id.clone());
                item.agent = Some(outcome.agent.clone());
                item.run = Some(outcome.run.clone());
                item.what.clone_from(&outcome.model);
                Some(item)
            }
            Said::Refusals(refusals) => Some(Self {
                agent: Some(refusals.agent.clone()),
                rule: Some(refusals.rule.clone()),
                reason: Some(refusals.reason.clone()),
                count: Some(refusals.count),
                ..item(Became::Refused)
            }),
            Said::Killed(switched) | Said::Unkilled(switched) => {
                let became =
                    if matches!(said, Said::Killed(_)) { Became::Killed } else { Became::Lifted };
                Some(Self {
                    what: Some(switched.target.to_string()),
                    reason: Some(format!("{} (by {})", switched.reason, switched.by)),
                    ..item(became)
                })
            }
            Said::Budget(set) => Some(Self {
                run: match &set.account {
                    AccountId::Run(run) => Some(run.clone()),
                    AccountId::KeyDay(..)
                    | AccountId::AgentDay(..)
                    | AccountId::AgentMonth(..)
                    | AccountId::TeamDay(..)
                    | AccountId::TeamMonth(..) => None,
                },
                what: Some(format!("{} to {}", set.account, set.limit)),
                reason: Some(format!("by {}", set.by)),
                ..item(Became::Raised)
            }),
            Said::Run(run) => Some(Self::run(item, run)),
            Said::Unreadable(why) => {
                Some(Self { reason: Some(why.clone()), ..item(Became::Unreadable) })
            }
            Said::Other => None,
        }
    }

    fn run(item: impl Fn(Became) -> Self, run: &Run) -> Self {
        let (became, what) = match run.event {
            RunEvent::Started => {
                let form = if run.form.is_empty() { "" } else { ", " };
                let what = format!("{} under {}{form}{}", run.command, run.policy_id, run.form);
                (Became::Started, what)
            }
            RunEvent::Ended => {
                let exit = run.exit.map_or_else(String::new, |exit| format!(" exited with {exit}"));
                (Became::Ended, format!("{}{exit}", run.command))
            }
        };
        Self {
            agent: Some(run.agent.clone()),
            run: Some(run.run.clone()),
            what: Some(what),
            ..item(became)
        }
    }

    fn decided(entry: &Entry, decided: &Decided) -> Self {
        let (became, refusal) = match (&decided.decision.outcome, &decided.decision.observed) {
            (Outcome::Refuse(refusal), _) => (Became::Refused, Some(refusal)),
            (Outcome::Forward { .. }, Some(observed)) => (Became::Observed, Some(observed)),
            (Outcome::Forward { redact: true }, None) => (Became::Redacted, None),
            (Outcome::Forward { redact: false }, None) => (Became::Forwarded, None),
        };
        let mut item = Self::new(entry, became);
        if let Some(refusal) = refusal {
            item = item.because(refusal);
        }
        item.id = Some(decided.id.clone());
        item.trace = Some(decided.trace.clone());
        item.agent = Some(decided.agent.clone());
        item.run = Some(decided.run.clone());
        item.what = Some(asked(decided));
        item
    }

    fn because(mut self, refusal: &Refusal) -> Self {
        self.rule = Some(refusal.rule.to_string());
        self.reason = Some(refusal.reason.to_string());
        self
    }

    /// The line, in columns where somebody reads it as it appears.
    pub(crate) fn line(&self, terminal: bool) -> Line {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut line = Line::new()
            .paint(Paint::Dim, when::shown(self.at, terminal))
            .text("  ")
            .column(self.became.paint(), 11, self.became.word())
            .column(Paint::Plain, 16, text(&self.agent));
        if let Some(what) = &self.what {
            line = line.text(" ").text(what);
        }
        if let Some(rule) = &self.rule {
            let name = rule.rsplit_once('/').map_or(rule.as_str(), |(_, name)| name);
            line = line
                .text(if self.what.is_some() { "  " } else { " " })
                .paint(self.became.paint(), name);
        }
        if let Some(reason) = &self.reason {
            line = line.text(if self.rule.is_some() { ": " } else { "  " }).text(reason);
        }
        if let Some(count) = self.count {
            line = line.text(format!("  ({} times)", grouped(count)));
        }
        match &self.id {
            Some(id) => line.text("  ").paint(Paint::Dim, id),
            None => line.text("  ").paint(Paint::Dim, format!("entry {}", self.entry)),
        }
    }
}

/// Where a request was to go, and what it asked: `api.openai.com chat_completions gpt-5-mini`.
pub(crate) fn asked(decided: &Decided) -> String {
    let case = &decided.case;
    let mut words = Vec::new();
    if let Ok(destination) = case.destination.get() {
        words.push(place(destination));
    }
    if let Ok(endpoint) = case.endpoint.get() {
        words.push(endpoint.operation.clone());
    }
    if let Ok(Some(ask)) = case.ask.get() {
        words.push(ask.model.clone());
    }
    words.join(" ")
}

/// `HOST`, or `HOST:PORT` where the port is not the usual one.
fn place(destination: &Destination) -> String {
    match destination.port {
        443 | 80 => destination.host.clone(),
        port => format!("{}:{port}", destination.host),
    }
}

impl TailArgs {
    fn wants(&self, item: &Item) -> bool {
        let agent = self.agent.as_ref().is_none_or(|wanted| item.agent.as_ref() == Some(wanted));
        let rule = self.rule.as_ref().is_none_or(|wanted| {
            item.rule.as_ref().is_some_and(|rule| {
                rule == wanted || rule.rsplit_once('/').is_some_and(|(_, name)| name == wanted)
            })
        });
        agent && rule && (!self.refused || matches!(item.became, Became::Refused | Became::Cut))
    }

    /// A name that no rule has would silently show nothing.
    fn known_rule(&self) -> Result<(), Failure> {
        let Some(wanted) = &self.rule else { return Ok(()) };
        let rules: Vec<_> = decide::chain::CHAIN.stages().map(|stage| stage.rule().id).collect();
        if rules.iter().any(|rule| rule.name() == wanted || rule.0 == wanted) {
            return Ok(());
        }
        let names: Vec<_> = rules.iter().map(|rule| rule.name()).collect();
        Err(Failure::usage(format!("no rule is called {wanted}; there are: {}", names.join(", "))))
    }
}

/// Shows the newest decisions, and those to come.
pub(crate) fn run(args: &TailArgs, newest_given: bool, out: &mut Out) -> Ended {
    args.known_rule()?;
    let mut ledger = args.common.ledger()?;
    let mut newest = VecDeque::new();
    ledger.each(|entry, said| {
        if let Some(item) = Item::of(entry, &said).filter(|item| args.wants(item)) {
            newest.push_back(item);
            if newest.len() > args.newest {
                newest.pop_front();
            }
        }
    })?;
    for item in newest {
        show(args, &item, out)?;
    }
    if !(args.follow || (out.is_terminal() && !newest_given)) {
        return Ok(Exit::Done);
    }
    loop {
        let mut fresh = Vec::new();
        ledger.each(|entry, said| fresh.extend(Item::of(entry, &said)))?;
        for item in fresh.iter().filter(|item| args.wants(item)) {
            show(args, item, out)?;
        }
        thread::sleep(EVERY);
    }
}

fn show(args: &TailArgs, item: &Item, out: &mut Out) -> Result<(), Failure> {
    if args.common.json { out.json(item) } else { out.line(&item.line(out.is_terminal())) }
}
