//! Holds an agent to its rate. The request has entered the count before it is judged, so two
//! requests cannot both be the last one.

use alloc::boxed::Box;

use crate::case::Rate;
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct Throttle;

static RULE: Rule = Rule {
    id: RuleId("filtering/throttle"),
    says: "An agent sends no more requests in a window than its contract allows.",
};

impl Stage for Throttle {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        Ok(match *cx.case.rate.get()? {
            Rate::Unlimited => Verdict::Abstain,
            Rate::Within => Verdict::Pass,
            Rate::Exceeded { limit, retry_after } => Reason::TooFast { limit, retry_after }.into(),
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Known;
    use crate::testkit::{case, judge};

    #[test]
    fn a_request_within_the_limit_passes_and_one_over_it_learns_when_to_come_back() {
        let (mut within, mut over) = (case(), case());
        within.rate = Known::Fact(Rate::Within);
        over.rate = Known::Fact(Rate::Exceeded { limit: 10, retry_after: 3 });
        assert_eq!(judge(&Throttle, &within), Ok(Verdict::Pass));
        assert_eq!(
            judge(&Throttle, &over),
            Ok(Reason::TooFast { limit: 10, retry_after: 3 }.into())
        );
    }
}
