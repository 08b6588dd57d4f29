//! Everybody behind one `tollgate serve`: who a request is from, and that agent's run.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use audit::Kind;
use decide::case::{Bound, Identified, Timestamp};
use decide::policy::{Budgets, Limits, Mode};
use decide::{Policy, Setting};

use crate::clock;
use crate::gate::Gate;
use crate::intake::peer::Peer;
use crate::keys::Owner;
use crate::policies::{Named, Policies};
use crate::record;
use crate::run::{Run, Sizes, Upstream};
use crate::subject::Subject;
use crate::terms::{Holdings, Terms, Version};

#[cfg(test)]
mod tests;

/// The name under which what nobody is known to have sent is counted and recorded.
const STRANGER: &str = "unknown";

/// Everybody behind this gate. A run begins with its agent's first request and lasts as long as the
/// gate; what policy says about the agent is looked up again when there are new contracts.
#[derive(Debug)]
pub struct Agents {
    policies: Arc<ArcSwap<Policies>>,
    settings: ArcSwap<Settings>,
    upstream: Arc<Upstream>,
    sizes: Sizes,
    pod: Option<Arc<str>>,
    runs: RwLock<HashMap<String, Arc<Run>>>,
    stranger: Arc<Run>,
}

/// What the configuration says of all agents, which can be read again while the gate goes on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Observe makes every contract observe.
    pub mode: Mode,
    /// Credentials and private providers.
    pub holdings: Arc<Holdings>,
    /// How often the configuration was read.
    pub read: u64,
}

/// What all agents of a gate have in common.
#[derive(Debug)]
pub struct Common {
    /// The contracts in force.
    pub policies: Arc<ArcSwap<Policies>>,
    /// What the configuration says.
    pub settings: Settings,
    /// How upstreams are reached.
    pub upstream: Arc<Upstream>,
    /// What one agent may take of the gate where its contract says nothing.
    pub sizes: Sizes,
    /// The agent in the pod that the gate guards.
    pub pod: Option<Arc<str>>,
}

impl Agents {
    /// Nobody yet.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn new(common: Common, now: Timestamp) -> std::io::Result<Self> {
        let Common { policies, settings, upstream, sizes, pod } = common;
        let terms = no_contract(STRANGER, &policies.load(), &settings);
        let id = clock::ulid(now)?;
        let stranger = Run::begun(id, Setting::Serve, now, terms, Arc::clone(&upstream), sizes);
        let (runs, stranger) = (RwLock::default(), Arc::new(stranger));
        let settings = ArcSwap::from_pointee(settings);
        Ok(Self { policies, settings, upstream, sizes, pod, runs, stranger })
    }

    /// Who a request is from: whom the connection's far end is known to be, and else whose key it
    /// carries. A key never makes another agent of a workload that is known.
    pub(crate) fn subject(&self, gate: &Gate, peer: &Peer, key: Option<&Owner>) -> Subject {
        let policies = self.policies.load();
        let known = workload(&policies, self.pod.as_deref(), peer)
            .or_else(|| key.map(|owner| (owner.agent.as_str(), Identified::Key)));
        known
            .and_then(|(agent, by)| self.known(gate, agent, by, &policies))
            .unwrap_or_else(|| self.stranger(Some(peer.address)))
    }

    /// The agent that everything in the pod is which this gate guards.
    pub(crate) fn in_pod(&self, gate: &Gate) -> Subject {
        let policies = self.policies.load();
        let agent = self.pod.as_deref();
        agent
            .and_then(|agent| self.known(gate, agent, Identified::Pod, &policies))
            .unwrap_or_else(|| self.stranger(None))
    }

    /// The agent whose control group that is, or lies in.
    pub(crate) fn in_cgroup(&self, path: &str) -> Option<String> {
        self.policies.load().by_cgroup(path).map(str::to_owned)
    }

    /// Whether a contract covers this agent.
    pub(crate) fn has_contract(&self, agent: &str) -> bool {
        self.policies.load().terms_of(agent).is_some()
    }

    /// Lets what the configuration says now hold from the next exchange on.
    pub(crate) fn now_under(&self, mode: Mode, holdings: Holdings) {
        let read = self.settings.load().read + 1;
        self.settings.store(Arc::new(Settings { mode, holdings: Arc::new(holdings), read }));
    }

    /// How the use of a key from there is bound.
    pub(crate) fn bound(subject: &Subject, peer: &Peer, key: &Owner) -> Bound {
        let here = key.from.iter().any(|origin| origin.covers(peer));
        let elsewhere = !key.from.is_empty() && !here;
        match subject.by {
            Identified::Run => Bound::Run,
            Identified::Nobody => Bound::Elsewhere,
            _ if elsewhere => Bound::Elsewhere,
            Identified::Certificate
            | Identified::Cgroup
            | Identified::Pod
            | Identified::Address => Bound::Workload,
            Identified::Key if !may_call_by_key(&subject.terms, key) => Bound::Elsewhere,
            Identified::Key if here => Bound::Here,
            Identified::Key => Bound::Bearer,
        }
    }

    /// Whether any contract admits the destination: all that can be asked before a key is read.
    pub(crate) fn admits_for_anybody(&self, host: &str, port: u16) -> bool {
        self.settings.load().mode == Mode::Observe || self.policies.load().admits(host, port)
    }

    /// How a name stands in the contracts of everybody.
    pub(crate) fn admits_name(&self, name: &str) -> Option<Named> {
        let observed = (self.settings.load().mode == Mode::Observe).then_some(Named::ByWildcard);
        self.policies.load().admits_name(name).or(observed)
    }

    /// The policy and the name of every agent that has a run.
    pub(crate) fn runs(&self) -> Vec<Arc<Run>> {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.values().cloned().chain([Arc::clone(&self.stranger)]).collect()
    }

    /// Whom what nobody is known to have sent, from there, is counted to.
    pub(crate) fn stranger(&self, from: Option<IpAddr>) -> Subject {
        let run = Arc::clone(&self.stranger);
        let terms = self.terms(&run, &self.policies.load(), no_contract);
        Subject { run, terms, by: Identified::Nobody, from }
    }

    /// The provider that a host is, whoever asks for it.
    pub(crate) fn provider_of(&self, host: &str) -> Option<wire::Provider> {
        self.settings.load().holdings.provider_of(host)
    }

    fn known(
        &self,
        gate: &Gate,
        agent: &str,
        by: Identified,
        policies: &Policies,
    ) -> Option<Subject> {
        let known = self.runs.read().unwrap_or_else(PoisonError::into_inner).get(agent).cloned();
        let run = match known {
            Some(run) => run,
            None => self.begin(gate, agent, by, policies)?,
        };
        let terms = self.terms(&run, policies, terms_of);
        Some(Subject { run, terms, by, from: None })
    }

    /// What holds for a run under these contracts, whatever another request entered in it meanwhile.
    fn terms(
        &self,
        run: &Run,
        policies: &Policies,
        made: fn(&str, &Policies, &Settings) -> Terms,
    ) -> Arc<Terms> {
        let settings = self.settings.load();
        let before = run.terms();
        if before.version == version(policies, &settings) {
            return before;
        }
        let terms = Arc::new(made(&run.agent, policies, &settings));
        run.now_under(Arc::clone(&terms), self.sizes_of(&terms));
        terms
    }

    /// An agent's first request.
    fn begin(
        &self,
        gate: &Gate,
        agent: &str,
        by: Identified,
        policies: &Policies,
    ) -> Option<Arc<Run>> {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = runs.get(agent) {
            return Some(Arc::clone(run));
        }
        let now = gate.clock.now();
        let id = clock::ulid(now)
            .inspect_err(|error| tracing::error!(%error, agent, "an agent's run cannot begin"))
            .ok()?;
        let terms = terms_of(agent, policies, &self.settings.load());
        let sizes = self.sizes_of(&terms);
        let seen = record::Seen {
            agent: agent.to_owned(),
            run: id.clone(),
            by,
            mode: terms.mode,
            policy: terms.policy_digest.clone(),
        };
        let upstream = Arc::clone(&self.upstream);
        let run = Arc::new(Run::begun(id, Setting::Serve, now, terms, upstream, sizes));
        gate.journal.ride(Kind::Agent, run.who(None), &seen);
        gate.enter(Arc::clone(&run));
        runs.insert(agent.to_owned(), Arc::clone(&run));
        Some(run)
    }

    fn sizes_of(&self, terms: &Terms) -> Sizes {
        let limits = terms.contract().map(|contract| contract.limits).unwrap_or_default();
        let Limits { connections, streams, bytes } = limits;
        let at_most = |limit: Option<u32>, all: usize| limit.map_or(all, |limit| limit as usize);
        Sizes {
            connections: at_most(connections, self.sizes.connections),
            exchanges: at_most(streams, self.sizes.exchanges),
            bodies: bytes.unwrap_or(self.sizes.bodies),
        }
    }
}

