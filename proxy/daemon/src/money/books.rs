//! The books: money is set aside in every scope at once or not at all, and settled once.

mod account;
mod event;
mod queue;
mod report;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use decide::case::{BudgetScope, MicroUsd, Reservation, Timestamp};
use tokio::sync::Notify;

pub use account::{Account, AccountId, Day, Purse};
pub use event::{Booked, Closed, Limits, MoneyEvent, Payer, Raised, Released, Settled};
pub use report::{Line, SpentBy};
pub use state::{RowId, Short, Spent, State};

use crate::clock::Clock;
use crate::money::WorstCase;
use queue::Queue;
use state::Fit;

/// What an exchange asks to have set aside.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// The exchange, a ULID.
    pub id: String,
    /// Who pays.
    pub payer: Payer,
    /// The limits that hold.
    pub limits: Limits,
    /// The most it can cost.
    pub worst: WorstCase,
}

/// The books' answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Set aside in every scope.
    Granted(Booked),
    /// Nothing was set aside.
    Refused {
        /// The worst case.
        asked: MicroUsd,
        /// The limit that does not fit.
        short: Short,
    },
    /// Nothing was set aside; it will fit once open exchanges give back what they do not use.
    Wait,
}

impl Answer {
    /// The fact that the chain judges; `None` while the answer is to wait.
    #[must_use]
    pub const fn fact(&self) -> Option<Reservation> {
        match self {
            Self::Granted(booked) => Some(Reservation::Granted {
                worst: booked.worst,
                output_limit: booked.output_limit,
            }),
            Self::Refused { asked, short } => Some(Reservation::Refused {
                scope: short.scope,
                asked: *asked,
                left: short.left,
                limit: short.limit,
            }),
            Self::Wait => None,
        }
    }
}

/// How an exchange ended, in money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The provider's own figure. One above the reservation is booked as it is.
    Actual {
        /// What it cost.
        cost: MicroUsd,
        /// Tokens that the provider counted.
        tokens: u64,
    },
    /// It cost nothing: the provider answered 4xx or 5xx, or nothing was sent.
    Zero,
    /// The provider's figure is missing. The whole reservation stays counted.
    InDoubt {
        /// What it probably cost.
        estimate: MicroUsd,
        /// Tokens that were seen.
        tokens: u64,
    },
}

/// The books. All of it is behind one lock that is held for look-ups and additions only.
#[derive(Debug, Default)]
pub struct Books {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    waiting: Queue,
    /// Answers that their waiter has not taken yet.
    answers: BTreeMap<u64, Answer>,
}

/// After whoever waits now.
const LAST: u64 = u64::MAX;

