//! What hostile clients send is refused or does no harm: to the next request, to one in flight, or at the provider.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::abuse::{self, Ended, Front};
use e2e::harness::Stand;
use e2e::process::{Outcome, Running};
use e2e::proofs::SOON;
use e2e::provider::{Finish, Record};
use e2e::service::{Service, Setup};

/// For all of them, on a busy machine.
const ALL: Duration = Duration::from_mins(5);

/// The records whose body has these words.
fn with<'a>(records: &'a [Record], words: &str) -> Vec<&'a Record> {
    let has = |record: &&Record| record.body.as_deref().is_some_and(|body| body.contains(words));
    records.iter().filter(has).collect()
}

/// All that is wrong of what the client wrote and of what arrived at the provider.
fn wrong(stand: &Stand, outcome: &Outcome, front: Front) -> Result<Vec<String>> {
    let lines = outcome.stdout.lines().map(serde_json::from_str::<Ended>);
    let ended: Vec<Ended> =
        lines.collect::<Result<_, _>>().with_context(|| format!("{outcome:?}"))?;
    let mut wrong: Vec<String> = Vec::new();
    let records = stand.log().records();
    let cases = abuse::cases_at(front);
    for case in &cases {
        let name = case.name;
        match ended.iter().find(|ended| ended.case == name) {
            None => wrong.push(format!("{name}: not run")),
            Some(Ended { wrong: Some(why), .. }) => wrong.push(format!("{name}: {why}")),
            Some(_) => {}
        }
        let (attacks, smuggled) = (format!("attack-{name}\""), format!("smuggled-{name}\""));
        let carried = with(&records, &attacks).len();
        if carried > case.carried || !with(&records, &smuggled).is_empty() {
            wrong.push(format!("{name}: {carried} of it and perhaps more reached the provider"));
        }
    }
    // Nothing else did either: no request was cut out of another's bytes.
    let ours = ["attack-", "say:next", "say:meanwhile", "say:in-flight", "in-flight-to-the-end"];
    let known = |record: &&Record| {
        record.body.as_deref().is_none_or(|body| !ours.iter().any(|word| body.contains(word)))
    };
    wrong.extend(records.iter().filter(known).map(|record| format!("nobody asked: {record:?}")));
    if with(&records, "say:next").len() != cases.len() {
        wrong.push("a next request is missing".to_owned());
    }
    let idle = |records: &[Record]| records.iter().all(|record| record.finish != Finish::Open);
    ensure!(stand.log().wait(SOON, idle).is_some(), "the provider still answers somebody");
    Ok(wrong)
}

#[test]
fn every_abuse_is_refused_or_harmless_over_the_transparent_intake() -> Result<()> {
    let stand = Stand::new()?;
    let hostile = env!("CARGO_BIN_EXE_hostile");
    let outcome = stand.gate(&["--budget", "100"])?.start([hostile])?.end(ALL)?;
    let wrong = wrong(&stand, &outcome, Front::Provider)?;
    ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), outcome.stderr);
    stand.verified()?;
    Ok(())
}

/// The hostile client before a service, with these arguments after where it dials.
fn at_the_service(front: Front, arguments: &[&str]) -> Result<()> {
    let stand = Stand::new()?;
    let contract = "policy_id: abuse\nversion: \"1\"\nmode: enforce\nagents:\n  bot:\n    bearer: true\n    \
                    models: [gpt-5-mini]\n    destinations: [api.openai.com]\n";
    let service = Service::start(&stand, &Setup::of(contract))?;
    let ca = if front == Front::Gateway { service.pki().ca() } else { service.ca().to_owned() };
    let mut command = stand.operator(Path::new(env!("CARGO_BIN_EXE_hostile")));
    let key = service.key("bot", "bot", "openai", &[])?;
    command.env("SSL_CERT_FILE", ca).env("OPENAI_API_KEY", key);
    command.arg("--dial").arg(service.proxy().to_string()).args(arguments);
    let outcome = Running::start(&mut command)?.end(ALL)?;
    let wrong = wrong(&stand, &outcome, front)?;
    ensure!(wrong.is_empty(), "{}\n{}{}", wrong.join("\n"), outcome.stderr, service.log());
    stand.verified()?;
    Ok(())
}

#[test]
fn every_abuse_is_refused_or_harmless_in_a_tunnel() -> Result<()> {
    at_the_service(Front::Tunnel, &["--connect"])
}

#[test]
fn every_abuse_is_refused_or_harmless_at_the_gateway_over_tls() -> Result<()> {
    at_the_service(Front::Gateway, &["--host", "localhost", "--prefix", "/openai"])
}

#[test]
fn every_abuse_is_refused_or_harmless_at_the_gateway_in_clear() -> Result<()> {
    at_the_service(Front::Gateway, &["--plain", "--host", "localhost", "--prefix", "/openai"])
}
