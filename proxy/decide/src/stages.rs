//! One file per rule, one folder per band.

use alloc::vec::Vec;

use crate::policy::{Budgets, Contract, Identity, KeyTerms, Limits, Mode, SecretsIn};
use crate::{Missing, RequestContext, RuleId};

/// The last rule, which alone lets an exchange go.
pub(crate) const SEAL: RuleId = RuleId("verdict/seal");

/// What holds for an agent that no contract covers: nothing is allowed. Observe still asks every
/// rule, so that the trail is complete.
static NOTHING: Contract = Contract {
    mode: Mode::Enforce,
    identity: Identity {
        keys: Vec::new(),
        certificates: Vec::new(),
        cgroups: Vec::new(),
        addresses: Vec::new(),
    },
    bearer: false,
    limits: Limits { connections: None, streams: None, bytes: None },
    models: Vec::new(),
    destinations: Vec::new(),
    quiet: Vec::new(),
    budgets: Budgets { request: None, run: None, key_day: None, day: None, month: None },
    max_tokens: None,
    rate: None,
    secrets: SecretsIn::Deny,
    own_credentials: false,
    provider_tools: Vec::new(),
    provider_calls: None,
    keys: KeyTerms { lifetime_seconds: None, uses: None },
};

/// The contract of the caller; [`NOTHING`] where none covers it.
fn contract<'a>(cx: &RequestContext<'a>) -> Result<&'a Contract, Missing> {
    let caller = cx.case.caller.get()?;
    Ok(cx.policy.contract(&caller.agent).unwrap_or(&NOTHING))
}

pub(crate) mod ingress {
    //! Who is calling, and may they call at all.
    mod enforce_only;
    mod key_lifetime;
    mod kill_switch;
    mod peer_identity;
    mod virtual_key;
    pub(crate) use enforce_only::EnforceOnly;
    pub(crate) use key_lifetime::KeyLifetime;
    pub(crate) use kill_switch::KillSwitch;
    pub(crate) use peer_identity::PeerIdentity;
    pub(crate) use virtual_key::VirtualKey;
}
pub(crate) mod filtering {
    //! Where it goes and what it asks for.
    mod destination;
    mod endpoint_scope;
    mod envelope;
    mod model_scope;
    mod throttle;
    pub(crate) use destination::Destination;
    pub(crate) use endpoint_scope::EndpointScope;
    pub(crate) use envelope::Envelope;
    pub(crate) use model_scope::ModelScope;
    pub(crate) use throttle::Throttle;
}
pub(crate) mod content {
    //! What the bytes carry.
    mod secrets;
    pub(crate) use secrets::Secrets;
}
pub(crate) mod engines {
    //! What the books say.
    mod key_budget;
    pub(crate) use key_budget::KeyBudget;
}
pub(crate) mod verdict {
    //! The last word.
    mod seal;
    pub(crate) use seal::Seal;
}
