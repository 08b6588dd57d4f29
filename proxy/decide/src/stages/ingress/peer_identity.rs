//! Lets only agents in whose name somebody has declared something.
//!
//! First, because every later rule judges under the contract that this one found. The identity is
//! the one that the gate established by itself; what a request says about its sender is not read.

use alloc::boxed::Box;

use crate::case::Identified;
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct PeerIdentity;

static RULE: Rule = Rule {
    id: RuleId("ingress/peer_identity"),
    says: "Only an agent that the gate itself has identified, and that a contract covers, sends anything.",
};

impl Stage for PeerIdentity {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let caller = cx.case.caller.get()?;
        if caller.by == Identified::Nobody {
            return Ok(Reason::UnknownCaller.into());
        }
        Ok(match cx.policy.contract(&caller.agent) {
            Some(_) => Verdict::Pass,
            None => Reason::NoContract(caller.agent.clone()).into(),
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, judge};

    #[test]
    fn an_agent_with_a_contract_passes() {
        assert_eq!(judge(&PeerIdentity, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn a_caller_that_nothing_identifies_is_refused_whatever_name_it_has() {
        let mut nobody = case();
        if let crate::Known::Fact(caller) = &mut nobody.caller {
            caller.by = Identified::Nobody;
        }
        assert_eq!(judge(&PeerIdentity, &nobody), Ok(Reason::UnknownCaller.into()));
    }

    #[test]
    fn an_agent_without_a_contract_is_named_in_the_refusal() {
        let stranger = case().called_by("stranger");
        assert_eq!(
            judge(&PeerIdentity, &stranger),
            Ok(Reason::NoContract("stranger".into()).into())
        );
    }
}
