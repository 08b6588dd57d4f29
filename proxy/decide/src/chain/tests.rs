//! What the chain guarantees, whatever the rules say (STYLE §3.6).

use super::*;
use crate::Rule;
use crate::case::*;
use crate::policy::{Contract, SecretsIn};
use crate::scan::SecretClass;
use crate::testkit::{case, losses, policy};
use proptest::prelude::*;
use std::format;
use std::string::String;

const MODES: [Mode; 2] = [Mode::Observe, Mode::Enforce];

fn forwarded(decision: &Decision) -> bool {
    matches!(decision.outcome, Outcome::Forward { .. })
}

#[test]
fn an_innocent_request_is_forwarded_and_every_rule_has_spoken() {
    let decision = CHAIN.judge(&case(), &policy(), Mode::Enforce);
    assert_eq!(decision.outcome, Outcome::Forward { redact: false });
    assert_eq!(decision.observed, None);
    assert_eq!(decision.trail.len(), CHAIN.stages().count());
}

#[test]
fn a_request_with_any_fact_missing_is_refused_in_every_mode() {
    for lose in losses() {
        for missing in [Missing::NotGathered, Missing::Unreachable, Missing::Malformed] {
            let mut case = case();
            lose(&mut case, missing);
            for mode in MODES {
                assert!(!forwarded(&CHAIN.judge(&case, &policy(), mode)), "{mode:?} {case:?}");
            }
        }
    }
}

#[test]
fn nothing_is_known_of_a_case_that_was_only_opened() {
    let opened = Case::opened("01JD".into(), Timestamp(0));
    for mode in MODES {
        assert!(!forwarded(&CHAIN.judge(&opened, &policy(), mode)));
    }
}

#[test]
fn a_chain_that_stops_before_its_end_is_refused_by_the_seal() {
    let mut judging_policy = policy();
    judging_policy.id = "short".into();
    let mut judging = CHAIN.open(&judging_policy, Mode::Enforce);
    for band in [Band::Ingress, Band::Filtering, Band::Content, Band::Engines] {
        assert!(judging.band(band, &case()));
    }
    let refusal = Refusal { rule: crate::stages::SEAL, reason: Reason::Unsealed };
    assert_eq!(judging.decide().outcome, Outcome::Refuse(refusal));
}

#[test]
fn a_band_that_was_skipped_is_refused_by_the_seal() {
    for skipped in [Band::Ingress, Band::Filtering, Band::Content, Band::Engines] {
        for mode in MODES {
            let policy = policy();
            let mut judging = CHAIN.open(&policy, mode);
            for band in Band::ALL.into_iter().filter(|band| *band != skipped) {
                judging.band(band, &case());
            }
            assert!(!forwarded(&judging.decide()), "{skipped:?}");
        }
    }
}

#[test]
fn every_rule_is_named_after_its_file_and_says_one_sentence() {
    for stage in CHAIN.stages() {
        let Rule { id, says } = stage.rule();
        let path = format!("{}/src/stages/{id}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&path).exists(), "{path}");
        assert!(says.ends_with('.') && !says.contains(". "), "{says}");
    }
}

#[test]
fn every_rule_stands_in_the_band_of_its_name() {
    for band in Band::ALL {
        let name = serde_json::to_string(&band).unwrap();
        for stage in CHAIN.band(band) {
            let id = stage.rule().id;
            assert!(id.0.starts_with(&format!("{}/", name.trim_matches('"'))), "{id}");
        }
    }
}

#[test]
fn the_page_of_the_chain() {
    insta::assert_snapshot!(markdown());
}

#[test]
fn redaction_is_an_amendment_that_observe_does_not_make() {
    let mut redacting = policy();
    redacting.agents[0].1.secrets = SecretsIn::Redact;
    let found = case().carrying(SecretClass::Jwt, true);
    let outcome = |mode| CHAIN.judge(&found, &redacting, mode).outcome;
    assert_eq!(outcome(Mode::Enforce), Outcome::Forward { redact: true });
    assert_eq!(outcome(Mode::Observe), Outcome::Forward { redact: false });
}

/// One change to the innocent case, chosen by number.
fn spoil(case: Case, how: u8) -> Case {
    match how {
        0 => case.called_by("stranger"),
        1 => case.killed([KillScope::Key]),
        2 => case.presenting(Presented::Nothing),
        3 => case.presenting(Presented::Unknown),
        4 => case.standing(&[Standing::Foreign]),
        5 => case.standing(&[Standing::RealKey(SecretClass::OpenaiKey)]),
        6 => case.bound_for("pastebin.com"),
        7 => case.bound_for("registry.npmjs.org").operation("write", EndpointClass::Write),
        8 => case.at(Address::NotLookedUp),
        9 => case.at(Address::NoSuchName),
        10 => case.at(Address::Resolved {
            ip: "169.254.169.254".into(),
            class: AddressClass::LinkLocal,
            named: false,
        }),
        11 => case.to(|to| to.agrees = false),
        12 => case.operation("other", EndpointClass::Unlisted),
        13 => case.carrying(SecretClass::GithubToken, true),
        14 => case.carrying(SecretClass::PrivateKey, false),
        15 => spent(case, Reservation::Unpriced { model: "m".into() }),
        16 => spent(
            case,
            Reservation::Refused {
                scope: BudgetScope::Run,
                asked: MicroUsd(2),
                left: MicroUsd(1),
                limit: MicroUsd(9),
            },
        ),
        17 => limited(case, Rate::Exceeded { limit: 1, retry_after: 9 }),
        18 => faulty(case),
        19.. => case,
    }
}

fn spent(mut case: Case, reservation: Reservation) -> Case {
    case.budget = Known::Fact(reservation);
    case
}

fn limited(mut case: Case, rate: Rate) -> Case {
    case.rate = Known::Fact(rate);
    case
}

fn faulty(mut case: Case) -> Case {
    let faults = [EnvelopeFault::PathForm].into();
    case.envelope = Known::Fact(Envelope { faults, bytes: 0 });
    case
}

prop_compose! {
    fn any_case()(
        spoils in prop::collection::vec(0_u8..24, 0..5),
        lost in prop::option::weighted(0.2, 0_usize..12),
    ) -> Case {
        let mut case = spoils.into_iter().fold(case(), spoil);
        if let Some(lost) = lost {
            losses()[lost](&mut case, Missing::Unreachable);
        }
        case
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Observe), Just(Mode::Enforce)]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>()).prop_map(|(redact, own)| {
        let mut policy = policy();
        let contract: &mut Contract = &mut policy.agents[0].1;
        contract.secrets = if redact { SecretsIn::Redact } else { SecretsIn::Deny };
        contract.own_credentials = own;
        policy
    })
}

