//! Sends only operations whose every effect this version governs.
//!
//! What keeps state at the provider, goes on working there, or fetches for the agent is refused
//! until it is governed; the provider's own tools are off unless the contract names them.

use alloc::boxed::Box;

use crate::case::{Ask, EndpointClass, ToolKind};
use crate::policy::Contract;
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct EndpointScope;

static RULE: Rule = Rule {
    id: RuleId("filtering/endpoint_scope"),
    says: "Only governed operations are sent, on objects that this run was given, with provider-side tools that the contract names.",
};

impl Stage for EndpointScope {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let endpoint = cx.case.endpoint.get()?;
        match endpoint.class {
            EndpointClass::Ungoverned | EndpointClass::Unlisted => {
                return Ok(Reason::OperationNotGoverned(endpoint.operation.clone()).into());
            }
            EndpointClass::Priced
            | EndpointClass::Free
            | EndpointClass::Read
            | EndpointClass::Write => {}
        }
        let contract = super::super::contract(cx)?;
        Ok(match cx.case.ask.get()? {
            Some(ask) => refused(contract, ask).map_or(Verdict::Pass, Verdict::from),
            None => Verdict::Pass,
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

fn refused(contract: &Contract, ask: &Ask) -> Option<Reason> {
    if let Some(feature) = ask.ungoverned.first() {
        return Some(Reason::OperationNotGoverned(feature.clone()));
    }
    if let Some(object) = ask.foreign_objects.first() {
        return Some(Reason::NotOurs(object.clone()));
    }
    ask.tools.iter().find_map(|tool| match &tool.kind {
        ToolKind::Agent => None,
        ToolKind::Provider(kind) => {
            let named = contract.provider_tools.iter().any(|glob| glob.matches(kind));
            (!named).then(|| Reason::ProviderTool(kind.clone()))
        }
        ToolKind::Unknown(kind) => Some(Reason::ProviderTool(kind.clone())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::ToolOffered;
    use crate::testkit::{case, judge};
    use alloc::string::String;

    fn offering(kind: ToolKind) -> crate::Case {
        case().asking(|ask| ask.tools.push(ToolOffered { name: "t".into(), kind }))
    }

    #[test]
    fn a_governed_operation_passes() {
        assert_eq!(judge(&EndpointScope, &case()), Ok(Verdict::Pass));
    }

    #[test]
    fn an_operation_that_is_not_governed_or_not_listed_is_refused_by_name() {
        for class in [EndpointClass::Ungoverned, EndpointClass::Unlisted] {
            let other = case().operation("responses_retrieve", class);
            assert_eq!(
                judge(&EndpointScope, &other),
                Ok(Reason::OperationNotGoverned("responses_retrieve".into()).into())
            );
        }
    }

    #[test]
    fn a_feature_that_keeps_working_at_the_provider_is_refused() {
        let background = case().asking(|ask| ask.ungoverned.push("background".into()));
        assert_eq!(
            judge(&EndpointScope, &background),
            Ok(Reason::OperationNotGoverned("background".into()).into())
        );
    }

    #[test]
    fn an_object_that_this_run_was_not_given_is_refused() {
        let other = case().asking(|ask| ask.foreign_objects.push("resp_1".into()));
        assert_eq!(judge(&EndpointScope, &other), Ok(Reason::NotOurs("resp_1".into()).into()));
    }

    #[test]
    fn a_provider_side_tool_passes_only_where_the_contract_names_it() {
        let named = offering(ToolKind::Provider("web_search".into()));
        let other = offering(ToolKind::Provider("code_interpreter".into()));
        assert_eq!(judge(&EndpointScope, &named), Ok(Verdict::Pass));
        assert_eq!(
            judge(&EndpointScope, &other),
            Ok(Reason::ProviderTool("code_interpreter".into()).into())
        );
    }

    #[test]
    fn a_tool_of_a_type_nobody_knows_is_refused_even_under_a_named_types_name() {
        let unknown = offering(ToolKind::Unknown(String::from("web_search")));
        assert_eq!(
            judge(&EndpointScope, &unknown),
            Ok(Reason::ProviderTool("web_search".into()).into())
        );
    }

    #[test]
    fn the_agents_own_tools_pass() {
        assert_eq!(judge(&EndpointScope, &offering(ToolKind::Agent)), Ok(Verdict::Pass));
    }
}
