//! The policy folder is read again when it changes; what does not compile, or cannot be recorded,
//! leaves the contracts in force that were.
//!
//! The folder is looked at every two seconds rather than watched with inotify: a look is one `stat`
//! for each file, sees through links (Kubernetes swaps `..data`, two links above the contract, of
//! which a watch on the folder hears nothing useful), works on network file systems, and has no
//! queue that can overflow and lose the one event that mattered.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use decide::case::Timestamp;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::Policies;
use super::folder::Look;
use crate::clock::Clock;
use crate::yaml::Fault;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// A folder that failed is tried again after so many looks although it is the same: time may have
/// put a contract in force.
const AGAIN: u32 = 30;
/// So often a folder that changes while it is read is read before that is a failure.
const ATTEMPTS: u32 = 5;

/// Enters in the ledger that these contracts come into force. They do only when it succeeds.
pub type Record = Box<
    dyn Fn(Arc<Policies>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync,
>;

/// Hears of each reading after the first, whatever came of it.
pub type Heard = Box<dyn Fn(&Result<Reloaded, ReloadError>) + Send + Sync>;

/// Why new contracts did not come into force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The folder does not compile.
    #[error("{}", lines(.0))]
    Faulty(Vec<Fault>),
    /// The ledger did not take them.
    #[error("the ledger did not take the new contracts: {0}")]
    NotRecorded(String),
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What reading the folder again came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// New contracts are in force.
    Changed,
    /// It says what it said before.
    Same,
}

/// How the folder and what is in force stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Digest of what is in force.
    pub digest: [u8; 32],
    /// Since when.
    pub since: Timestamp,
    /// How often new contracts came into force since the start.
    pub reloads: u64,
    /// How often they did not.
    pub failures: u64,
    /// When and why the folder as it is now is not in force; `None`: it is.
    pub failed: Option<(Timestamp, ReloadError)>,
}

/// The policy folder of a running gate.
pub struct PolicyFolder {
    folder: PathBuf,
    clock: Clock,
    record: Record,
    heard: OnceLock<Heard>,
    in_force: Arc<ArcSwap<Policies>>,
    standing: ArcSwap<Standing>,
    /// Held while the folder is looked at and read, so that only one does.
    turn: Mutex<Seen>,
}

/// What the folder looked like.
struct Seen {
    /// When it was last read.
    read: Look,
    /// At the last look, where that was different.
    changed: Option<Look>,
    /// Looks since a reading failed.
    waited: u32,
}

