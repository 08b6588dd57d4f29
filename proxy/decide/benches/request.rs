//! One ordinary request and its policy.

use tollgate_decide::case::{
    Address, AddressClass, Ask, Bound, Caller, Case, CredentialStanding, Destination, Endpoint,
    EndpointClass, Envelope, Findings, Identified, Key, Known, MicroUsd, Presented, Rate,
    Reservation, Scheme, Standing, Timestamp, ToolKind, ToolOffered,
};
use tollgate_decide::policy::{Access, Budgets, Contract, Policy};
use tollgate_decide::policy::{Glob, Grant, Identity, KeyTerms, Limits, Mode, SecretsIn};

/// A chat completion of a known agent, with every fact gathered.
pub(crate) fn case() -> Case {
    Case {
        id: "01JD0000000000000000000000".into(),
        received: Timestamp(1_795_219_200_000_000),
        caller: Known::Fact(Caller {
            agent: "exec".into(),
            run: "01JD".into(),
            team: None,
            by: Identified::Run,
            proxied: None,
            from: None,
        }),
        kills: Known::Fact([].into()),
        key: Known::Fact(Presented::Key(Key {
            id: "key_1".into(),
            credential: "openai".into(),
            agent: "exec".into(),
            expires: None,
            uses_left: None,
            revoked: false,
            bound: Bound::Run,
        })),
        credentials: Known::Fact(vec![CredentialStanding {
            place: "header authorization".into(),
            what: Standing::VirtualKey,
        }]),
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
        envelope: Known::Fact(Envelope { faults: vec![], bytes: 1024 }),
        endpoint: Known::Fact(Endpoint {
            dialect: "openai".into(),
            operation: "chat_completions".into(),
            class: EndpointClass::Priced,
        }),
        ask: Known::Fact(Some(ask())),
        rate: Known::Fact(Rate::Within),
        findings: Known::Fact(Findings::default()),
        budget: Known::Fact(Reservation::Granted { worst: MicroUsd(4_200), output_limit: None }),
    }
}

fn ask() -> Ask {
    let tool = |name: &str| ToolOffered { name: name.into(), kind: ToolKind::Agent };
    Ask {
        model: "gpt-5-mini".into(),
        stream: true,
        output_limit: Some(512),
        choices: 1,
        input_bytes: 1024,
        service_tier: None,
        tools: ["read", "write", "edit", "bash", "grep"].map(tool).into(),
        contacts: vec![],
        foreign_objects: vec![],
        ungoverned: vec![],
    }
}

/// A contract with a few models and destinations.
pub(crate) fn policy() -> Policy {
    let grant = |host: &str| Grant {
        host: Glob::from(host),
        port: None,
        access: Access::Read,
        upload: None,
    };
    let contract = Contract {
        mode: Mode::Enforce,
        identity: Identity::default(),
        bearer: false,
        limits: Limits::default(),
        models: ["claude-*", "o4-*", "gpt-5-*"].map(Glob::from).into(),
        destinations: ["registry.npmjs.org", "*.example.com", "api.openai.com"].map(grant).into(),
        quiet: vec![],
        budgets: Budgets { run: Some(MicroUsd(5_000_000)), ..Budgets::default() },
        max_tokens: Some(4096),
        rate: None,
        secrets: SecretsIn::Redact,
        own_credentials: false,
        provider_tools: vec![],
        provider_calls: None,
        keys: KeyTerms::default(),
    };
    Policy {
        id: "bench".into(),
        version: "1".into(),
        digest: [0; 32],
        team: None,
        cost_center: None,
        budgets: Budgets::default(),
        agents: vec![(Glob::from("*"), contract)],
    }
}