impl Books {
    /// Books with this state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { inner: Mutex::new(Inner { state, ..Inner::default() }) }
    }

    /// Sets the worst case aside, or says why not, without waiting. An exchange that has a
    /// reservation is given the same one again.
    pub fn reserve(&self, ask: &Reserve, now: Timestamp) -> Answer {
        let mut inner = self.lock();
        if let Some(booked) = inner.state.open(&ask.id) {
            return Answer::Granted(booked.clone());
        }
        inner.try_reserve(ask, LAST, now).unwrap_or(Answer::Wait)
    }

    /// As [`Books::reserve`], but waits its turn for what open exchanges can give back, `patience`
    /// long, and is refused then. Dropping the future leaves the queue and keeps nothing set aside.
    pub async fn reserve_or_wait(&self, ask: Reserve, clock: &Clock, patience: Duration) -> Answer {
        let mut seat = match self.sit(ask, clock) {
            Ok(answer) => return answer,
            Err(seat) => seat,
        };
        // Whether it was woken or ran out of patience, the answer under the lock is what counts.
        let _elapsed = tokio::time::timeout(patience, seat.wake.notified()).await;
        seat.take()
    }

    fn sit(&self, ask: Reserve, clock: &Clock) -> Result<Answer, Seat<'_>> {
        let now = clock.now();
        let mut inner = self.lock();
        if let Some(booked) = inner.state.open(&ask.id) {
            return Ok(Answer::Granted(booked.clone()));
        }
        let accounts = match inner.try_reserve(&ask, LAST, now) {
            Ok(answer) => return Ok(answer),
            Err(accounts) => accounts,
        };
        let (ticket, wake) = inner.waiting.join(ask, accounts);
        Err(Seat { books: self, clock: clock.clone(), ticket, wake, done: false })
    }

    /// Takes a reservation back: the exchange was refused, or never sent. Nothing of it is recorded.
    pub fn cancel(&self, id: &str, now: Timestamp) {
        let mut inner = self.lock();
        if let Some(booked) = inner.state.cancel(id) {
            inner.wake_the_next_at(&booked, now);
        }
    }

    /// Ends a reservation. `None` where the exchange has none that is open: it was settled before.
    pub fn settle(&self, id: &str, how: Settlement, now: Timestamp) -> Option<Settled> {
        let mut inner = self.lock();
        let settled = settled(inner.state.open(id)?, how);
        let booked = inner.state.settle(&settled)?;
        inner.wake_the_next_at(&booked, now);
        Some(settled)
    }

    /// After a crash: every decision without an outcome is in doubt, with its whole reservation.
    pub fn doubt_open(&self, now: Timestamp) -> Vec<Settled> {
        let mut inner = self.lock();
        let unknown = Settlement::InDoubt { estimate: MicroUsd(0), tokens: 0 };
        let all: Vec<Settled> =
            inner.state.all_open().map(|booked| settled(booked, unknown)).collect();
        for settled in &all {
            inner.state.settle(settled);
        }
        inner.wake_all(now);
        all
    }

    /// Replaces what is in doubt about an ended exchange by what it cost. `None` where nothing is.
    pub fn release(&self, id: &str, spent: MicroUsd, now: Timestamp) -> Option<Released> {
        let released = Released { id: id.to_owned(), spent };
        let mut inner = self.lock();
        inner.state.release(&released)?;
        inner.wake_all(now);
        Some(released)
    }

    /// Adds an event of the ledger, in its order.
    pub fn apply(&self, event: &MoneyEvent, now: Timestamp) {
        let mut inner = self.lock();
        inner.state.apply(event);
        inner.wake_all(now);
    }

    /// Raises the limit of a run, or of somebody's day or month, to `limit`; a limit below the one that
    /// holds changes nothing. Whoever waits for it is answered.
    pub fn raise(&self, account: AccountId, limit: MicroUsd, now: Timestamp) -> Raised {
        let raised = Raised { account, limit };
        self.apply(&MoneyEvent::Raised(raised.clone()), now);
        raised
    }

    /// Ends a run: its account can be forgotten.
    pub fn close(&self, run: &str, now: Timestamp) -> Closed {
        let closed = Closed { run: run.to_owned() };
        self.apply(&MoneyEvent::Closed(closed.clone()), now);
        closed
    }

    /// One account as it stands.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Account {
        self.lock().state.account(id)
    }

    /// The accounts of the present windows and of live runs that anything is booked on.
    #[must_use]
    pub fn accounts(&self, now: Timestamp) -> Vec<(AccountId, Account)> {
        let today = Day::of(now);
        let inner = self.lock();
        let present = inner.state.accounts().filter(|(id, _)| !id.over_by(today));
        present.map(|(id, account)| (id.clone(), *account)).collect()
    }

    /// The limit of an account: the contract's, or what an operator raised it to.
    #[must_use]
    pub fn limit(&self, account: &AccountId, contract: Option<MicroUsd>) -> Option<MicroUsd> {
        self.lock().state.limit(account, contract)
    }

    /// The limit of a run: the contract's, or what an operator raised it to.
    #[must_use]
    pub fn run_limit(&self, run: &str, contract: Option<MicroUsd>) -> Option<MicroUsd> {
        self.limit(&AccountId::Run(run.to_owned()), contract)
    }

    /// Exchanges that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Exchanges that cost more than their worst case: the catalog was wrong that often.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.lock().state.overruns()
    }

    /// The books as a value, without what nobody can ask for any more.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        let mut inner = self.lock();
        inner.state.prune(now);
        inner.state.clone()
    }

    /// The books as JSON.
    ///
    /// # Errors
    ///
    /// They cannot be written as JSON.
    pub fn snapshot(&self, now: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.state(now))
    }

    /// Books as a snapshot wrote them.
    ///
    /// # Errors
    ///
    /// The bytes are no snapshot of the books.
    pub fn restore(snapshot: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(snapshot).map(Self::new)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fit(&self, ask: &Reserve, now: Timestamp) -> Fit {
        self.state.fit(&ask.payer, &ask.limits, &ask.worst, now)
    }

    /// The answer, or the accounts that it has to wait for: those where others have set the rest aside,
    /// else those that somebody waits for who came before `ticket`. Nobody overtakes there.
    fn try_reserve(
        &mut self,
        ask: &Reserve,
        ticket: u64,
        now: Timestamp,
    ) -> Result<Answer, BTreeSet<AccountId>> {
        let output_limit = match self.fit(ask, now) {
            Fit::Now(limit) => limit,
            Fit::Later(contended) => return Err(contended),
            Fit::Never(short) => return Ok(Answer::Refused { asked: ask.worst.total(), short }),
        };
        if !self.waiting.is_empty() {
            let accounts = AccountId::of(&ask.payer, now).into_iter().map(|(_, id)| id);
            let behind = self.waiting.behind(accounts, ticket);
            if !behind.is_empty() {
                return Err(behind);
            }
        }
        let worst = output_limit.map_or(ask.worst.total(), |limit| ask.worst.with_output(limit));
        let booked =
            Booked { id: ask.id.clone(), at: now.0, payer: ask.payer.clone(), worst, output_limit };
        self.state.book(booked.clone());
        Ok(Answer::Granted(booked))
    }

    /// As [`Self::wake_the_next`], at what `booked` drew on.
    fn wake_the_next_at(&mut self, booked: &Booked, now: Timestamp) {
        if !self.waiting.is_empty() {
            let accounts = AccountId::of(&booked.payer, Timestamp(booked.at));
            self.wake_the_next(accounts.into_iter().map(|(_, id)| id).collect(), now);
        }
    }

    fn wake_all(&mut self, now: Timestamp) {
        self.wake_the_next(self.waiting.accounts(), now);
    }

    /// Something changed at `accounts`: answers whoever need not wait for them any more, in order. Only
    /// the first at an account can be answered, and when it leaves, the first at what it waited for.
    fn wake_the_next(&mut self, mut accounts: Vec<AccountId>, now: Timestamp) {
        while let Some(account) = accounts.pop() {
            while let Some((ticket, ask)) = self.waiting.first(&account) {
                match self.try_reserve(&ask, ticket, now) {
                    Ok(answer) => {
                        let Some(waiter) = self.waiting.leave(ticket) else { break };
                        self.answers.insert(ticket, answer);
                        waiter.wake.notify_one();
                        accounts.extend(waiter.accounts);
                    }
                    Err(others) => {
                        let stays = others.contains(&account);
                        accounts.extend(self.waiting.moves(ticket, &others));
                        if stays {
                            break;
                        }
                    }
                }
            }
        }
    }
}