impl fmt::Debug for PolicyFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFolder").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl PolicyFolder {
    /// Reads the folder for the first time and has its contracts recorded.
    ///
    /// # Errors
    ///
    /// There is nothing that could be in force.
    pub async fn open(folder: PathBuf, clock: Clock, record: Record) -> Result<Self, ReloadError> {
        let (read, policies) = read(&folder, &clock).await;
        let policies = Arc::new(policies.map_err(ReloadError::Faulty)?);
        record(Arc::clone(&policies)).await.map_err(ReloadError::NotRecorded)?;
        let standing = Standing {
            digest: *policies.digest(),
            since: clock.now(),
            reloads: 0,
            failures: 0,
            failed: None,
        };
        Ok(Self {
            folder,
            clock,
            record,
            heard: OnceLock::new(),
            in_force: Arc::new(ArcSwap::new(policies)),
            standing: ArcSwap::from_pointee(standing),
            turn: Mutex::new(Seen { read, changed: None, waited: 0 }),
        })
    }

    /// Has `heard` told of each reading from now on. The first one stays.
    pub fn tell(&self, heard: Heard) {
        drop(self.heard.set(heard));
    }

    /// What is in force, now and later.
    #[must_use]
    pub fn policies(&self) -> Arc<ArcSwap<Policies>> {
        Arc::clone(&self.in_force)
    }

    /// How the folder and what is in force stand to each other.
    #[must_use]
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Reads the folder now.
    ///
    /// # Errors
    ///
    /// New contracts did not come into force; the ones before still are.
    pub async fn reload_now(&self) -> Result<Reloaded, ReloadError> {
        let mut seen = self.turn.lock().await;
        self.reload(&mut seen).await
    }

    /// Looks at the folder, and reads it where it has changed and then stood still for one look, so
    /// that a file that is being written is not taken at half its length. `None`: nothing was read.
    pub async fn look(&self) -> Option<Result<Reloaded, ReloadError>> {
        let mut seen = self.turn.lock().await;
        let now = look(&self.folder).await;
        if now == seen.read {
            seen.changed = None;
            seen.waited += 1;
            if self.standing.load().failed.is_none() || seen.waited < AGAIN {
                return None;
            }
        } else if seen.changed.as_ref() != Some(&now) {
            seen.changed = Some(now);
            return None;
        }
        Some(self.reload(&mut seen).await)
    }

    /// Looks every two seconds, for as long as it is polled; what comes of it is in
    /// [`Self::standing`] and in the log.
    pub async fn watch(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.look().await {
                Some(Ok(Reloaded::Changed)) => {
                    tracing::info!(folder = %self.folder.display(), "new contracts are in force");
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "the contracts before stay in force");
                }
                Some(Ok(Reloaded::Same)) | None => {}
            }
        }
    }

    async fn reload(&self, seen: &mut Seen) -> Result<Reloaded, ReloadError> {
        let (read, policies) = read(&self.folder, &self.clock).await;
        (seen.read, seen.changed, seen.waited) = (read, None, 0);
        let reloaded = match policies {
            Ok(policies) => self.publish(Arc::new(policies)).await,
            Err(faults) => Err(ReloadError::Faulty(faults)),
        };
        let now = self.clock.now();
        let mut standing = Standing::clone(&self.standing.load());
        match &reloaded {
            Ok(Reloaded::Changed) => {
                standing.digest = *self.in_force.load().digest();
                standing.since = now;
                standing.reloads += 1;
                standing.failed = None;
            }
            Ok(Reloaded::Same) => standing.failed = None,
            Err(error) => {
                standing.failures += 1;
                standing.failed = Some((now, error.clone()));
            }
        }
        self.standing.store(Arc::new(standing));
        if let Some(heard) = self.heard.get() {
            heard(&reloaded);
        }
        reloaded
    }

    /// Puts contracts in force once they are recorded.
    async fn publish(&self, policies: Arc<Policies>) -> Result<Reloaded, ReloadError> {
        if self.in_force.load().digest() == policies.digest() {
            return Ok(Reloaded::Same);
        }
        (self.record)(Arc::clone(&policies)).await.map_err(ReloadError::NotRecorded)?;
        self.in_force.store(policies);
        Ok(Reloaded::Changed)
    }
}

/// Reads a folder that stands still, and tells what it looked like.
async fn read(folder: &Path, clock: &Clock) -> (Look, Result<Policies, Vec<Fault>>) {
    let mut before = look(folder).await;
    for _ in 0..ATTEMPTS {
        let (at, now) = (folder.to_owned(), clock.now());
        let policies = spawn_blocking(move || Policies::read(&at, now)).await;
        let after = look(folder).await;
        if before == after {
            let policies = policies.unwrap_or_else(|_| Err(vec![fault(folder, "cannot be read")]));
            return (after, policies);
        }
        before = after;
    }
    (before, Err(vec![fault(folder, "changes while it is read: it is tried again in a minute")]))
}

async fn look(folder: &Path) -> Look {
    let at = folder.to_owned();
    spawn_blocking(move || Look::at(&at)).await.unwrap_or_else(|_| Look::unknown())
}

fn fault(folder: &Path, message: &str) -> Fault {
    Fault { file: folder.display().to_string(), at: None, path: None, message: message.to_owned() }
}

#[cfg(test)]
mod tests;
