//! What hostile clients send is refused or does no harm: to the next request, to one in flight, or at the provider.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::abuse::{self, Ended};
use e2e::harness::Stand;
use e2e::proofs::settled;
use e2e::provider::Record;

/// For all of them, on a busy machine.
const ALL: Duration = Duration::from_mins(5);

/// The records whose body has these words.
fn with<'a>(records: &'a [Record], words: &str) -> Vec<&'a Record> {
    let has = |record: &&Record| record.body.as_deref().is_some_and(|body| body.contains(words));
    records.iter().filter(has).collect()
}

#[test]
fn every_abuse_is_refused_or_harmless_over_the_transparent_intake() -> Result<()> {
    let stand = Stand::new()?;
    let hostile = env!("CARGO_BIN_EXE_hostile");
    let outcome = stand.gate(&["--budget", "100"])?.start([hostile])?.end(ALL)?;
    let lines = outcome.stdout.lines().map(serde_json::from_str::<Ended>);
    let ended: Vec<Ended> =
        lines.collect::<Result<_, _>>().with_context(|| format!("{outcome:?}"))?;
    let mut wrong: Vec<String> = Vec::new();
    let records = stand.log().records();
    for case in abuse::cases() {
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
    ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), outcome.stderr);
    ensure!(with(&records, "say:next").len() == abuse::cases().len(), "a next request is missing");
    settled(&stand)?;
    stand.verified()?;
    Ok(())
}
