//! The innocent case, and ways to spoil it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::case::*;
use crate::scan::SecretClass;
use crate::stream::Watch;
use crate::{Policy, Stage, Verdict};

mod innocent;
pub(crate) use innocent::{case, key, policy};

pub(crate) fn judge(stage: &dyn Stage, case: &Case) -> Result<Verdict, Missing> {
    judge_under(stage, case, &policy())
}

pub(crate) fn judge_under(
    stage: &dyn Stage,
    case: &Case,
    policy: &Policy,
) -> Result<Verdict, Missing> {
    stage.judge(&RequestContext { case, policy, trail: &[] })
}

pub(crate) fn watch(stage: &dyn Stage, case: &Case) -> Option<Box<dyn Watch>> {
    stage.watch(&RequestContext { case, policy: &policy(), trail: &[] })
}

fn fact<T>(known: &mut Known<T>) -> &mut T {
    match known {
        Known::Fact(fact) => fact,
        Known::Missing(missing) => panic!("{missing}"),
    }
}

impl Case {
    pub(crate) fn killed(mut self, scopes: impl IntoIterator<Item = KillScope>) -> Self {
        self.kills = Known::Fact(scopes.into_iter().collect());
        self
    }

    pub(crate) fn without_kills(mut self, missing: Missing) -> Self {
        self.kills = Known::Missing(missing);
        self
    }

    pub(crate) fn called_by(mut self, agent: &str) -> Self {
        fact(&mut self.caller).agent = agent.into();
        self
    }

    pub(crate) fn presenting(mut self, presented: Presented) -> Self {
        self.key = Known::Fact(presented);
        self
    }

    pub(crate) fn standing(mut self, whats: &[Standing]) -> Self {
        let place = || String::from("header authorization");
        self.credentials = Known::Fact(
            whats.iter().map(|what| CredentialStanding { place: place(), what: *what }).collect(),
        );
        self
    }

    pub(crate) fn to(mut self, change: impl FnOnce(&mut Destination)) -> Self {
        change(fact(&mut self.destination));
        self
    }

    pub(crate) fn at(mut self, address: Address) -> Self {
        self.address = Known::Fact(address);
        self
    }

    /// A read of a host that is not a provider, without any key.
    pub(crate) fn bound_for(self, host: &str) -> Self {
        let mut case = self
            .to(|to| {
                to.host = host.into();
                to.credential = None;
            })
            .presenting(Presented::Nothing)
            .standing(&[])
            .operation("read", EndpointClass::Read);
        case.ask = Known::Fact(None);
        case.budget = Known::Fact(Reservation::NotNeeded);
        case
    }

    pub(crate) fn operation(mut self, operation: &str, class: EndpointClass) -> Self {
        let endpoint = fact(&mut self.endpoint);
        endpoint.operation = operation.into();
        endpoint.class = class;
        self
    }

    pub(crate) fn asking(mut self, change: impl FnOnce(&mut Ask)) -> Self {
        change(fact(&mut self.ask).as_mut().expect("the case asks a model"));
        self
    }

    pub(crate) fn carrying(mut self, class: SecretClass, replaceable: bool) -> Self {
        self.findings = Known::Fact(Findings { secrets: [(class, 1)].into(), replaceable });
        self
    }
}

/// Every way to lose one fact.
pub(crate) fn losses() -> Vec<fn(&mut Case, Missing)> {
    // Without `..`: a new fact does not compile until it stands here and in the list below.
    let Case {
        id: _,
        received: _,
        caller: _,
        kills: _,
        key: _,
        credentials: _,
        destination: _,
        address: _,
        envelope: _,
        endpoint: _,
        ask: _,
        rate: _,
        findings: _,
        budget: _,
    } = case();
    [
        (|case, missing| case.caller = Known::Missing(missing)) as fn(&mut Case, Missing),
        |case, missing| case.kills = Known::Missing(missing),
        |case, missing| case.key = Known::Missing(missing),
        |case, missing| case.credentials = Known::Missing(missing),
        |case, missing| case.destination = Known::Missing(missing),
        |case, missing| case.address = Known::Missing(missing),
        |case, missing| case.envelope = Known::Missing(missing),
        |case, missing| case.endpoint = Known::Missing(missing),
        |case, missing| case.ask = Known::Missing(missing),
        |case, missing| case.rate = Known::Missing(missing),
        |case, missing| case.findings = Known::Missing(missing),
        |case, missing| case.budget = Known::Missing(missing),
    ]
    .into()
}
