//! Sends only to declared destinations, and only to addresses that may be dialled.
//!
//! Judged twice: the name as text, and, only once the name is admitted, the address it resolved to.
//! What the address shows is reported first, because it holds in observe too.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use crate::case::{Address, AddressClass, Ask, Destination as To, EndpointClass, Scheme};
use crate::policy::{Access, Contract};
use crate::stream::Watch;
use crate::{Missing, Reason, RequestContext, Rule, RuleId, Stage, Verdict};

pub(crate) struct Destination;

static RULE: Rule = Rule {
    id: RuleId("filtering/destination"),
    says: "Nothing goes, or makes a provider go, to a host that the contract does not name, nor to an address that is not public unless somebody named it.",
};

impl Stage for Destination {
    fn rule(&self) -> &'static Rule {
        &RULE
    }

    fn judge(&self, cx: &RequestContext<'_>) -> Result<Verdict, Missing> {
        let to = cx.case.destination.get()?;
        if !to.agrees {
            return Ok(Reason::DestinationsDisagree(to.host.clone()).into());
        }
        let contract = super::super::contract(cx)?;
        let refused = refused_name(contract, to, cx)?;
        let address = cx.case.address.get()?;
        let reason = match (address, refused) {
            (Address::NotLookedUp, None) => return Err(Missing::NotGathered),
            (Address::NotLookedUp, refused) => refused,
            (address, refused) => refused_address(&to.host, address).or(refused),
        };
        Ok(match reason {
            Some(reason) => reason.into(),
            None => refused_contact(contract, cx.case.ask.get()?.as_ref())
                .map_or(Verdict::Pass, Verdict::from),
        })
    }

    fn watch(&self, _: &RequestContext<'_>) -> Option<Box<dyn Watch>> {
        None
    }
}

fn refused_name(
    contract: &Contract,
    to: &To,
    cx: &RequestContext<'_>,
) -> Result<Option<Reason>, Missing> {
    let has = |wanted: &[Access]| {
        contract.grants(&to.host, to.port).any(|grant| wanted.contains(&grant.access))
    };
    if to.scheme == Scheme::Opaque {
        let allowed = has(&[Access::Opaque]);
        return Ok((!allowed).then(|| Reason::NotRead(host_and_port(to))));
    }
    if !contract.admits(&to.host, to.port) {
        return Ok(Some(Reason::DestinationNotAllowed(to.host.clone())));
    }
    Ok(match cx.case.endpoint.get()?.class {
        EndpointClass::Write if has(&[Access::Write]) => None,
        EndpointClass::Write if has(&[Access::Read]) => Some(Reason::ReadOnly(to.host.clone())),
        EndpointClass::Read
        | EndpointClass::Priced
        | EndpointClass::Free
        | EndpointClass::Ungoverned
        | EndpointClass::Unlisted
            if has(&[Access::Read, Access::Write]) =>
        {
            None
        }
        EndpointClass::Read
        | EndpointClass::Write
        | EndpointClass::Priced
        | EndpointClass::Free
        | EndpointClass::Ungoverned
        | EndpointClass::Unlisted => Some(Reason::DestinationNotAllowed(to.host.clone())),
    })
}

/// As a grant writes it: an IPv6 address stands in brackets.
fn host_and_port(to: &To) -> String {
    if to.host.contains(':') {
        format!("[{}]:{}", to.host, to.port)
    } else {
        format!("{}:{}", to.host, to.port)
    }
}

fn refused_address(host: &str, address: &Address) -> Option<Reason> {
    match address {
        Address::NotLookedUp
        | Address::Resolved { named: true, .. }
        | Address::Resolved { class: AddressClass::Public, .. } => None,
        Address::NoSuchName => Some(Reason::NoSuchName(host.into())),
        Address::Resolved { class, .. } => {
            Some(Reason::AddressNotAllowed { host: host.into(), class: *class })
        }
    }
}

/// A host that the provider is asked to contact is a destination of the request. Without a port in
/// it, it is one of the web's; a port that is no number admits nothing.
fn refused_contact(contract: &Contract, ask: Option<&Ask>) -> Option<Reason> {
    let admitted = |contact: &str| {
        let (host, port) = match contact.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (contact, Some(443)),
        };
        port.is_some_and(|port| {
            contract.grants(host, port).any(|grant| grant.access != Access::Opaque)
        })
    };
    let refused = ask?.contacts.iter().find(|contact| !admitted(contact))?;
    Some(Reason::DestinationNotAllowed(refused.clone()))
}

#[cfg(test)]
mod tests;
