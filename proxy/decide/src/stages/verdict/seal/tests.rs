use super::*;
use crate::chain::Said;
use crate::testkit::{case, policy};
use crate::{Case, RuleId};
use alloc::vec::Vec;

fn seal(trail: &[Said], case: &Case) -> Result<Verdict, Missing> {
    Seal.judge(&RequestContext { case, policy: &policy(), trail })
}

fn full_trail() -> Vec<Said> {
    CHAIN
        .stages()
        .map(|stage| Said { rule: stage.rule().id, verdict: Verdict::Pass })
        .filter(|said| said.rule != RULE.id)
        .collect()
}

#[test]
fn passes_when_every_other_rule_has_spoken() {
    assert_eq!(seal(&full_trail(), &case()), Ok(Verdict::Pass));
}

#[test]
fn refuses_a_trail_that_lacks_any_rule_repeats_one_or_swaps_two() {
    let full = full_trail();
    for i in 0..full.len() {
        let (mut short, mut twice, mut swapped) = (full.clone(), full.clone(), full.clone());
        short.remove(i);
        twice.insert(i, full[i].clone());
        swapped.swap(i, (i + 1) % full.len());
        for trail in [short, twice, swapped] {
            assert_eq!(seal(&trail, &case()), Ok(Reason::Unsealed.into()), "{i}");
        }
    }
}

#[test]
fn refuses_a_rule_that_is_not_of_this_chain() {
    let mut foreign = full_trail();
    foreign.push(Said { rule: RuleId("content/other"), verdict: Verdict::Pass });
    assert_eq!(seal(&foreign, &case()), Ok(Reason::Unsealed.into()));
}

#[test]
fn refuses_what_was_never_looked_up() {
    let unknown = case().at(Address::NotLookedUp);
    assert_eq!(seal(&full_trail(), &unknown), Err(Missing::NotGathered));
}