proptest! {
    #[test]
    fn a_case_judged_again_after_being_written_down_comes_out_the_same(
        case in any_case(), policy in any_policy(), mode in any_mode(),
    ) {
        let again = |text: String| serde_json::from_str(&text).unwrap();
        let back: Case = again(serde_json::to_string(&case).unwrap());
        let policy_back: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        prop_assert_eq!(&back, &case);
        let decision = CHAIN.judge(&case, &policy, mode);
        prop_assert_eq!(&CHAIN.judge(&back, &policy_back, mode), &decision);
        let written: Decision = serde_json::from_str(&serde_json::to_string(&decision).unwrap()).unwrap();
        prop_assert_eq!(written, decision);
    }

    #[test]
    fn bands_end_to_end_are_the_whole_chain(
        case in any_case(), policy in any_policy(), mode in any_mode(),
    ) {
        let mut judging = CHAIN.open(&policy, mode);
        for band in Band::ALL {
            // Facts of later bands are not there yet, and no rule misses them.
            let known = facts_up_to(band, &case);
            judging.band(band, &known);
        }
        prop_assert_eq!(judging.decide(), CHAIN.judge(&case, &policy, mode));
    }

    #[test]
    fn setting_a_kill_switch_never_opens_anything(
        case in any_case(), policy in any_policy(), mode in any_mode(),
    ) {
        let killed = case.killed([KillScope::Global]);
        prop_assert!(!forwarded(&CHAIN.judge(&killed, &policy, mode)));
    }

    #[test]
    fn observe_refuses_only_for_what_always_bites_and_forwards_only_what_does_not(
        case in any_case(), policy in any_policy(),
    ) {
        let observe = CHAIN.judge(&case, &policy, Mode::Observe);
        let enforce = CHAIN.judge(&case, &policy, Mode::Enforce);
        match &observe.outcome {
            Outcome::Refuse(refusal) => prop_assert_eq!(refusal.reason.bite(), Bite::Always),
            Outcome::Forward { .. } => {
                for said in &observe.trail {
                    if let Verdict::Block(reason) = &said.verdict {
                        prop_assert_eq!(reason.bite(), Bite::InEnforce);
                    }
                }
                match enforce.outcome {
                    Outcome::Forward { .. } => prop_assert_eq!(observe.observed, None),
                    Outcome::Refuse(refusal) => prop_assert_eq!(observe.observed, Some(refusal)),
                }
            }
        }
    }
}

/// The case as it stands when `band` runs: what later bands gather is not there.
fn facts_up_to(band: Band, case: &Case) -> Case {
    let whole = case.clone();
    let mut known = Case::opened(whole.id, whole.received);
    known.caller = whole.caller;
    known.kills = whole.kills;
    known.key = whole.key;
    known.credentials = whole.credentials;
    known.destination = whole.destination;
    if band >= Band::Filtering {
        known.address = whole.address;
        known.envelope = whole.envelope;
        known.endpoint = whole.endpoint;
        known.ask = whole.ask;
        known.rate = whole.rate;
    }
    if band >= Band::Content {
        known.findings = whole.findings;
    }
    if band >= Band::Engines {
        known.budget = whole.budget;
    }
    known
}
