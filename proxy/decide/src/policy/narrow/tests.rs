use super::*;
use crate::policy::Access;
use crate::testkit::policy;
use alloc::vec;

fn contract(policy: &Policy) -> &Contract {
    policy.contract("refunds").unwrap()
}

#[test]
fn a_run_can_only_take_models_away() {
    let narrowed = policy().with_models(&["gpt-*".into(), "o4".into()]);
    assert!(contract(&narrowed).allows_model("gpt-5-mini"));
    assert!(!contract(&narrowed).allows_model("claude-haiku-4"));
    assert!(!contract(&narrowed).allows_model("o4"));
    assert!(!contract(&narrowed).allows_model("gpt-5"));
}

#[test]
fn a_budget_of_zero_is_a_limit_of_zero() {
    let broke = policy().with_run_budget(MicroUsd(0));
    assert_eq!(contract(&broke).budgets.run, Some(MicroUsd(0)));
}

#[test]
fn the_users_word_adds_destinations() {
    let grant =
        Grant { host: "pastebin.com".into(), port: None, access: Access::Read, upload: None };
    let wider = policy().with_grants(&[grant]);
    assert!(!contract(&policy()).admits("pastebin.com", 443));
    assert!(
        contract(&wider).admits("pastebin.com", 443)
            && contract(&wider).admits("api.openai.com", 443)
    );
}

#[test]
fn observing_changes_the_mode_and_nothing_else() {
    let mut observing = policy().observing();
    assert_eq!(contract(&observing).mode, Mode::Observe);
    observing.agents[0].1.mode = Mode::Enforce;
    observing.digest = policy().digest;
    assert_eq!(observing, policy());
}

#[test]
fn every_edit_changes_the_digest_and_so_does_their_order() {
    let base = policy();
    let (models, budget) = (vec!["gpt-*".into()], MicroUsd(2_000_000));
    let digests = [
        base.digest,
        base.with_models(&models).digest,
        base.with_run_budget(budget).digest,
        base.with_grants(&[]).digest,
        base.observing().digest,
        base.with_models(&models).with_run_budget(budget).digest,
        base.with_run_budget(budget).with_models(&models).digest,
    ];
    for (i, digest) in digests.iter().enumerate() {
        assert!(!digests[..i].contains(digest), "{i}");
    }
}