/// The agent that the far end itself is: by the pod that it is in, by what it proved, by what the kernel says, by where
/// it is.
fn workload<'a>(
    policies: &'a Policies,
    pod: Option<&'a str>,
    peer: &Peer,
) -> Option<(&'a str, Identified)> {
    if let Some(agent) = pod.filter(|_| peer.in_pod) {
        return Some((agent, Identified::Pod));
    }
    let certificate = || peer.certificates.iter().find_map(|name| policies.by_certificate(name));
    let cgroup = || peer.cgroup.as_deref().and_then(|path| policies.by_cgroup(path));
    let address = || policies.by_address(peer.address);
    certificate()
        .map(|agent| (agent, Identified::Certificate))
        .or_else(|| cgroup().map(|agent| (agent, Identified::Cgroup)))
        .or_else(|| address().map(|agent| (agent, Identified::Address)))
}

/// Whether the contract lets this agent be known by this key alone. One that names nothing lets every
/// key that was made for its agent.
fn may_call_by_key(terms: &Terms, key: &Owner) -> bool {
    terms.contract().is_none_or(|contract| {
        contract.identity.is_empty() || contract.identity.keys.contains(&key.name)
    })
}

fn version(policies: &Policies, settings: &Settings) -> Version {
    Version { policies: *policies.digest(), configuration: settings.read }
}

fn terms_of(agent: &str, policies: &Policies, settings: &Settings) -> Terms {
    let Some(policy) = policies.terms_of(agent) else {
        return no_contract(agent, policies, settings);
    };
    let contract = policy.contract(agent).map_or(Mode::Enforce, |contract| contract.mode);
    Terms {
        agent: agent.to_owned(),
        mode: if settings.mode == Mode::Observe { Mode::Observe } else { contract },
        policy_digest: crate::trust::hex(&policy.digest),
        policy,
        version: version(policies, settings),
        holdings: Arc::clone(&settings.holdings),
    }
}

/// What holds for whom no contract covers: nothing is allowed.
fn no_contract(agent: &str, policies: &Policies, settings: &Settings) -> Terms {
    let policy = Policy {
        id: String::new(),
        version: String::new(),
        digest: *policies.digest(),
        team: None,
        cost_center: None,
        budgets: Budgets::default(),
        agents: Vec::new(),
    };
    Terms {
        agent: agent.to_owned(),
        policy_digest: crate::trust::hex(&policy.digest),
        policy: Arc::new(policy),
        mode: Mode::Enforce,
        version: version(policies, settings),
        holdings: Arc::clone(&settings.holdings),
    }
}
