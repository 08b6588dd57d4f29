use decide::case::Bound;
use decide::{Reason, RuleId};

use super::*;

fn refusal(rule: &'static str, reason: Reason) -> Refusal {
    Refusal { rule: RuleId(rule), reason }
}

fn upstream() -> Refusal {
    refusal("filtering/destination", Reason::Upstream("it closed".to_owned()))
}

#[test]
fn how_an_exchange_ended_is_told_apart() {
    let killed = || refusal("ingress/kill_switch", Reason::NoKey);
    let ended = |outcome: Outcome| {
        let ending = Ending::of(&outcome, Timestamp(0));
        (ending.ended, ending.rule.map(str::to_owned))
    };
    let plain = Outcome::default;
    let status = Some(200);
    assert_eq!(ended(Outcome { status, ..plain() }), (Ended::Answered, None));
    assert_eq!(ended(Outcome { cut: Some(upstream()), ..plain() }), (Ended::Failed, None));
    let broke = Outcome { status, cut: Some(upstream()), ..plain() };
    assert_eq!(ended(broke), (Ended::Broken, None));
    assert_eq!(ended(Outcome { status, broken: true, ..plain() }), (Ended::Broken, None));
    let gone = Outcome { status, gone: true, cut: Some(killed()), ..plain() };
    assert_eq!(ended(gone), (Ended::Gone, None));
    let cut = Outcome { status, cut: Some(killed()), ..plain() };
    assert_eq!(ended(cut), (Ended::Cut, Some("ingress/kill_switch".to_owned())));
}

fn presenting(presented: Presented) -> Case {
    let mut case = Case::opened("01J".to_owned(), Timestamp(0));
    case.key = Known::Fact(presented);
    case
}

fn key(agent: &str) -> Presented {
    Presented::Key(decide::case::Key {
        id: "k_1".to_owned(),
        credential: "openai".to_owned(),
        agent: agent.to_owned(),
        bound: Bound::Bearer,
        expires: None,
        uses_left: None,
        revoked: false,
    })
}

#[test]
fn a_key_that_is_not_accepted_is_counted_by_what_is_wrong_with_it() {
    let fault = |reason, presented| {
        key_fault(&refusal("ingress/virtual_key", reason), &presenting(presented), "bot")
    };
    let over = |end| {
        key_fault(
            &refusal("ingress/key_lifetime", Reason::KeyOver(end)),
            &presenting(key("bot")),
            "bot",
        )
    };
    assert_eq!(fault(Reason::UnknownKey, Presented::Unknown), Some(KeyFault::Unknown));
    assert_eq!(fault(Reason::UnknownKey, Presented::Ambiguous), Some(KeyFault::Ambiguous));
    assert_eq!(fault(Reason::NoKey, Presented::Nothing), None);
    let bound = || Reason::KeyBoundElsewhere("x".to_owned());
    assert_eq!(fault(bound(), key("bot")), Some(KeyFault::OtherCredential));
    assert_eq!(fault(bound(), key("another")), Some(KeyFault::Elsewhere));
    let used = Reason::KeyUsedElsewhere("k_1".to_owned());
    assert_eq!(fault(used, key("bot")), Some(KeyFault::Elsewhere));
    assert_eq!(fault(Reason::KeyUnbound("k_1".to_owned()), key("bot")), Some(KeyFault::Elsewhere));
    assert_eq!(over(KeyEnd::UsedUp), Some(KeyFault::UsedUp));
    assert_eq!(over(KeyEnd::Expired), Some(KeyFault::Over));
    assert_eq!(over(KeyEnd::Revoked), Some(KeyFault::Over));
    let elsewhere = refusal("filtering/destination", Reason::UnknownKey);
    assert_eq!(key_fault(&elsewhere, &presenting(Presented::Unknown), "bot"), None);
}
