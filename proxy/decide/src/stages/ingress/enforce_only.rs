//! Lets nobody reach a provider on an account of their own.
//!
//! An allowlist, because cookies, Basic and presigned URLs have no shape to look for: where the
//! gate puts a credential in, every place that can authenticate or choose an account holds a
//! virtual key, a value that the gate sets, or nothing. Elsewhere nothing that looks like an
//! issuer's secret leaves, and other credentials only where the contract says so.

use alloc::boxed::Box;

use crate::case::{CredentialStanding, Standing};
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct EnforceOnly;

static RULE: Rule = Rule {
    id: RuleId("ingress/enforce_only"),
    says: "No credential leaves but those that the gate puts in, unless the contract lets the agent use its own at a host for which the gate holds none.",
};

impl Stage for EnforceOnly {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let ours = cx.case.destination.get()?.credential.is_some();
        let own_allowed = super::super::contract(cx)?.own_credentials;
        let standings = cx.case.credentials.get()?;
        let foreign = standings.iter().find(|standing| match standing.what {
            Standing::VirtualKey | Standing::SetByGate => false,
            Standing::RealKey(_) => true,
            Standing::Foreign => ours || !own_allowed,
        });
        Ok(foreign.map_or(Verdict::Pass, |standing| refusal(standing).into()))
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

fn refusal(standing: &CredentialStanding) -> Reason {
    let class = match standing.what {
        Standing::RealKey(class) => Some(class),
        Standing::VirtualKey | Standing::SetByGate | Standing::Foreign => None,
    };
    Reason::ForeignCredential { place: standing.place.clone(), class }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::SecretClass;
    use crate::testkit::{case, judge, judge_under, policy};

    fn foreign(class: Option<SecretClass>) -> Verdict {
        Reason::ForeignCredential { place: "header authorization".into(), class }.into()
    }

    #[test]
    fn a_virtual_key_and_what_the_gate_sets_pass() {
        let set = case().standing(&[Standing::VirtualKey, Standing::SetByGate]);
        assert_eq!(judge(&EnforceOnly, &set), Ok(Verdict::Pass));
    }

    #[test]
    fn a_credential_of_ones_own_does_not_reach_a_host_of_ours_even_where_own_are_allowed() {
        let mut lenient = policy();
        lenient.agents[0].1.own_credentials = true;
        let own = case().standing(&[Standing::Foreign]);
        assert_eq!(judge_under(&EnforceOnly, &own, &lenient), Ok(foreign(None)));
    }

    #[test]
    fn a_credential_of_ones_own_goes_elsewhere_only_where_the_contract_says_so() {
        let mut lenient = policy();
        lenient.agents[0].1.own_credentials = true;
        let own = case().bound_for("registry.npmjs.org").standing(&[Standing::Foreign]);
        assert_eq!(judge(&EnforceOnly, &own), Ok(foreign(None)));
        assert_eq!(judge_under(&EnforceOnly, &own, &lenient), Ok(Verdict::Pass));
    }

    #[test]
    fn a_real_key_leaves_for_no_host() {
        let mut lenient = policy();
        lenient.agents[0].1.own_credentials = true;
        let real = [Standing::RealKey(SecretClass::OpenaiKey)];
        for case in [case(), case().bound_for("registry.npmjs.org")] {
            let case = case.standing(&real);
            assert_eq!(
                judge_under(&EnforceOnly, &case, &lenient),
                Ok(foreign(Some(SecretClass::OpenaiKey)))
            );
        }
    }
}
