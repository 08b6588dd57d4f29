//! Where entries wait for the writer, and when it takes them.
//!
//! A decision is taken at once, unless others are on the way: callers announce an exchange when
//! they begin to decide it, so the writer knows. It then waits for them, at most [`SPACING`] from
//! the first arrival, and one sync serves all. Where several decisions came while the writer was
//! busy, more are on the way too, announced or not: it then takes what comes every [`SPACING`],
//! until nobody is with another any more. What rides is taken with the next decision, or [`RIDE`]
//! after it came.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::{Draft, Fact, Hash};
use crate::error::LedgerError;

/// How long a decision waits at most for others that are on the way.
pub const SPACING: Duration = Duration::from_micros(300);

/// How long an entry that rides waits at most.
pub const RIDE: Duration = Duration::from_millis(20);

/// How many entries may wait to be written.
pub const MAX_WAITING: usize = 65_536;

/// How many entries one commit waits for; more than this gains nothing.
const BATCH: usize = 256;

/// When an entry is to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Now: somebody waits to act on it.
    Commit,
    /// With the next commit, or [`RIDE`] from now.
    Ride,
}

/// That an entry is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's number.
    pub seq: u64,
    /// Its time, microseconds since the Unix epoch.
    pub time: u64,
    /// Its hash.
    pub hash: Hash,
}

pub(crate) type Ack = Box<dyn FnOnce(Result<Receipt, LedgerError>) + Send>;

/// One entry that waits.
pub(crate) struct Waiting {
    pub(crate) draft: Draft,
    /// What its body names by digest.
    pub(crate) fact: Option<Arc<Fact>>,
    pub(crate) ack: Ack,
}

/// The writer, while it waits.
#[derive(Clone, Copy)]
struct Asleep {
    /// When it wakes by itself, if it does.
    until: Option<Instant>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// When the first waiting entry that asks for a commit came.
    commit: Option<Instant>,
    /// When the first waiting entry that rides came.
    ride: Option<Instant>,
    /// How many exchanges are being decided.
    announced: usize,
    /// How many of what waits ask for a commit.
    commits: usize,
    /// Decisions crowd: none is due before this.
    paced: Option<Instant>,
    /// The writer waits for something to come.
    asleep: Option<Asleep>,
    closing: bool,
    /// Why nothing is taken any more.
    stopped: Option<LedgerError>,
}

impl State {
    /// When the writer is to take what waits; `None` while nothing does.
    fn due(&self) -> Option<Instant> {
        let first = self.commit.or(self.ride)?;
        if self.is_urgent() {
            return Some(first);
        }
        let ride = self.ride.map(|came| came + RIDE);
        let commit = self.commit.map(|came| match self.paced {
            Some(from) => from.clamp(came, came + SPACING),
            None if self.announced == 0 => came,
            None => came + SPACING,
        });
        commit.into_iter().chain(ride).min()
    }

    /// Whether the writer is to take what waits without looking at the time.
    fn is_urgent(&self) -> bool {
        self.closing || self.waiting.len() >= BATCH
    }

    /// Hands everything over to the writer at `now`. Where it is a crowd, the next decisions are
    /// due one [`SPACING`] on.
    fn hand_over(&mut self, now: Instant) -> VecDeque<Waiting> {
        self.paced = (self.commits > 1).then(|| now + SPACING);
        (self.commit, self.ride, self.commits) = (None, None, 0);
        // The next batch is about as large.
        let room = VecDeque::with_capacity(self.waiting.len());
        std::mem::replace(&mut self.waiting, room)
    }
}

/// What the writer is to do next.
pub(crate) enum Taken {
    /// Write these.
    Batch(VecDeque<Waiting>),
    /// Nothing is due, and the time that it asked for has come.
    Alarm,
    /// End: the ledger is closed, and all is written.
    Closed,
}

