use super::*;
use crate::case::Timestamp;
use crate::policy::{Access, Identity, Mode};
use std::string::ToString;

const NOW: Timestamp = Timestamp(1_795_300_000_000_000);

const PAYMENTS: &str = r#"
policy_id: payments
version: "2026.11.21"
environment: prod
owner: platform-security
effective_at: 2026-11-21T00:00:00Z
mode: enforce
team: payments
cost_center: CC-4711
budgets: { day: $50, month: $900 }
agents:
  refund-bot:
    identity: { any: [ { key: refunds }, { certificate: "spiffe://x/refunds" }, { cgroup: /a.slice/b }, { address: 10.1.0.0/16 } ] }
    bearer: true
    limits: { connections: 9, streams: 8, bytes: 1MiB }
    models: [gpt-5-mini, claude-haiku-*]
    budgets: { request: $0.25, day: $10, run: $0 }
    destinations: [api.openai.com, "postgres.payments.svc:5432:opaque", { host: "files.example.com:write", upload: 8MiB }]
    data: { credentials: redact }
    own_credentials: allow
    provider_tools: [web_search]
    provider_calls: 3
    output: { max_tokens: 4096 }
    rate: { requests: 60, per: 1m }
    keys: { lifetime: 8h, uses: 100 }
  "*":
    mode: observe
"#;

fn read(yaml: &str) -> Result<Policy, Vec<PolicyError>> {
    let raw: raw::Bundle = serde_saphyr::from_str(yaml).unwrap();
    compile(&raw, NOW)
}

fn faults(yaml: &str) -> Vec<String> {
    read(yaml).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_that_is_built_reaches_the_policy() {
    let policy = read(PAYMENTS).unwrap();
    assert_eq!((policy.id.as_str(), policy.version.as_str()), ("payments", "2026.11.21"));
    assert_eq!(policy.team.as_deref(), Some("payments"));
    assert_eq!(policy.cost_center.as_deref(), Some("CC-4711"));
    let team = Budgets {
        day: Some(MicroUsd(50_000_000)),
        month: Some(MicroUsd(900_000_000)),
        ..Budgets::default()
    };
    assert_eq!(policy.budgets, team);
    let expected = Contract {
        mode: Mode::Enforce,
        identity: Identity {
            keys: ["refunds".into()].into(),
            certificates: ["spiffe://x/refunds".into()].into(),
            cgroups: ["/a.slice/b".into()].into(),
            addresses: ["10.1.0.0/16".into()].into(),
        },
        bearer: true,
        limits: Limits { connections: Some(9), streams: Some(8), bytes: Some(1 << 20) },
        models: ["gpt-5-mini".into(), "claude-haiku-*".into()].into(),
        destinations: [
            Grant { host: "api.openai.com".into(), port: None, access: Access::Read, upload: None },
            Grant {
                host: "postgres.payments.svc".into(),
                port: Some(5432),
                access: Access::Opaque,
                upload: None,
            },
            Grant {
                host: "files.example.com".into(),
                port: None,
                access: Access::Write,
                upload: Some(8 << 20),
            },
        ]
        .into(),
        quiet: [].into(),
        budgets: Budgets {
            request: Some(MicroUsd(250_000)),
            run: Some(MicroUsd(0)),
            day: Some(MicroUsd(10_000_000)),
            ..Budgets::default()
        },
        max_tokens: Some(4096),
        rate: Some(RateLimit { requests: 60, per_seconds: 60 }),
        secrets: SecretsIn::Redact,
        own_credentials: true,
        provider_tools: ["web_search".into()].into(),
        provider_calls: Some(3),
        keys: KeyTerms { lifetime_seconds: Some(28_800), uses: Some(100) },
    };
    assert_eq!(policy.agents[0], ("refund-bot".into(), expected));
}

#[test]
fn an_agent_that_says_nothing_is_allowed_nothing_in_the_files_mode_unless_it_names_its_own() {
    let policy = read(PAYMENTS).unwrap();
    let anyone = policy.contract("anyone").unwrap();
    assert_eq!(anyone.mode, Mode::Observe);
    assert!(anyone.models.is_empty() && anyone.destinations.is_empty());
    assert_eq!((anyone.secrets, anyone.own_credentials), (SecretsIn::Deny, false));
}

#[test]
fn the_first_agent_that_matches_in_the_order_written_holds() {
    let general_first = "policy_id: p\nversion: v\nmode: enforce\nagents:\n  z*: { models: [a] }\n  ab: { models: [b] }\n  \"*\": { models: [c] }\n";
    let policy = read(general_first).unwrap();
    let model = |agent| policy.contract(agent).unwrap().models[0].as_str();
    assert_eq!((model("zz"), model("ab"), model("other")), ("a", "b", "c"));
    assert_eq!(read(PAYMENTS).unwrap().contract("refunds").unwrap().mode, Mode::Enforce);
}

#[test]
fn every_fault_is_reported_with_its_key_path_and_the_text_at_fault() {
    let wrong = r#"
policy_id: p
version: "1"
mode: enforce
tenant: x
effective_at: tomorrow
budgets: { day: 5 dollars, run: $1, hour: $2 }
agents:
  bot:
    tools: { lookup: read }
    data: { payment_card: deny }
    identity: { any: [ { workload: deployment/bot }, {} ] }
    models: ["gpt-5 mini"]
    budgets: { request: $0.0000001 }
    destinations: ["https://a.com", { host: b.com, upload: 8MB, path: / }]
    output: { max_tokens: 0, style: short }
    rate: { requests: 1, per: soon, burst: 2 }
    keys: { lifetime: forever, scope: all }
"#;
    insta::assert_snapshot!(faults(wrong).join("\n"));
}

#[test]
fn a_contract_that_is_not_yet_in_force_is_refused() {
    let later = PAYMENTS.replace("2026-11-21T00:00:00Z", "2027-01-01T00:00:00Z");
    assert_eq!(
        faults(&later),
        ["effective_at: the contract is not in force before 2027-01-01T00:00:00Z"]
    );
}

#[test]
fn an_agent_that_stands_twice_is_refused() {
    let agent = || (String::from("a"), raw::Agent::default());
    let mut bundle: raw::Bundle = serde_saphyr::from_str(PAYMENTS).unwrap();
    bundle.agents = raw::Agents([agent(), agent()].into());
    let errors = compile(&bundle, NOW).unwrap_err();
    assert_eq!(errors[0].to_string(), "agents.a: stands twice");
}

#[test]
fn the_digest_follows_the_meaning_and_not_the_layout() {
    let spaced = PAYMENTS
        .replace("{ day: $50, month: $900 }", "\n  month: $900 # a year's twelfth\n  day: $50");
    let other = PAYMENTS.replace("month: $900", "month: $901");
    let digest = |yaml: &str| read(yaml).unwrap().digest;
    assert_eq!(digest(PAYMENTS), digest(&spaced));
    assert_ne!(digest(PAYMENTS), digest(&other));
    let (head, agents) = PAYMENTS.split_once("  refund-bot:").unwrap();
    let (bot, rest) = agents.split_once("  \"*\":").unwrap();
    let swapped = std::format!("{head}  \"*\":{rest}  refund-bot:{bot}");
    assert_ne!(digest(PAYMENTS), digest(&swapped), "the first that matches holds");
}
