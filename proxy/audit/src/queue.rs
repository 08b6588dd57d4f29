//! Where entries wait for the writer, and when it takes them.
//!
//! A decision is taken at once, unless others are on the way: callers announce an exchange when
//! they begin to decide it, so the writer knows. It then waits for them, at most [`SPACING`] from
//! the first arrival, and one sync serves all. What rides is taken with the next decision, or
//! [`RIDE`] after it came.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::{Draft, Hash};
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
    pub(crate) ack: Ack,
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
    /// Whether the writer waits for something to come.
    asleep: bool,
    closing: bool,
    /// Why nothing is taken any more.
    stopped: Option<LedgerError>,
}

impl State {
    /// When the writer is to take what waits; `None` while nothing does.
    fn due(&self) -> Option<Instant> {
        let first = self.commit.or(self.ride)?;
        if self.closing || self.waiting.len() >= BATCH {
            return Some(first);
        }
        let ride = self.ride.map(|came| came + RIDE);
        let commit =
            self.commit.map(|came| if self.announced == 0 { came } else { came + SPACING });
        commit.into_iter().chain(ride).min()
    }
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
        let measured = self.measure(&waiting.draft);
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
            self.wake(state, false);
            return (waiting.ack)(Err(error));
        }
        state.waiting.push_back(waiting);
        let came = match urgency {
            Urgency::Commit => &mut state.commit,
            Urgency::Ride => &mut state.ride,
        };
        let first = came.is_none();
        came.get_or_insert_with(Instant::now);
        self.wake(state, first);
    }

    fn measure(&self, draft: &Draft) -> Result<(), LedgerError> {
        let bytes = draft.measure().map_err(LedgerError::Identity)?;
        if bytes > self.limit {
            return Err(LedgerError::TooLarge { bytes, limit: self.limit });
        }
        Ok(())
    }

    /// Wakes the writer if it sleeps and is due sooner than it thinks: because `first` came, or
    /// because nothing is on the way any more. Otherwise its own alarm is right.
    fn wake(&self, mut state: MutexGuard<'_, State>, first: bool) {
        let complete = state.commit.is_some() && state.announced == 0;
        let sooner = first || complete || state.waiting.len() >= BATCH || state.closing;
        if state.asleep && sooner {
            state.asleep = false;
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
        self.wake(state, false);
    }

    /// Waits until entries are due and takes all there are; `None` once closed and empty.
    pub(crate) fn take(&self) -> Option<VecDeque<Waiting>> {
        let mut state = self.lock();
        loop {
            let Some(due) = state.due() else {
                if state.closing {
                    return None;
                }
                state.asleep = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.commit = None;
                state.ride = None;
                state.asleep = false;
                return Some(std::mem::take(&mut state.waiting));
            }
            state.asleep = true;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Takes nothing more; what waits is still written.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        self.wake(state, false);
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
    fn nothing_is_due_while_nothing_waits() {
        assert_eq!(State { announced: 3, ..State::default() }.due(), None);
    }
}
