//! Credentials and providers, which name each other.

use std::collections::BTreeMap;

use super::build::Building;
use super::built::{Credential, Provider, ProviderName, Scheme, Source};
use super::read;
use super::shape::{NOT_BUILT, nearest};

/// Public providers that credentials may name.
const PUBLIC: [(&str, wire::Provider); 2] =
    [("anthropic", wire::Provider::Anthropic), ("openai", wire::Provider::OpenAi)];

/// Public providers that this version does not speak to.
const LATER: [&str; 4] = ["azure", "bedrock", "gemini", "vertex"];

/// The credentials and the providers.
pub(super) fn read(
    building: &mut Building<'_>,
) -> (BTreeMap<String, Credential>, BTreeMap<String, Provider>) {
    let credentials = credentials(building);
    let providers = building
        .tree
        .names(&["providers"])
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), provider(building, name, &credentials)?)))
        .collect();
    (credentials, providers)
}

/// A name ends up in paths, commands and metrics.
pub(super) fn check_name(building: &mut Building<'_>, path: &[&str]) {
    let name = path.last().copied().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || name == "none" {
        let message =
            "is not a name: letters, digits, `-`, `_` and `.`, at most 64, and not `none`";
        building.fault(path, message);
    }
}

fn credentials(building: &mut Building<'_>) -> BTreeMap<String, Credential> {
    let mut credentials = BTreeMap::new();
    let named = building.tree.names(&["providers"]);
    for name in building.tree.names(&["credentials"]) {
        check_name(building, &["credentials", name]);
        let from = building.value(&["credentials", name, "from"], |word| match word {
            "sealed" => Ok(Source::Sealed),
            _ => Err(None),
        });
        let at = ["credentials", name, "provider"];
        if building.text(&at).is_none() {
            building.fault(&at, "is missing: say whose key it is, openai or anthropic");
        }
        let provider = building.value(&at, |text| provider_name(text, &named).map_err(Some));
        if let (Some(provider), Some(from)) = (provider, from) {
            credentials.insert(name.to_owned(), Credential { provider, from });
        }
    }
    credentials
}

fn provider_name(text: &str, named: &[&str]) -> Result<ProviderName, String> {
    if let Some((_, public)) = PUBLIC.iter().find(|(name, _)| *name == text) {
        return Ok(ProviderName::Public(*public));
    }
    if named.contains(&text) {
        return Ok(ProviderName::Named(text.to_owned()));
    }
    if LATER.contains(&text) {
        return Err(NOT_BUILT.to_owned());
    }
    let known = PUBLIC.iter().map(|(name, _)| *name).chain(named.iter().copied());
    Err(match nearest(text, known) {
        Some(near) => format!("is no provider; did you mean `{near}`?"),
        None => "is no provider: write openai, anthropic, or a name under `providers`".to_owned(),
    })
}

fn provider(
    building: &mut Building<'_>,
    name: &str,
    credentials: &BTreeMap<String, Credential>,
) -> Option<Provider> {
    let at = |key| ["providers", name, key];
    check_name(building, &["providers", name]);
    if PUBLIC.iter().any(|(public, _)| *public == name) || LATER.contains(&name) {
        building.fault(
            &["providers", name],
            "is the name of a public provider, which has its usual address: choose another",
        );
    }
    for needed in ["dialect", "url"] {
        if building.text(&at(needed)).is_none() {
            building.fault(&at(needed), "is missing: write { dialect: …, url: … }");
        }
    }
    let dialect = building.value(&at("dialect"), |word| match word {
        "plain" => Ok(None),
        word => PUBLIC.iter().find(|(name, _)| *name == word).map(|(_, p)| Some(*p)).ok_or(None),
    });
    let url = building.value(&at("url"), |text| read::base_url(text).map_err(Some));
    let ca = building.path(&at("ca"));
    let credential = credential(building, name, credentials);
    let (url, dialect) = (url?, dialect?);
    let near = url.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if credential.is_some() && url.scheme == Scheme::Http && !near {
        building
            .fault(&at("url"), "would send a real key in clear: use https, or `credential: none`");
    }
    let free = building.value(&at("price"), |word| match word {
        "catalog" => Ok(false),
        "free" => Ok(true),
        _ => Err(None),
    });
    Some(Provider { dialect, url, credential, free: free?, ca })
}

/// The credential that a provider is sent: the one it names, or the only one that names it.
fn credential(
    building: &mut Building<'_>,
    name: &str,
    credentials: &BTreeMap<String, Credential>,
) -> Option<String> {
    let at = ["providers", name, "credential"];
    let ours: Vec<&String> = credentials
        .iter()
        .filter(|(_, credential)| credential.provider == ProviderName::Named(name.to_owned()))
        .map(|(name, _)| name)
        .collect();
    let message = match (building.text(&at), ours.as_slice()) {
        (Some(none), _) if none == "none" => return None,
        (Some(named), ours) if ours.contains(&&named) => return Some(named),
        (Some(named), _) if credentials.contains_key(&named) => {
            format!("the credential `{named}` is of another provider")
        }
        (Some(named), _) if building.tree.find(&["credentials", &named]).is_some() => {
            // What is wrong with it is said there.
            return Some(named);
        }
        (Some(named), _) => {
            format!("`{named}` is not under `credentials`: add it, or write `none`")
        }
        (None, []) => return None,
        (None, [one]) => return Some((*one).clone()),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|name| name.as_str()).collect();
            format!("is needed, because several credentials are its: {}", names.join(", "))
        }
    };
    building.fault(&at, message);
    None
}
