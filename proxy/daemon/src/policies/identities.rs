//! Who an agent is by what it calls with: a key's name, a certificate, a control group, an address.

use std::collections::HashMap;
use std::net::IpAddr;

use decide::policy::Identity;
use ipnet::IpNet;

/// Agents, by their place in the order written, by each thing that identifies them.
#[derive(Debug, Default)]
pub(super) struct Identities {
    keys: HashMap<String, usize>,
    certificates: HashMap<String, usize>,
    cgroups: HashMap<String, usize>,
    ranges: HashMap<IpNet, usize>,
    /// The lengths that ranges have, the longest first. There are at most 33 and 129 of them, so a
    /// look-up does not grow with the number of ranges.
    lengths: (Vec<u8>, Vec<u8>),
}

/// Why an agent cannot be known by what it names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// Another agent is known by it.
    Taken {
        /// What both name.
        what: String,
        /// The other one.
        by: usize,
    },
    /// An IPv4 range in the form of IPv6, which no caller's address has.
    Mapped(String),
}

impl Identities {
    /// The agent at `agent` is known by `identity`. What is its already, or somebody else's, is told.
    pub(super) fn add(&mut self, agent: usize, identity: &Identity) -> Vec<Clash> {
        let mut clashes = Vec::new();
        let Identity { keys, certificates, cgroups, addresses } = identity;
        for (kind, names, index) in [
            ("the key", keys, &mut self.keys),
            ("the certificate", certificates, &mut self.certificates),
            ("the cgroup", cgroups, &mut self.cgroups),
        ] {
            for name in names {
                if let Some(by) = index.insert(name.clone(), agent) {
                    clashes.push(Clash::Taken { what: format!("{kind} {name}"), by });
                }
            }
        }
        for text in addresses {
            match range(text) {
                Some(range) => {
                    let lengths = if range.addr().is_ipv4() {
                        &mut self.lengths.0
                    } else {
                        &mut self.lengths.1
                    };
                    let length = range.prefix_len();
                    if let Err(place) = lengths.binary_search_by(|other| length.cmp(other)) {
                        lengths.insert(place, length);
                    }
                    if let Some(by) = self.ranges.insert(range, agent) {
                        clashes.push(Clash::Taken { what: format!("the address {text}"), by });
                    }
                }
                None => clashes.push(Clash::Mapped(text.clone())),
            }
        }
        clashes
    }

    pub(super) fn key(&self, name: &str) -> Option<usize> {
        self.keys.get(name).copied()
    }

    pub(super) fn certificate(&self, name: &str) -> Option<usize> {
        self.certificates.get(name).copied()
    }

    /// Of the group and those around it, the innermost that identifies somebody.
    pub(super) fn cgroup(&self, path: &str) -> Option<usize> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(agent) = self.cgroups.get(path) {
                return Some(*agent);
            }
            (path, _) = path.rsplit_once('/')?;
        }
        None
    }

    /// Of the ranges around the address, the narrowest.
    pub(super) fn address(&self, address: IpAddr) -> Option<usize> {
        let address = address.to_canonical();
        let lengths = if address.is_ipv4() { &self.lengths.0 } else { &self.lengths.1 };
        lengths.iter().find_map(|length| {
            let range = IpNet::new(address, *length).ok()?.trunc();
            self.ranges.get(&range).copied()
        })
    }
}

/// One address or a range, as contracts write it; `None` for one that no caller's address is in.
fn range(text: &str) -> Option<IpNet> {
    let range: IpNet = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let mapped = range.addr().to_canonical().is_ipv4() != range.addr().is_ipv4();
    (!mapped).then(|| range.trunc())
}
