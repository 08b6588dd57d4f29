//! Keeps secrets in, both ways: what the agent sends, and what an answer would bring.
//!
//! In a request each finding is replaced where the contract says so and the bytes allow it. An
//! answer has no splice: it is cut at the first finding.

use alloc::boxed::Box;

use crate::policy::SecretsIn;
use crate::stream::{StreamEvent, Watch};
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct Secrets;

static RULE: Rule = Rule {
    id: RuleId("content/secrets"),
    says: "A secret in a request is replaced or the request refused, and an answer is cut before one.",
};

impl Stage for Secrets {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let findings = cx.case.findings.get()?;
        let Some(first) = findings.secrets.keys().next() else {
            return Ok(Verdict::Pass);
        };
        Ok(match super::super::contract(cx)?.secrets {
            SecretsIn::Redact if findings.replaceable => Verdict::Redact,
            SecretsIn::Redact | SecretsIn::Deny => Reason::Secret(*first).into(),
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        Some(Box::new(CutAtASecret))
    }
}

struct CutAtASecret;

impl Watch for CutAtASecret {
    fn see(&mut self, event: &StreamEvent) -> Result<Verdict, Missing> {
        Ok(match event {
            StreamEvent::Heard(classes) => match classes.first() {
                Some(class) => Reason::Secret(*class).into(),
                None => Verdict::Pass,
            },
            StreamEvent::Killed(_)
            | StreamEvent::Expired(_)
            | StreamEvent::Gone
            | StreamEvent::End => Verdict::Abstain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::SecretClass::{GithubToken, Jwt};
    use crate::testkit::{case, judge, judge_under, policy, watch};

    #[test]
    fn nothing_found_passes() {
        assert_eq!(judge(&Secrets, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn a_finding_is_replaced_where_the_contract_says_so() {
        let mut redacting = policy();
        redacting.agents[0].1.secrets = SecretsIn::Redact;
        let found = case().carrying(GithubToken, true);
        assert_eq!(judge_under(&Secrets, &found, &redacting), Ok(Verdict::Redact));
        assert_eq!(judge(&Secrets, &found), Ok(Reason::Secret(GithubToken).into()));
    }

    #[test]
    fn a_finding_that_no_splice_can_replace_is_refused() {
        let mut redacting = policy();
        redacting.agents[0].1.secrets = SecretsIn::Redact;
        let stuck = case().carrying(Jwt, false);
        assert_eq!(judge_under(&Secrets, &stuck, &redacting), Ok(Reason::Secret(Jwt).into()));
    }

    #[test]
    fn an_answer_is_cut_at_its_first_finding() {
        let mut watch = watch(&Secrets, &case()).unwrap();
        assert_eq!(watch.see(&StreamEvent::Heard([].into())), Ok(Verdict::Pass));
        assert_eq!(
            watch.see(&StreamEvent::Heard([Jwt, GithubToken].into())),
            Ok(Reason::Secret(Jwt).into())
        );
    }
}
