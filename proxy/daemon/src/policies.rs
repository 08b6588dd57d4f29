//! All contracts of the policy folder together: compiled, indexed by agent and by what an agent
//! calls with.

mod compile;
mod destinations;
mod folder;
mod identities;
pub mod watch;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use decide::Policy;
use decide::case::Timestamp;
use decide::policy::Glob;

use crate::policy_file::PolicyFile;
use crate::yaml::Fault;
use destinations::Destinations;
use identities::Identities;

pub use destinations::Named;

/// All contracts in force. Looking an agent up costs the same with ten agents and ten thousand; only
/// patterns (`team-*`) that stand before it are tried one by one.
#[derive(Debug)]
pub struct Policies {
    digest: [u8; 32],
    files: Vec<Contracts>,
    /// One agent's contract each, in the order written: files by name, agents as in their file.
    agents: Vec<Agent>,
    /// By a name that is no pattern, its own or of one of its keys: the first that has it.
    named: HashMap<String, usize>,
    /// Names that are patterns, in order.
    patterns: Vec<(usize, Glob)>,
    identities: Identities,
    destinations: Destinations,
}

/// One file of contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contracts {
    /// The file's name, without its folder.
    pub file: String,
    /// Its `policy_id`.
    pub id: String,
    /// Its `version`.
    pub version: String,
    /// SHA-256 of what it says.
    pub digest: [u8; 32],
    /// Its agents.
    pub agents: usize,
}

#[derive(Debug)]
struct Agent {
    name: String,
    policy: Arc<Policy>,
}

impl Policies {
    /// Reads and compiles the folder as of `now`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any file of it.
    pub fn read(folder: &Path, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let (files, mut faults) = folder::files(folder);
        match compile::compile(&files, now) {
            Ok(policies) if faults.is_empty() => Ok(policies),
            Ok(_) => Err(faults),
            Err(more) => {
                faults.extend(more);
                Err(faults)
            }
        }
    }

    /// Compiles contracts that were read, in this order.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn compile(files: &[PolicyFile], now: Timestamp) -> Result<Self, Vec<Fault>> {
        compile::compile(files, now)
    }

    /// SHA-256 over all files: names, order and what they say.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The files, in their order.
    #[must_use]
    pub fn files(&self) -> &[Contracts] {
        &self.files
    }

    /// Agents as written, each with the policy narrowed to it.
    #[must_use]
    pub fn agents(&self) -> impl ExactSizeIterator<Item = (&str, &Arc<Policy>)> {
        self.agents.iter().map(|agent| (agent.name.as_str(), &agent.policy))
    }

    /// The policy that holds for `agent`, with its one contract and nobody else's: the first, in the
    /// order written, whose name matches or that names a key of this name.
    #[must_use]
    pub fn terms_of(&self, agent: &str) -> Option<Arc<Policy>> {
        let named = self.named.get(agent).copied();
        let before = |at: usize| named.is_none_or(|named| at < named);
        let first = self
            .patterns
            .iter()
            .take_while(|(at, _)| before(*at))
            .find(|(_, pattern)| pattern.matches(agent))
            .map(|(at, _)| *at)
            .or(named)?;
        self.agents.get(first).map(|agent| Arc::clone(&agent.policy))
    }

    /// Whether any contract admits the destination by name.
    #[must_use]
    pub fn admits(&self, host: &str, port: u16) -> bool {
        self.destinations.admits(host, port)
    }

    /// How the name stands for a look-up by somebody who is not known yet.
    #[must_use]
    pub fn admits_name(&self, host: &str) -> Option<Named> {
        self.destinations.admits_name(host)
    }

    /// The agent that is known by a virtual key of this name.
    #[must_use]
    pub fn by_key(&self, name: &str) -> Option<&str> {
        self.name(self.identities.key(name)?)
    }

    /// The agent that is known by this name (DNS or URI) in a certificate.
    #[must_use]
    pub fn by_certificate(&self, name: &str) -> Option<&str> {
        self.name(self.identities.certificate(name)?)
    }

    /// The agent whose control group this is, or lies in; of several, the innermost.
    #[must_use]
    pub fn by_cgroup(&self, path: &str) -> Option<&str> {
        self.name(self.identities.cgroup(path)?)
    }

    /// The agent whose range this address lies in; of several, the narrowest.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<&str> {
        self.name(self.identities.address(address)?)
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.agents.get(at).map(|agent| agent.name.as_str())
    }
}

#[cfg(test)]
mod tests;
