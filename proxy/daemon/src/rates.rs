//! Requests in a sliding window, counted for each agent and limit.
//!
//! The window slides exactly: no span of its length ever holds more requests than the limit, at the
//! price of one time stamp for each request in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use decide::case::{Rate, Timestamp};
use decide::policy::RateLimit;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

const SECOND: u64 = 1_000_000;

/// A request was counted. Belongs into its decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// The agent.
    pub agent: String,
    /// Requests allowed in one window.
    pub requests: u32,
    /// Length of the window in seconds.
    pub per_seconds: u32,
    /// When, in microseconds.
    pub at: u64,
}

/// The windows.
#[derive(Debug, Default)]
pub struct Rates {
    windows: Mutex<Windows>,
}

type Windows = BTreeMap<String, BTreeMap<(u32, u32), VecDeque<u64>>>;

impl Rates {
    /// Counts a request of `agent` against `limit`, if there is room for it. A time that lies before
    /// one that was counted stands for that one: the window never runs backwards.
    #[must_use]
    pub fn enter(
        &self,
        agent: &str,
        limit: Option<RateLimit>,
        now: Timestamp,
    ) -> (Rate, Option<Entered>) {
        let Some(limit) = limit else { return (Rate::Unlimited, None) };
        let mut windows = self.lock();
        let window = of(&mut windows, agent, (limit.requests, limit.per_seconds));
        let now = window.back().map_or(now.0, |last| now.0.max(*last));
        let length = u64::from(limit.per_seconds) * SECOND;
        slide(window, now, length);
        let allowed = usize::try_from(limit.requests).unwrap_or(usize::MAX);
        if window.len() < allowed {
            window.push_back(now);
            let entered = Entered {
                agent: agent.to_owned(),
                requests: limit.requests,
                per_seconds: limit.per_seconds,
                at: now,
            };
            return (Rate::Within, Some(entered));
        }
        let free = window.front().map_or(now.saturating_add(length), |first| first + length);
        let seconds = free.saturating_sub(now).div_ceil(SECOND).max(1);
        let retry_after = u32::try_from(seconds).unwrap_or(u32::MAX);
        (Rate::Exceeded { limit: limit.requests, retry_after }, None)
    }

    /// Counts a request that the ledger says was counted.
    pub fn apply(&self, entered: &Entered) {
        let mut windows = self.lock();
        let window = of(&mut windows, &entered.agent, (entered.requests, entered.per_seconds));
        let at = window.partition_point(|earlier| *earlier <= entered.at);
        window.insert(at, entered.at);
        let last = window.back().copied().unwrap_or(entered.at);
        slide(window, last, u64::from(entered.per_seconds) * SECOND);
    }

    /// What is counted at `now`, as events: what a snapshot keeps.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> Vec<Entered> {
        let mut windows = self.lock();
        windows.retain(|_, limits| {
            limits.retain(|(_, per_seconds), window| {
                slide(window, now.0, u64::from(*per_seconds) * SECOND);
                !window.is_empty()
            });
            !limits.is_empty()
        });
        let mut entered = Vec::new();
        for (agent, limits) in windows.iter() {
            for (&(requests, per_seconds), window) in limits {
                entered.extend(window.iter().map(|&at| Entered {
                    agent: agent.clone(),
                    requests,
                    per_seconds,
                    at,
                }));
            }
        }
        entered
    }

    /// The windows as JSON.
    ///
    /// # Errors
    ///
    /// They cannot be written as JSON.
    pub fn snapshot(&self, now: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.state(now))
    }

    /// Windows as a snapshot wrote them.
    ///
    /// # Errors
    ///
    /// The bytes are no snapshot of windows.
    pub fn restore(snapshot: &[u8]) -> Result<Self, serde_json::Error> {
        let rates = Self::default();
        serde_json::from_slice::<Vec<Entered>>(snapshot)?.iter().for_each(|one| rates.apply(one));
        Ok(rates)
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of<'a>(windows: &'a mut Windows, agent: &str, limit: (u32, u32)) -> &'a mut VecDeque<u64> {
    windows.entry(agent.to_owned()).or_default().entry(limit).or_default()
}

/// Drops what is a whole window old.
fn slide(window: &mut VecDeque<u64>, now: u64, length: u64) {
    while window.front().is_some_and(|first| first.saturating_add(length) <= now) {
        window.pop_front();
    }
}
