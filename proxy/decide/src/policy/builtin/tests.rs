use super::*;
use crate::Policy;
use crate::case::{MicroUsd, Timestamp};
use crate::policy::{Budgets, Mode, SecretsIn, compile, raw, with_profile};

fn starter() -> Policy {
    let raw: raw::Bundle = serde_saphyr::from_str(STARTER).unwrap();
    compile(&raw, Timestamp(0)).unwrap()
}

#[test]
fn the_starter_is_what_the_documentation_says() {
    let policy = starter();
    let contract = policy.contract("anybody").unwrap();
    assert_eq!(contract.mode, Mode::Enforce);
    assert_eq!(contract.secrets, SecretsIn::Redact);
    assert_eq!(contract.rate, None);
    assert!(!contract.own_credentials && contract.provider_tools.is_empty());
    let (run, key_day) = (Some(MicroUsd(5_000_000)), Some(MicroUsd(20_000_000)));
    assert_eq!(contract.budgets, Budgets { run, key_day, ..Budgets::default() });
    assert!(contract.admits("api.openai.com", 443) && contract.admits("api.anthropic.com", 443));
    assert_eq!(contract.destinations.len(), 2);
}

#[test]
fn every_profile_compiles_onto_the_starter_and_is_found_by_its_command() {
    for (name, yaml) in PROFILES {
        let raw: raw::Profile = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(raw.commands, [name]);
        assert_eq!(profile(name), Some(yaml));
        let policy = with_profile(&starter(), &raw).unwrap();
        assert_ne!(policy.digest, starter().digest);
        let contract = policy.contract("anybody").unwrap();
        for host in &raw.quiet {
            let host = host.replace('*', "o1");
            assert!(contract.is_quiet(&host) && !contract.admits_name(&host), "{host}");
        }
    }
}
