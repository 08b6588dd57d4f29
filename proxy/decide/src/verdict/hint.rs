//! What somebody who was refused can do, naming only flags and commands that exist.

use alloc::format;
use alloc::string::String;

use super::{KeyEnd, Reason};
use crate::case::{BudgetScope, EnvelopeFault, KillScope};
use crate::chain::Refusal;
use crate::scan::SecretClass;

/// What a refused caller is behind; it decides which flags and commands are of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// One `tollgate exec`.
    Exec,
    /// A `tollgate serve` of many agents.
    Serve,
}

impl Refusal {
    /// The way that is open, where there is one.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one arm a reason, and nothing else")]
    pub fn hint(&self, setting: Setting) -> Option<String> {
        let either = |exec: String, serve: &str| {
            Some(match setting {
                Setting::Exec => exec,
                Setting::Serve => serve.into(),
            })
        };
        let in_service = |serve: &str| (setting == Setting::Serve).then(|| serve.into());
        match &self.reason {
            Reason::UnknownCaller => Some(
                "use a virtual key (tollgate key create), or have the workload named under identity in the policy".into(),
            ),
            Reason::NoContract(agent) => either(
                format!("add the agent {agent} to the policy, or choose another with --agent"),
                &format!("the policy needs a contract for the agent {agent}"),
            ),
            Reason::DestinationNotAllowed(host) => either(allow(host, ""), &in_policy(host, "")),
            Reason::ReadOnly(host) => either(allow(host, ":write"), &in_policy(host, ":write")),
            Reason::NotRead(to) => either(
                format!("use https, or {}", allow(to, ":opaque")),
                &format!("use https, or {}", in_policy(to, ":opaque")),
            ),
            Reason::ModelNotAllowed { .. } => either(
                "use an allowed model, or start the run with another policy or --model".into(),
                "use an allowed model, or have this one named under models in the policy",
            ),
            Reason::OutputTooLong { limit, .. } => {
                Some(format!("ask for at most {limit} output tokens"))
            }
            Reason::OverBudget { scope, .. } => Some(over_budget(*scope, setting).into()),
            Reason::Unpriced(_) => Some("use a model whose price is known".into()),
            Reason::Unbounded(field) => Some(format!("send the request without {field}")),
            Reason::ForeignCredential { class, .. } => Some(foreign(*class, setting)),
            Reason::NoKey | Reason::UnknownKey => either(
                "use the key from the environment that tollgate exec gives the command".into(),
                "use the agent's virtual key (tollgate key create) in place of the provider's",
            ),
            Reason::KeyOver(KeyEnd::Expired | KeyEnd::UsedUp) => either(
                "start a new run with tollgate exec".into(),
                "have a new key made with tollgate key create",
            ),
            Reason::KeyOver(KeyEnd::Revoked) => {
                in_service("have a new key made with tollgate key create")
            }
            Reason::KeyUsedElsewhere(_) => in_service(
                "use it from where it was made for, or have one made for here (tollgate key create --from)",
            ),
            Reason::KeyUnbound(_) => in_service(
                "have a key made with tollgate key create --from, or bearer: true set in the policy",
            ),
            Reason::ProviderTool(tool) => Some(format!(
                "send the request without {tool}, or name it under provider_tools in the policy"
            )),
            Reason::Envelope(EnvelopeFault::Upgrade(_)) => Some("use plain HTTPS".into()),
            Reason::TooFast { retry_after, .. } => Some(format!("try again in {retry_after} s")),
            Reason::Secret(_) => Some("send or ask it without the secret".into()),
            Reason::AddressNotAllowed { host, .. } => either(
                format!(
                    "if this is meant, name the address with --connect-to {host}:PORT:ADDRESS:PORT"
                ),
                &format!(
                    "if this is meant, have the address named under upstream.connect_to: {host}:PORT:ADDRESS:PORT"
                ),
            ),
            Reason::Killed(KillScope::Drain) => Some("ask again in a moment".into()),
            Reason::Killed(_)
            | Reason::KeyBoundElsewhere(_)
            | Reason::DestinationsDisagree(_)
            | Reason::NoSuchName(_)
            | Reason::Envelope(_)
            | Reason::OperationNotGoverned(_)
            | Reason::NotOurs(_)
            | Reason::Upstream(_)
            | Reason::Busy(_)
            | Reason::Unverifiable(_)
            | Reason::Unsealed => None,
        }
    }
}

fn allow(host: &str, access: &str) -> String {
    format!("start the command with --allow {host}{access}")
}

fn in_policy(host: &str, access: &str) -> String {
    format!("have {host}{access} named under destinations in the policy")
}

const fn over_budget(scope: BudgetScope, setting: Setting) -> &'static str {
    match (scope, setting) {
        (BudgetScope::Run, Setting::Exec) => {
            "tollgate budget raise --run ID AMOUNT, or start the command with --budget AMOUNT"
        }
        (BudgetScope::Run, Setting::Serve) => {
            "budgets.run counts from the start of the gate: tollgate budget raise --run ID AMOUNT"
        }
        (BudgetScope::Request, _) => "ask for less output, or raise budgets.request in the policy",
        (BudgetScope::KeyDay | BudgetScope::AgentDay | BudgetScope::TeamDay, _) => {
            "the limit is whole again at 00:00 UTC, or raise it in the policy"
        }
        (BudgetScope::AgentMonth | BudgetScope::TeamMonth, _) => {
            "the limit is whole again next month, or raise it in the policy"
        }
    }
}

fn foreign(class: Option<SecretClass>, setting: Setting) -> String {
    match (class, setting) {
        (Some(SecretClass::OpenaiKey), Setting::Exec) => sealed("OPENAI_API_KEY"),
        (Some(SecretClass::AnthropicKey), Setting::Exec) => sealed("ANTHROPIC_API_KEY"),
        (Some(SecretClass::OpenaiKey | SecretClass::AnthropicKey), Setting::Serve) => {
            "use the agent's virtual key; the real one is for the gate alone (tollgate credential add)".into()
        }
        (Some(_) | None, _) => {
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
        let hint = |reason| refusal("filtering/destination", reason).hint(Setting::Exec).unwrap();
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
            refused.hint(Setting::Exec).unwrap(),
            "tollgate budget raise --run ID AMOUNT, or start the command with --budget AMOUNT"
        );
    }

    #[test]
    fn a_real_key_of_a_provider_is_sealed_by_exec() {
        let place = String::from("header x-api-key");
        let class = Some(SecretClass::AnthropicKey);
        let refused = refusal("ingress/enforce_only", Reason::ForeignCredential { place, class });
        assert!(
            refused.hint(Setting::Exec).unwrap().contains("ANTHROPIC_API_KEY under tollgate exec")
        );
    }

    #[test]
    fn behind_a_service_no_hint_names_a_flag_of_exec() {
        let host = || String::from("pastebin.com");
        for reason in [
            Reason::UnknownCaller,
            Reason::NoKey,
            Reason::DestinationNotAllowed(host()),
            Reason::ReadOnly(host()),
            Reason::NotRead(host()),
            Reason::KeyOver(KeyEnd::Expired),
            Reason::KeyUnbound("k_1".into()),
            Reason::KeyUsedElsewhere("k_1".into()),
        ] {
            let hint = refusal("ingress/x", reason).hint(Setting::Serve).unwrap();
            assert!(!hint.contains("exec") && !hint.contains("start the command"), "{hint}");
        }
    }
}
