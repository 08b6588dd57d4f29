//! Every destination that any contract names, each once.

use std::collections::HashMap;

use decide::Policy;
use decide::policy::{Glob, Grant};

/// How a name stands in the contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// One names it.
    Exactly,
    /// One has a wildcard that it matches.
    ByWildcard,
}

/// Destinations of all contracts together: a look-up of a name that stands in one costs the same with
/// ten contracts and ten thousand; only wildcards are tried one by one.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    exact: HashMap<String, Vec<Option<u16>>>,
    wildcards: Vec<(Glob, Option<u16>)>,
}

impl Destinations {
    /// Takes in what one agent's contract names.
    pub(super) fn add(&mut self, policy: &Policy) {
        for (_, contract) in &policy.agents {
            for Grant { host, port, .. } in &contract.destinations {
                if host.as_str().contains('*') {
                    if !self.wildcards.iter().any(|known| (&known.0, known.1) == (host, *port)) {
                        self.wildcards.push((host.clone(), *port));
                    }
                } else {
                    let ports = self.exact.entry(host.as_str().to_owned()).or_default();
                    if !ports.contains(port) {
                        ports.push(*port);
                    }
                }
            }
        }
    }

    /// Whether any names this host at this port.
    pub(super) fn admits(&self, host: &str, port: u16) -> bool {
        let at = |named: Option<u16>| match named {
            Some(named) => named == port,
            None => matches!(port, 443 | 80),
        };
        self.exact.get(host).is_some_and(|ports| ports.iter().any(|named| at(*named)))
            || self.wildcards.iter().any(|(glob, named)| at(*named) && glob.matches(host))
    }

    /// Whether any names this host, at any port.
    pub(super) fn admits_name(&self, host: &str) -> Option<Named> {
        if self.exact.contains_key(host) {
            return Some(Named::Exactly);
        }
        let wildcard = self.wildcards.iter().any(|(glob, _)| glob.matches(host));
        wildcard.then_some(Named::ByWildcard)
    }
}