fn settled(booked: &Booked, how: Settlement) -> Settled {
    let (spent, in_doubt, tokens) = match how {
        Settlement::Actual { cost, tokens } => (cost, MicroUsd(0), tokens),
        Settlement::Zero => (MicroUsd(0), MicroUsd(0), 0),
        Settlement::InDoubt { estimate, tokens } => {
            (estimate, MicroUsd(booked.worst.0.saturating_sub(estimate.0)), tokens)
        }
    };
    Settled { id: booked.id.clone(), spent, in_doubt, tokens }
}

/// A place in the queue.
struct Seat<'a> {
    books: &'a Books,
    clock: Clock,
    ticket: u64,
    wake: Arc<Notify>,
    done: bool,
}

impl Seat<'_> {
    fn take(&mut self) -> Answer {
        self.done = true;
        let now = self.clock.now();
        let mut inner = self.books.lock();
        if let Some(answer) = inner.answers.remove(&self.ticket) {
            return answer;
        }
        let Some(waiter) = inner.waiting.leave(self.ticket) else { return Answer::Wait };
        inner.wake_the_next(waiter.accounts.into_iter().collect(), now);
        let ask = waiter.ask;
        let none = Short { scope: BudgetScope::Request, left: MicroUsd(0), limit: MicroUsd(0) };
        let short = inner.state.short_now(&ask.payer, &ask.limits, now).unwrap_or(none);
        Answer::Refused { asked: ask.worst.total(), short }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let now = self.clock.now();
        let mut inner = self.books.lock();
        if let Some(waiter) = inner.waiting.leave(self.ticket) {
            inner.wake_the_next(waiter.accounts.into_iter().collect(), now);
        }
        if let Some(Answer::Granted(booked)) = inner.answers.remove(&self.ticket) {
            inner.state.cancel(&booked.id);
            inner.wake_the_next_at(&booked, now);
        }
    }
}
