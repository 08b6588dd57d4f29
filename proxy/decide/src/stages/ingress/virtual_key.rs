//! Binds every use of a credential of ours to the agent and the destination it was given for.
//!
//! A virtual key is worth something at one host only, so a key that turns up elsewhere is refused
//! too: it is a mistake or a leak, and no other host has any use for it.

use alloc::boxed::Box;

use crate::case::{Bound, Caller, Key, Presented};
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct VirtualKey;

static RULE: Rule = Rule {
    id: RuleId("ingress/virtual_key"),
    says: "A destination that takes a credential of the gate's is reached with the caller's own virtual key for it, and a virtual key goes nowhere else.",
};

impl Stage for VirtualKey {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let caller = cx.case.caller.get()?;
        let destination = cx.case.destination.get()?;
        let presented = cx.case.key.get()?;
        if let Some(reason) = caller.proxied.as_ref().and_then(|key| unbound(cx, key, caller)) {
            return Ok(reason.into());
        }
        let key = match (presented, &destination.credential) {
            (Presented::Nothing, None) => return Ok(Verdict::Abstain),
            (Presented::Nothing, Some(_)) => return Ok(Reason::NoKey.into()),
            (Presented::Unknown | Presented::Ambiguous, _) => {
                return Ok(Reason::UnknownKey.into());
            }
            (Presented::Key(key), _) => key,
        };
        Ok(if destination.credential.as_ref() != Some(&key.credential) {
            Reason::KeyBoundElsewhere(key.credential.clone()).into()
        } else if key.agent != caller.agent {
            Reason::KeyBoundElsewhere(key.agent.clone()).into()
        } else {
            unbound(cx, key, caller).map_or(Verdict::Pass, Verdict::Block)
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

/// Why the key may not be used from where this caller is.
fn unbound(cx: &RequestContext<'_>, key: &Key, caller: &Caller) -> Option<Reason> {
    let bearer = || cx.policy.contract(&caller.agent).is_some_and(|contract| contract.bearer);
    match key.bound {
        Bound::Run | Bound::Workload | Bound::Here => None,
        Bound::Elsewhere => Some(Reason::KeyUsedElsewhere(key.id.clone())),
        Bound::Bearer if bearer() => None,
        Bound::Bearer => Some(Reason::KeyUnbound(key.id.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, judge, judge_under, key, policy};

    #[test]
    fn the_callers_key_for_this_destination_passes() {
        assert_eq!(judge(&VirtualKey, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn a_destination_with_a_credential_needs_a_key() {
        let bare = case().presenting(Presented::Nothing);
        assert_eq!(judge(&VirtualKey, &bare), Ok(Reason::NoKey.into()));
    }

    #[test]
    fn an_unknown_or_ambiguous_key_is_refused_at_every_host() {
        for presented in [Presented::Unknown, Presented::Ambiguous] {
            let ours = case().presenting(presented.clone());
            assert_eq!(judge(&VirtualKey, &ours), Ok(Reason::UnknownKey.into()));
            let elsewhere = case().bound_for("registry.npmjs.org").presenting(presented);
            assert_eq!(judge(&VirtualKey, &elsewhere), Ok(Reason::UnknownKey.into()));
        }
    }

    #[test]
    fn a_key_does_not_leave_for_another_host() {
        let leak = case().bound_for("registry.npmjs.org").presenting(Presented::Key(key()));
        assert_eq!(
            judge(&VirtualKey, &leak),
            Ok(Reason::KeyBoundElsewhere("openai".into()).into())
        );
    }

    #[test]
    fn a_key_of_another_credential_is_refused() {
        let mut other = key();
        other.credential = "anthropic".into();
        let crossed = case().presenting(Presented::Key(other));
        assert_eq!(
            judge(&VirtualKey, &crossed),
            Ok(Reason::KeyBoundElsewhere("anthropic".into()).into())
        );
    }

    #[test]
    fn a_key_of_another_agent_is_refused() {
        let mut other = key();
        other.agent = "reports".into();
        let stolen = case().presenting(Presented::Key(other));
        assert_eq!(
            judge(&VirtualKey, &stolen),
            Ok(Reason::KeyBoundElsewhere("reports".into()).into())
        );
    }

    fn bound(bound: Bound) -> crate::case::Case {
        case().presenting(Presented::Key(Key { bound, ..key() }))
    }

    #[test]
    fn a_key_that_is_bound_to_this_workload_or_place_passes() {
        for here in [Bound::Run, Bound::Workload, Bound::Here] {
            assert_eq!(judge(&VirtualKey, &bound(here)), Ok(Verdict::Pass), "{here:?}");
        }
    }

    #[test]
    fn a_key_used_from_a_workload_that_it_is_not_bound_to_is_refused() {
        let stolen = bound(Bound::Elsewhere);
        assert_eq!(
            judge(&VirtualKey, &stolen),
            Ok(Reason::KeyUsedElsewhere("key_1".into()).into())
        );
    }

    #[test]
    fn a_key_that_nothing_binds_needs_a_contract_that_says_so() {
        let anywhere = bound(Bound::Bearer);
        assert_eq!(judge(&VirtualKey, &anywhere), Ok(Reason::KeyUnbound("key_1".into()).into()));
        let mut said = policy();
        said.agents[0].1.bearer = true;
        assert_eq!(judge_under(&VirtualKey, &anywhere, &said), Ok(Verdict::Pass));
        assert!(judge_under(&VirtualKey, &bound(Bound::Elsewhere), &said) != Ok(Verdict::Pass));
    }

    #[test]
    fn the_key_shown_to_the_proxy_is_bound_like_the_one_in_a_request() {
        let mut plain = case().bound_for("registry.npmjs.org");
        for (bound, refused) in [
            (Bound::Here, None),
            (Bound::Elsewhere, Some(Reason::KeyUsedElsewhere("key_1".into()))),
            (Bound::Bearer, Some(Reason::KeyUnbound("key_1".into()))),
        ] {
            if let crate::Known::Fact(caller) = &mut plain.caller {
                caller.proxied = Some(Key { bound, ..key() });
            }
            let expected = refused.map_or(Verdict::Abstain, Verdict::Block);
            assert_eq!(judge(&VirtualKey, &plain), Ok(expected), "{bound:?}");
        }
    }

    #[test]
    fn no_key_is_asked_for_where_the_gate_holds_no_credential() {
        let plain = case().bound_for("registry.npmjs.org");
        assert_eq!(judge(&VirtualKey, &plain), Ok(Verdict::Abstain));
    }
}
