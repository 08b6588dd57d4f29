//! Every case over every way in, HTTP/1.1 and HTTP/2: what an agent meets does not depend on how it came.

mod bare;
mod cases;
mod money;
mod refusals;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::caller::{Pending, Told, Version};
use e2e::harness::{LIMIT, Stand};
use e2e::proofs::SOON;
use e2e::provider::{Finish, Record};
use e2e::ways::{Behind, Net, Question, Way};

/// Agents that differ in one thing each.
const CONTRACTS: &str = "policy_id: matrix
version: \"1\"
mode: enforce
team: payments
agents:
  bot:
    bearer: true
    models: [gpt-5-mini, claude-haiku-4-5]
    destinations: [api.openai.com, api.anthropic.com]
    budgets: { day: $50 }
    data: { credentials: redact }
  strict:
    bearer: true
    models: [gpt-5-mini, claude-haiku-4-5]
    destinations: [api.openai.com, api.anthropic.com]
    budgets: { day: $50 }
    data: { credentials: deny }
  narrow:
    bearer: true
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    budgets: { day: $50 }
  poor:
    bearer: true
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    budgets: { request: $0.00001 }
  thrifty:
    bearer: true
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    budgets: { request: $0.001 }
";

/// What is done, and what must come of it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// What is claimed.
    name: &'static str,
    /// How many requests the provider gets.
    asked: usize,
    /// Where it can be tried; elsewhere there is no such thing.
    on: fn(Way, Version) -> bool,
    run: fn(&At<'_>) -> Result<()>,
}

/// Everywhere.
pub(crate) fn everywhere(_: Way, _: Version) -> bool {
    true
}

/// Where standing keys are.
pub(crate) fn in_a_service(way: Way, _: Version) -> bool {
    way != Way::Exec
}

/// One way in one protocol.
pub(crate) struct At<'a> {
    behind: &'a Behind<'a>,
    version: Version,
}

impl At<'_> {
    /// Asks as the agent, with its key.
    pub(crate) fn begin(&self, agent: &str, question: Question) -> Result<Pending> {
        self.behind.caller(agent)?.ask(&self.behind.ask(agent, question, self.version)?)
    }

    /// The same, to its end.
    pub(crate) fn ask(&self, agent: &str, question: Question) -> Result<Told> {
        self.begin(agent, question)?.told(LIMIT)
    }

    /// Asks as the agent's process, with nothing but what is in the question.
    pub(crate) fn ask_bare(&self, agent: &str, question: Question) -> Result<Told> {
        let door = self.behind.door(question.provider);
        self.behind.caller(agent)?.ask(&question.through(door, self.version))?.told(LIMIT)
    }

    /// The one request that the provider got.
    pub(crate) fn only(&self) -> Result<Record> {
        let records = self.behind.stand().log().records();
        <[Record; 1]>::try_from(records)
            .map(|[record]| record)
            .map_err(|all| anyhow::anyhow!("{} requests at the provider: {all:?}", all.len()))
    }
}

impl Case {
    fn holds(&self, at: &At<'_>) -> Result<()> {
        let log = at.behind.stand().log();
        log.reset();
        (self.run)(at)?;
        let over = |seen: &[Record]| seen.iter().all(|record| record.finish != Finish::Open);
        ensure!(log.wait(SOON, over).is_some(), "the provider still answers: {:?}", log.records());
        let asked = log.records();
        ensure!(
            asked.len() == self.asked,
            "{} requests at the provider, not {}: {asked:?}",
            asked.len(),
            self.asked
        );
        Ok(())
    }
}

/// Every case on this way, and what is wrong of all of them.
fn all(way: Way, versions: &[Version]) -> Result<()> {
    let net = if way == Way::Routed { Some(Net::new()?) } else { None };
    let stand = match &net {
        Some(net) => Stand::in_namespace(&net.router())?,
        None => Stand::new()?,
    };
    let program = Path::new(env!("CARGO_BIN_EXE_caller"));
    let behind = Behind::new(way, &stand, net.as_ref(), CONTRACTS, program)?;
    let cases = [cases::all(), refusals::all(), bare::all(), money::all()].concat();
    let (mut wrong, mut done) = (Vec::new(), 0);
    for version in versions {
        for case in cases.iter().filter(|case| (case.on)(way, *version)) {
            done += 1;
            let held = case.holds(&At { behind: &behind, version: *version });
            let at = || format!("{} · {way:?} · {version:?}", case.name);
            wrong.extend(held.with_context(at).err().map(|error| format!("{error:#}")));
        }
    }
    let log = behind.service().map(e2e::service::Service::log).unwrap_or_default();
    ensure!(wrong.is_empty(), "{} of {done}:\n{}\n{log}", wrong.len(), wrong.join("\n"));
    ensure!(done >= versions.len() * 15, "only {done} cases");
    came_that_way(&behind)?;
    stand.verified()?;
    Ok(())
}

/// The gate itself counts that connections came by the listener of this way, and by no other.
fn came_that_way(behind: &Behind<'_>) -> Result<()> {
    let Some(service) = behind.service() else { return Ok(()) };
    let own = match behind.way() {
        Way::Routed => "routed",
        Way::Attached => "transparent",
        Way::Connect | Way::Absolute | Way::Gateway | Way::GatewayTls | Way::Exec => "proxy",
    };
    for intake in ["proxy", "transparent", "routed"] {
        let came = service.metric(&format!("tollgate_connections_total{{intake=\"{intake}\"}}"))?;
        ensure!((came > 0.5) == (intake == own), "{came} connections by {intake}");
    }
    Ok(())
}

const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

#[test]
fn every_case_through_a_tunnel() -> Result<()> {
    all(Way::Connect, &BOTH)
}

#[test]
fn every_case_in_absolute_form() -> Result<()> {
    all(Way::Absolute, &[Version::Http1])
}

#[test]
fn every_case_at_the_gateway_in_clear() -> Result<()> {
    all(Way::Gateway, &BOTH)
}

#[test]
fn every_case_at_the_gateway_over_tls() -> Result<()> {
    all(Way::GatewayTls, &BOTH)
}

#[test]
fn every_case_routed_through_the_gate() -> Result<()> {
    all(Way::Routed, &BOTH)
}

#[test]
fn every_case_from_an_attached_control_group() -> Result<()> {
    all(Way::Attached, &BOTH)
}

#[test]
fn every_case_under_exec() -> Result<()> {
    all(Way::Exec, &BOTH)
}
