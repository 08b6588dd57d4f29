//! Stops a key, an agent, or everyone, at once.
//!
//! Early in the chain because nothing else about a stopped agent matters: no body is parsed, no
//! money is set aside. The widest switch is the one reported, so that an operator lifting an agent
//! switch is not surprised by a global one behind it.

use alloc::boxed::Box;

use crate::stream::{StreamEvent, Watch};
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct KillSwitch;

static RULE: Rule = Rule {
    id: RuleId("ingress/kill_switch"),
    says: "A stopped agent sends nothing and receives nothing more.",
};

impl Stage for KillSwitch {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        Ok(match cx.case.kills.get()?.last() {
            Some(widest) => Reason::Killed(*widest).into(),
            None => Verdict::Pass,
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        Some(Box::new(CutWhenKilled))
    }
}

struct CutWhenKilled;

impl Watch for CutWhenKilled {
    fn see(&mut self, event: &StreamEvent) -> Result<Verdict, Missing> {
        Ok(match event {
            StreamEvent::Killed(scope) => Reason::Killed(*scope).into(),
            StreamEvent::Heard(_)
            | StreamEvent::Expired(_)
            | StreamEvent::Gone
            | StreamEvent::End => Verdict::Abstain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::KillScope::{Agent, Global, Key};
    use crate::testkit::{case, judge, watch};

    #[test]
    fn passes_when_no_switch_is_set() {
        assert_eq!(judge(&KillSwitch, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn reports_the_widest_switch() {
        let killed = case().killed([Key, Global, Agent]);
        assert_eq!(judge(&KillSwitch, &killed), Ok(Reason::Killed(Global).into()));
    }

    #[test]
    fn cannot_pass_while_the_switchboard_is_unreachable() {
        let blind = case().without_kills(Missing::Unreachable);
        assert_eq!(judge(&KillSwitch, &blind), Err(Missing::Unreachable));
    }

    #[test]
    fn an_open_answer_is_cut_when_the_switch_is_set() {
        let mut watch = watch(&KillSwitch, &case()).unwrap();
        assert_eq!(watch.see(&StreamEvent::Heard([].into())), Ok(Verdict::Abstain));
        assert_eq!(watch.see(&StreamEvent::Killed(Agent)), Ok(Reason::Killed(Agent).into()));
    }
}
