//! Kill switches, and the exchanges that they stop.
//!
//! An exchange enters the list of live exchanges before it reads the switches; a kill sets its switch
//! before it reads the list. So whichever comes first, a kill covers every exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use decide::case::KillScope;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// Whom a switch stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Everybody.
    Global,
    /// Every agent of one team.
    Team(String),
    /// One agent.
    Agent(String),
    /// Whoever uses one virtual key, by its id.
    Key(String),
}

impl Target {
    /// The scope that the chain is told.
    #[must_use]
    pub const fn scope(&self) -> KillScope {
        match self {
            Self::Global => KillScope::Global,
            Self::Team(_) => KillScope::Team,
            Self::Agent(_) => KillScope::Agent,
            Self::Key(_) => KillScope::Key,
        }
    }

    fn covers(&self, live: &Live) -> bool {
        match self {
            Self::Global => true,
            Self::Team(team) => live.team.as_ref() == Some(team),
            Self::Agent(agent) => live.agent == *agent,
            Self::Key(key) => live.key.as_ref() == Some(key),
        }
    }
}

/// A switch was set or lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Which.
    pub target: Target,
    /// Set, not lifted.
    pub on: bool,
}

/// The switches that are set.
pub type Switches = BTreeSet<Target>;

/// Kill switches and live exchanges.
#[derive(Debug, Default)]
pub struct Kills {
    switches: ArcSwap<Switches>,
    /// Setting and lifting, one at a time.
    turn: Mutex<()>,
    live: Mutex<BTreeMap<u64, Live>>,
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Live {
    exchange: String,
    agent: String,
    team: Option<String>,
    key: Option<String>,
    killed: watch::Sender<Option<KillScope>>,
    ended: CancellationToken,
    reset: CancellationToken,
}

/// Who an exchange belongs to.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The exchange, or the connection, by the id that its refusal carries.
    pub exchange: String,
    /// The agent.
    pub agent: String,
    /// Its team.
    pub team: Option<String>,
    /// The virtual key's id, where it is known by now.
    pub key: Option<String>,
    /// Breaks the connection that the exchange answers on.
    pub reset: CancellationToken,
}

impl Kills {
    /// No live exchanges, and these switches.
    #[must_use]
    pub fn new(switches: Switches) -> Self {
        Self { switches: ArcSwap::from_pointee(switches), ..Self::default() }
    }

    /// The switches that stop an agent, its team, or the user of a key.
    #[must_use]
    pub fn covering(
        &self,
        agent: &str,
        team: Option<&str>,
        key: Option<&str>,
    ) -> BTreeSet<KillScope> {
        let switches = self.switches.load();
        if switches.is_empty() {
            return BTreeSet::new();
        }
        // Looked up, not searched for: there may be one for each of many agents.
        let team = team.map(|team| Target::Team(team.to_owned()));
        let key = key.map(|key| Target::Key(key.to_owned()));
        let own = [Some(Target::Global), team, Some(Target::Agent(agent.to_owned())), key];
        let set = own.iter().flatten().filter(|target| switches.contains(*target));
        set.map(Target::scope).collect()
    }

    /// Enters an exchange. Its guard is killed already where a switch covers it.
    #[must_use]
    pub fn enter(self: &Arc<Self>, entry: Entry) -> Guard {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (killed, watching) = watch::channel(None);
        let ended = CancellationToken::new();
        let Entry { exchange, agent, team, key, reset } = entry;
        let live = Live {
            exchange,
            agent: agent.clone(),
            team: team.clone(),
            key: key.clone(),
            killed: killed.clone(),
            ended: ended.clone(),
            reset,
        };
        lock(&self.live).insert(number, live);
        let guard = Guard { kills: Arc::clone(self), number, agent, team, killed, watching, ended };
        guard.read_switches(key.as_deref());
        guard
    }

    /// Sets a switch: from the return of this call on it is in force for whoever asks, and every
    /// covered exchange has been told. To be committed to the ledger next.
    pub fn kill(&self, target: Target) -> (Switched, Killing) {
        self.switch(&target, true);
        let killing = self.cut(&target);
        (Switched { target, on: true }, killing)
    }

    /// Stops the exchanges that a switch would stop, and sets none: for a key that is taken back, which
    /// is refused by itself from then on.
    pub fn cut(&self, target: &Target) -> Killing {
        let live = lock(&self.live);
        let mut covered = Vec::new();
        for one in live.values().filter(|one| target.covers(one)) {
            tell(&one.killed, target.scope());
            covered.push(Covered {
                exchange: one.exchange.clone(),
                ended: one.ended.clone(),
                reset: one.reset.clone(),
            });
        }
        Killing { covered }
    }

    /// Stops every exchange because the gate ends: no switch is set, and nothing is entered.
    pub(crate) fn drain(&self) -> Killing {
        let live = lock(&self.live);
        let mut covered = Vec::new();
        for one in live.values() {
            tell(&one.killed, KillScope::Drain);
            covered.push(Covered {
                exchange: one.exchange.clone(),
                ended: one.ended.clone(),
                reset: one.reset.clone(),
            });
        }
        Killing { covered }
    }

