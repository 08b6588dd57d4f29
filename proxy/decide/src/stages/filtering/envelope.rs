//! Refuses what two parsers could read differently.
//!
//! The gate judges one reading of a request and forwards its bytes; where a provider could read
//! another, the judgement would be of something that was never sent.

use alloc::boxed::Box;

use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct Envelope;

static RULE: Rule = Rule {
    id: RuleId("filtering/envelope"),
    says: "A request that cannot be read, or can be read in two ways, is not sent.",
};

impl Stage for Envelope {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        Ok(match cx.case.envelope.get()?.faults.first() {
            Some(fault) => Reason::Envelope(fault.clone()).into(),
            None => Verdict::Pass,
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{EnvelopeFault, Known};
    use crate::testkit::{case, judge};

    #[test]
    fn a_well_formed_request_passes() {
        assert_eq!(judge(&Envelope, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn the_first_fault_is_the_one_reported() {
        let (first, second) =
            (EnvelopeFault::DuplicateKey("model".into()), EnvelopeFault::PathForm);
        let mut twice = case();
        twice.envelope =
            Known::Fact(crate::case::Envelope { faults: [first.clone(), second].into(), bytes: 9 });
        assert_eq!(judge(&Envelope, &twice), Ok(Reason::Envelope(first).into()));
    }
}
