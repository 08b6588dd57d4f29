//! The smallest innocent case, and the policy that it is innocent under; for the tests of this package and its benches.

use tollgate_decide::Policy;
use tollgate_decide::case::{
    Address, AddressClass, Ask, Bound, Caller, Case, CredentialStanding, Destination, Endpoint,
    EndpointClass, Envelope, Findings, Identified, Key, Known, MicroUsd, Presented, Rate,
    Reservation, Scheme, Standing, Timestamp,
};
use tollgate_decide::policy::{
    Access, Budgets, Contract, Glob, Grant, Identity, KeyTerms, Limits, Mode, SecretsIn,
};

pub(crate) fn key() -> Key {
    Key {
        id: "key_1".into(),
        credential: "openai".into(),
        agent: "refunds".into(),
        expires: None,
        uses_left: None,
        revoked: false,
        bound: Bound::Run,
    }
}

/// A chat completion with every fact gathered, of which no rule has anything to say.
pub(crate) fn case() -> Case {
    Case {
        id: "01JD0000000000000000000000".into(),
        received: Timestamp(1_763_000_000_000_000),
        caller: Known::Fact(Caller {
            agent: "refunds".into(),
            run: "01JD".into(),
            team: None,
            by: Identified::Run,
            proxied: None,
            from: None,
        }),
        kills: Known::Fact([].into()),
        key: Known::Fact(Presented::Key(key())),
        credentials: Known::Fact(
            [CredentialStanding {
                place: "header authorization".into(),
                what: Standing::VirtualKey,
            }]
            .into(),
        ),
        destination: Known::Fact(Destination {
            host: "api.openai.com".into(),
            port: 443,
            scheme: Scheme::Https,
            agrees: true,
            credential: Some("openai".into()),
        }),
        address: Known::Fact(Address::Resolved {
            ip: "198.51.100.7".into(),
            class: AddressClass::Public,
            named: false,
        }),
        envelope: Known::Fact(Envelope { faults: [].into(), bytes: 240 }),
        endpoint: Known::Fact(Endpoint {
            dialect: "openai".into(),
            operation: "chat_completions".into(),
            class: EndpointClass::Priced,
        }),
        ask: Known::Fact(Some(Ask {
            model: "gpt-5-mini".into(),
            stream: true,
            output_limit: Some(512),
            choices: 1,
            input_bytes: 240,
            service_tier: None,
            tools: [].into(),
            contacts: [].into(),
            foreign_objects: [].into(),
            ungoverned: [].into(),
        })),
        rate: Known::Fact(Rate::Within),
        findings: Known::Fact(Findings::default()),
        budget: Known::Fact(Reservation::Granted { worst: MicroUsd(4_200), output_limit: None }),
    }
}

fn grant(host: &str, access: Access) -> Grant {
    Grant { host: host.into(), port: None, access, upload: None }
}

/// A contract with a few models and destinations, under which it is forwarded.
pub(crate) fn policy() -> Policy {
    let contract = Contract {
        mode: Mode::Enforce,
        identity: Identity::default(),
        bearer: false,
        limits: Limits::default(),
        models: ["gpt-5-mini".into(), "claude-haiku-*".into()].into(),
        destinations: [
            grant("api.openai.com", Access::Read),
            grant("registry.npmjs.org", Access::Read),
            grant("*.example.com", Access::Write),
            Grant { port: Some(5432), ..grant("postgres.svc", Access::Opaque) },
        ]
        .into(),
        quiet: [].into(),
        budgets: Budgets { run: Some(MicroUsd(5_000_000)), ..Budgets::default() },
        max_tokens: Some(4096),
        rate: None,
        secrets: SecretsIn::Deny,
        own_credentials: false,
        provider_tools: ["web_search".into()].into(),
        provider_calls: None,
        keys: KeyTerms::default(),
    };
    Policy {
        id: "test".into(),
        version: "1".into(),
        digest: [7; 32],
        team: None,
        cost_center: None,
        budgets: Budgets::default(),
        agents: [(Glob::from("refunds"), contract)].into(),
    }
}
