//! Keeps an agent to the models, and the length of output, that its contract names.

use alloc::boxed::Box;
use alloc::string::ToString;

use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct ModelScope;

static RULE: Rule = Rule {
    id: RuleId("filtering/model_scope"),
    says: "Only models that the contract names are asked, and for no more output than it allows.",
};

impl Stage for ModelScope {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let Some(ask) = cx.case.ask.get()? else {
            return Ok(Verdict::Abstain);
        };
        let contract = super::super::contract(cx)?;
        if !contract.allows_model(&ask.model) {
            let allowed = contract.models.iter().map(ToString::to_string).collect();
            return Ok(Reason::ModelNotAllowed { model: ask.model.clone(), allowed }.into());
        }
        Ok(match (ask.output_limit, contract.max_tokens) {
            (Some(asked), Some(limit)) if asked > limit => {
                Reason::OutputTooLong { asked: Some(asked), limit }.into()
            }
            _ => Verdict::Pass,
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{case, judge, judge_under, policy};

    #[test]
    fn a_named_model_passes() {
        assert_eq!(judge(&ModelScope, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn another_model_is_refused_with_what_is_allowed() {
        let pro = case().asking(|ask| ask.model = "gpt-5-pro".into());
        let Ok(Verdict::Block(reason)) = judge(&ModelScope, &pro) else { panic!("not refused") };
        assert_eq!(
            reason.to_string(),
            "gpt-5-pro is not in this agent's contract. Allowed: gpt-5-mini, claude-haiku-*"
        );
    }

    #[test]
    fn a_model_is_compared_exactly_as_written() {
        let shouted = case().asking(|ask| ask.model = "GPT-5-MINI".into());
        assert!(matches!(judge(&ModelScope, &shouted), Ok(Verdict::Block(_))));
    }

    #[test]
    fn more_output_than_the_contract_allows_is_refused_and_the_limit_itself_passes() {
        let (at, above) = (
            case().asking(|ask| ask.output_limit = Some(4096)),
            case().asking(|ask| ask.output_limit = Some(4097)),
        );
        assert_eq!(judge(&ModelScope, &at), Ok(Verdict::Pass));
        assert_eq!(
            judge(&ModelScope, &above),
            Ok(Reason::OutputTooLong { asked: Some(4097), limit: 4096 }.into())
        );
    }

    #[test]
    fn a_model_must_match_every_set_that_a_run_was_narrowed_to() {
        let mut narrowed = policy().with_models(&["gpt-*".into()]);
        assert_eq!(judge_under(&ModelScope, &case(), &narrowed), Ok(Verdict::Pass));
        narrowed = narrowed.with_models(&["claude-*".into()]);
        assert!(matches!(judge_under(&ModelScope, &case(), &narrowed), Ok(Verdict::Block(_))));
    }

    #[test]
    fn a_request_that_is_not_to_a_model_does_not_concern_it() {
        let plain = case().bound_for("registry.npmjs.org");
        assert_eq!(judge(&ModelScope, &plain), Ok(Verdict::Abstain));
    }
}
