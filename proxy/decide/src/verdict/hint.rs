//! What somebody who was refused can do, naming only flags and commands that exist.

use alloc::format;
use alloc::string::String;

use super::{KeyEnd, Reason};
use crate::case::{BudgetScope, EnvelopeFault};
use crate::chain::Refusal;
use crate::scan::SecretClass;

impl Refusal {
    /// The way that is open, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match &self.reason {
            Reason::NoContract(agent) => {
                Some(format!("add the agent {agent} to the policy, or choose another with --agent"))
            }
            Reason::DestinationNotAllowed(host) => Some(allow(host, "")),
            Reason::NotRead(to) => {
                Some(format!("use https, or start the command with --allow {to}:opaque"))
            }
            Reason::ReadOnly(host) => Some(allow(host, ":write")),
            Reason::ModelNotAllowed { .. } => {
                Some("use an allowed model, or start the run with another policy or --model".into())
            }
            Reason::OutputTooLong { limit, .. } => {
                Some(format!("ask for at most {limit} output tokens"))
            }
            Reason::OverBudget { scope, .. } => Some(over_budget(*scope)),
            Reason::Unpriced(_) => Some("use a model whose price is known".into()),
            Reason::Unbounded(field) => Some(format!("send the request without {field}")),
            Reason::ForeignCredential { class, .. } => Some(foreign(*class)),
            Reason::NoKey | Reason::UnknownKey => {
                Some("use the key from the environment that tollgate exec gives the command".into())
            }
            Reason::KeyOver(KeyEnd::Expired | KeyEnd::UsedUp) => {
                Some("start a new run with tollgate exec".into())
            }
            Reason::ProviderTool(tool) => Some(format!(
                "send the request without {tool}, or name it under provider_tools in the policy"
            )),
            Reason::Envelope(EnvelopeFault::Upgrade(_)) => Some("use plain HTTPS".into()),
            Reason::TooFast { retry_after, .. } => Some(format!("try again in {retry_after} s")),
            Reason::Secret(_) => Some("send or ask it without the secret".into()),
            Reason::AddressNotAllowed { host, .. } => Some(format!(
                "if this is meant, name the address with --connect-to {host}:PORT:ADDRESS:PORT"
            )),
            Reason::Killed(_)
            | Reason::KeyOver(KeyEnd::Revoked)
            | Reason::KeyBoundElsewhere(_)
            | Reason::DestinationsDisagree(_)
            | Reason::NoSuchName(_)
            | Reason::Envelope(_)
            | Reason::OperationNotGoverned(_)
            | Reason::NotOurs(_)
            | Reason::Upstream(_)
            | Reason::Unverifiable(_)
            | Reason::Unsealed => None,
        }
    }
}

fn allow(host: &str, access: &str) -> String {
    format!("start the command with --allow {host}{access}")
}

fn over_budget(scope: BudgetScope) -> String {
    match scope {
        BudgetScope::Run => {
            "tollgate budget raise --run ID AMOUNT, or start the command with --budget AMOUNT"
                .into()
        }
        BudgetScope::Request => {
            "ask for less output, or raise budgets.request in the policy".into()
        }
        BudgetScope::KeyDay | BudgetScope::AgentDay | BudgetScope::TeamDay => {
            "the limit is whole again at 00:00 UTC, or raise it in the policy".into()
        }
        BudgetScope::AgentMonth | BudgetScope::TeamMonth => {
            "the limit is whole again next month, or raise it in the policy".into()
        }
    }
}

fn foreign(class: Option<SecretClass>) -> String {
    match class {
        Some(SecretClass::OpenaiKey) => sealed("OPENAI_API_KEY"),
        Some(SecretClass::AnthropicKey) => sealed("ANTHROPIC_API_KEY"),
        Some(_) | None => {
            "send it without the credential; own_credentials: allow in the policy opens hosts for which the gate holds none".into()
        }
    }
}

fn sealed(variable: &str) -> String {
    format!(
        "start the command with the key in {variable} under tollgate exec; it is sealed and replaced"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleId;
    use crate::case::MicroUsd;
    use std::string::ToString;

    fn refusal(rule: &'static str, reason: Reason) -> Refusal {
        Refusal { rule: RuleId(rule), reason }
    }

    #[test]
    fn a_refusal_reads_as_its_rule_and_reason() {
        let refused = refusal(
            "filtering/model_scope",
            Reason::ModelNotAllowed {
                model: "gpt-5-pro".into(),
                allowed: ["gpt-5-mini".into(), "gpt-5-nano".into()].into(),
            },
        );
        assert_eq!(
            refused.to_string(),
            "model_scope: gpt-5-pro is not in this agent's contract. Allowed: gpt-5-mini, gpt-5-nano"
        );
    }

    #[test]
    fn a_host_is_opened_by_the_flag_that_fits_the_access() {
        let hint = |reason| refusal("filtering/destination", reason).hint().unwrap();
        let host = || String::from("pastebin.com");
        assert_eq!(
            hint(Reason::DestinationNotAllowed(host())),
            "start the command with --allow pastebin.com"
        );
        assert_eq!(
            hint(Reason::ReadOnly(host())),
            "start the command with --allow pastebin.com:write"
        );
        assert_eq!(
            hint(Reason::NotRead("github.com:22".into())),
            "use https, or start the command with --allow github.com:22:opaque"
        );
    }

    #[test]
    fn a_spent_run_can_be_raised_while_it_runs() {
        let (asked, left, limit) = (MicroUsd(2), MicroUsd(1), MicroUsd(5));
        let scope = BudgetScope::Run;
        let refused =
            refusal("engines/key_budget", Reason::OverBudget { scope, asked, left, limit });
        assert_eq!(
            refused.hint().unwrap(),
            "tollgate budget raise --run ID AMOUNT, or start the command with --budget AMOUNT"
        );
    }

    #[test]
    fn a_real_key_of_a_provider_is_sealed_by_exec() {
        let place = String::from("header x-api-key");
        let class = Some(SecretClass::AnthropicKey);
        let refused = refusal("ingress/enforce_only", Reason::ForeignCredential { place, class });
        assert!(refused.hint().unwrap().contains("ANTHROPIC_API_KEY under tollgate exec"));
    }
}