    /// How many live exchanges a switch would stop.
    #[must_use]
    pub fn would_stop(&self, target: &Target) -> usize {
        lock(&self.live).values().filter(|one| target.covers(one)).count()
    }

    /// Lifts a switch; `None` where it is not set. The ledger has to say so before this is called. An
    /// exchange that was told stays killed.
    pub fn lift(&self, target: &Target) -> Option<Switched> {
        self.switch(target, false).then(|| Switched { target: target.clone(), on: false })
    }

    /// Adds an event of the ledger, in its order.
    pub fn apply(&self, event: &Switched) {
        if event.on {
            self.kill(event.target.clone());
        } else {
            self.switch(&event.target, false);
        }
    }

    /// How many exchanges and connections each agent has under way.
    #[must_use]
    pub fn live_by_agent(&self) -> BTreeMap<String, u64> {
        let mut agents = BTreeMap::new();
        for one in lock(&self.live).values() {
            if let Some(count) = agents.get_mut(&one.agent) {
                *count += 1;
            } else {
                agents.insert(one.agent.clone(), 1);
            }
        }
        agents
    }

    /// The switches that are set.
    #[must_use]
    pub fn state(&self) -> Switches {
        self.switches.load().as_ref().clone()
    }

    /// The switches as JSON.
    ///
    /// # Errors
    ///
    /// They cannot be written as JSON.
    pub fn snapshot(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.state())
    }

    /// Switches as a snapshot wrote them.
    ///
    /// # Errors
    ///
    /// The bytes are no snapshot of switches.
    pub fn restore(snapshot: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(snapshot).map(Self::new)
    }

    /// Exchanges that have entered and not ended.
    #[must_use]
    pub fn live(&self) -> usize {
        lock(&self.live).len()
    }

    /// Whether it changed anything.
    fn switch(&self, target: &Target, on: bool) -> bool {
        let _turn = lock(&self.turn);
        let mut switches = self.state();
        let changed = if on { switches.insert(target.clone()) } else { switches.remove(target) };
        self.switches.store(Arc::new(switches));
        changed
    }
}

/// An exchange's place among the live ones. Dropping it reports the exchange's end.
#[derive(Debug)]
pub struct Guard {
    kills: Arc<Kills>,
    number: u64,
    agent: String,
    team: Option<String>,
    killed: watch::Sender<Option<KillScope>>,
    watching: watch::Receiver<Option<KillScope>>,
    ended: CancellationToken,
}

impl Guard {
    /// Says which virtual key the exchange uses, once that is known.
    pub fn uses_key(&self, key: &str) {
        if let Some(live) = lock(&self.kills.live).get_mut(&self.number) {
            live.key = Some(key.to_owned());
        }
        self.read_switches(Some(key));
    }

    /// The widest switch that has stopped this exchange: the last check before a commit is acted on,
    /// and before each frame.
    #[must_use]
    pub fn is_killed(&self) -> Option<KillScope> {
        *self.watching.borrow()
    }

    /// Resolves when a switch stops this exchange. Cancel-safe.
    pub async fn killed(&self) -> KillScope {
        let mut watching = self.watching.clone();
        loop {
            if let Some(scope) = *watching.borrow_and_update() {
                return scope;
            }
            if watching.changed().await.is_err() {
                // The guard itself holds a sender, so this is not reached while anybody can ask.
                return KillScope::Global;
            }
        }
    }

    fn read_switches(&self, key: Option<&str>) {
        if let Some(widest) = self.kills.covering(&self.agent, self.team.as_deref(), key).last() {
            tell(&self.killed, *widest);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.kills.live).remove(&self.number);
        self.ended.cancel();
    }
}

/// A kill that is in force: the exchanges it covers.
#[derive(Debug)]
pub struct Killing {
    covered: Vec<Covered>,
}

#[derive(Debug)]
struct Covered {
    exchange: String,
    ended: CancellationToken,
    reset: CancellationToken,
}

/// What became of the exchanges that a kill covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How many have reported their end.
    pub ended: usize,
    /// Exchanges that have not, whose connections were reset.
    pub stuck: Vec<String>,
}

impl Killing {
    /// How many exchanges it covers.
    #[must_use]
    pub const fn covered(&self) -> usize {
        self.covered.len()
    }

    /// Waits until every covered exchange has reported its end, `deadline` long at most; then breaks the
    /// connections of those that have not.
    pub async fn ended(&self, deadline: Duration) -> Ended {
        let all = async {
            for one in &self.covered {
                one.ended.cancelled().await;
            }
        };
        let _elapsed = tokio::time::timeout(deadline, all).await;
        let stuck: Vec<String> = self
            .covered
            .iter()
            .filter(|one| !one.ended.is_cancelled())
            .map(|one| {
                one.reset.cancel();
                one.exchange.clone()
            })
            .collect();
        Ended { ended: self.covered.len() - stuck.len(), stuck }
    }
}

/// Tells an exchange; a wider switch replaces a narrower one.
fn tell(killed: &watch::Sender<Option<KillScope>>, scope: KillScope) {
    killed.send_if_modified(|told| {
        let wider = *told < Some(scope);
        if wider {
            *told = Some(scope);
        }
        wider
    });
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