/// The queue between callers and the writer, and what both know of the ledger.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that an encoded entry may have.
    pub(crate) limit: usize,
    /// How many entries are durable.
    pub(crate) durable: AtomicU64,
    /// Whether the last ordinary entry found no room.
    pub(crate) full: AtomicBool,
    /// Snapshots and checkpoints that could not be written.
    pub(crate) skipped: AtomicU64,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("durable", &self.durable).finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Queue {
        Queue { limit, ..Queue::default() }
    }

    /// No code that holds the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry; `announced` says that it was on the way. Fails at once by `ack`.
    pub(crate) fn push(&self, waiting: Waiting, urgency: Urgency, announced: bool) {
        let measured = self.measure(&waiting);
        let mut state = self.lock();
        if announced {
            state.announced = state.announced.saturating_sub(1);
        }
        let refused = match (&state.stopped, measured) {
            (Some(error), _) => Some(error.clone()),
            (None, Err(error)) => Some(error),
            (None, Ok(())) if state.closing => Some(LedgerError::Closed),
            (None, Ok(())) if state.waiting.len() >= MAX_WAITING => Some(LedgerError::Overloaded),
            (None, Ok(())) => None,
        };
        if let Some(error) = refused {
            self.wake(state);
            return (waiting.ack)(Err(error));
        }
        state.waiting.push_back(waiting);
        let came = match urgency {
            Urgency::Commit => {
                state.commits += 1;
                &mut state.commit
            }
            Urgency::Ride => &mut state.ride,
        };
        came.get_or_insert_with(Instant::now);
        self.wake(state);
    }

    fn measure(&self, waiting: &Waiting) -> Result<(), LedgerError> {
        let fact = waiting.fact.as_ref().map(|fact| fact.draft().measure());
        for bytes in [waiting.draft.measure()].into_iter().chain(fact) {
            let bytes = bytes.map_err(LedgerError::Identity)?;
            if bytes > self.limit {
                return Err(LedgerError::TooLarge { bytes, limit: self.limit });
            }
        }
        Ok(())
    }

    /// Wakes the writer if it sleeps and something is due before it wakes by itself.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let Some(asleep) = state.asleep else { return };
        let sooner = |due: Instant| asleep.until.is_none_or(|until| due < until);
        if state.closing || state.due().is_some_and(sooner) {
            state.asleep = None;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Says that an exchange is being decided.
    pub(crate) fn announce(&self) {
        self.lock().announced += 1;
    }

    /// Takes an announcement back.
    pub(crate) fn withdraw(&self) {
        let mut state = self.lock();
        state.announced = state.announced.saturating_sub(1);
        self.wake(state);
    }

    /// Waits until entries are due and takes all there are. [`Taken::Alarm`] where nothing is due
    /// until `alarm`.
    pub(crate) fn take(&self, alarm: Option<Instant>) -> Taken {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let due = state.due();
            if due.is_some_and(|due| due <= now) {
                return Taken::Batch(state.hand_over(now));
            }
            if due.is_none() && state.closing {
                return Taken::Closed;
            }
            if alarm.is_some_and(|alarm| alarm <= now) {
                return Taken::Alarm;
            }
            // With nobody who waits, the pace ends.
            state.paced = state.paced.filter(|from| *from > now);
            let until = due.into_iter().chain(state.paced).chain(alarm).min();
            state.asleep = Some(Asleep { until });
            state = match until {
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.asleep = None;
        }
    }

    /// Takes nothing more; what waits is still written.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        self.wake(state);
    }

    /// Refuses everything from now on with `error`, and returns what waits.
    pub(crate) fn stop(&self, error: LedgerError) -> VecDeque<Waiting> {
        let mut state = self.lock();
        state.stopped = Some(error);
        std::mem::take(&mut state.waiting)
    }

    /// How many entries wait, and why nothing is taken any more.
    pub(crate) fn load(&self) -> (usize, Option<LedgerError>) {
        let state = self.lock();
        (state.waiting.len(), state.stopped.clone())
    }

    pub(crate) fn set_durable(&self, entries: u64) {
        self.durable.store(entries, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(came: Instant, urgency: Urgency, announced: usize) -> State {
        let mut state = State { announced, ..State::default() };
        match urgency {
            Urgency::Commit => state.commit = Some(came),
            Urgency::Ride => state.ride = Some(came),
        }
        state
    }

    #[test]
    fn a_lone_decision_is_due_at_once_and_one_of_many_after_the_spacing() {
        let came = Instant::now();
        assert_eq!(state(came, Urgency::Commit, 0).due(), Some(came));
        assert_eq!(state(came, Urgency::Commit, 1).due(), Some(came + SPACING));
    }

    #[test]
    fn what_rides_is_due_after_its_ride_whatever_is_on_the_way() {
        let came = Instant::now();
        assert_eq!(state(came, Urgency::Ride, 0).due(), Some(came + RIDE));
        assert_eq!(state(came, Urgency::Ride, 9).due(), Some(came + RIDE));
        let mut both = state(came, Urgency::Ride, 9);
        let late = came + RIDE.saturating_sub(SPACING / 2);
        both.commit = Some(late);
        assert_eq!(both.due(), Some(came + RIDE));
        both.closing = true;
        assert!(both.due().is_some_and(|due| due <= late));
    }

    #[test]
    fn a_crowd_is_taken_at_a_steady_pace_and_a_lone_decision_after_it_is_not() {
        let taken = Instant::now();
        let mut crowd = State { commits: 2, ..State::default() };
        crowd.hand_over(taken);
        let came = taken + SPACING / 3;
        crowd.commit = Some(came);
        assert_eq!(crowd.due(), Some(taken + SPACING));
        // The writer was busy for longer: what came meanwhile is due.
        crowd.commit = Some(taken + SPACING * 2);
        assert_eq!(crowd.due(), Some(taken + SPACING * 2));
        crowd.commits = 1;
        crowd.hand_over(taken);
        crowd.commit = Some(came);
        assert_eq!(crowd.due(), Some(came));
    }

    #[test]
    fn nothing_is_due_while_nothing_waits() {
        assert_eq!(State { announced: 3, ..State::default() }.due(), None);
    }
}
