//! The books as a value: what the events so far add up to.

use std::collections::{BTreeMap, BTreeSet};

use decide::case::{BudgetScope, MicroUsd, Timestamp};
use serde::{Deserialize, Serialize};

use super::account::{Account, AccountId, Day};
use super::event::{Booked, Limits, MoneyEvent, Payer, Released, Settled};
use crate::money::WorstCase;

/// Days for which spending is kept by run, agent, key and model, so that the month before this one is
/// whole.
const KEPT_DAYS: u32 = 62;

/// The books as a value. Cloned, compared and written as JSON; built from events alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    #[serde(with = "pairs")]
    accounts: BTreeMap<AccountId, Account>,
    open: BTreeMap<String, Booked>,
    doubts: BTreeMap<String, Doubt>,
    /// What operators raised runs to.
    raised: BTreeMap<String, u64>,
    /// And days and months.
    #[serde(default, with = "pairs")]
    raised_windows: BTreeMap<AccountId, u64>,
    closed: BTreeSet<String>,
    #[serde(with = "pairs")]
    rows: BTreeMap<RowId, Spent>,
    overruns: u64,
}

/// An ended exchange of which nobody knows what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Doubt {
    at: u64,
    payer: Payer,
    estimate: u64,
    rest: u64,
}

/// One line of the spending: a payer's day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowId {
    /// The day (UTC).
    pub day: Day,
    /// Who paid.
    pub payer: Payer,
}

/// What was spent on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Micro-dollars spent.
    pub spent: u64,
    /// Micro-dollars that may have been spent.
    pub in_doubt: u64,
    /// Exchanges that came to their end.
    pub exchanges: u64,
    /// Tokens that the providers counted.
    pub tokens: u64,
}

impl Spent {
    pub(super) const fn add(&mut self, other: Self) {
        self.spent = self.spent.saturating_add(other.spent);
        self.in_doubt = self.in_doubt.saturating_add(other.in_doubt);
        self.exchanges = self.exchanges.saturating_add(other.exchanges);
        self.tokens = self.tokens.saturating_add(other.tokens);
    }
}

/// How a worst case stands against every limit at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// It fits, with this output limit written into the request.
    Now(Option<u64>),
    /// It fits once open exchanges give back what they do not use, in these accounts.
    Later(BTreeSet<AccountId>),
    /// It does not fit whatever they give back.
    Never(Short),
}

/// The limit that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Whose limit.
    pub scope: BudgetScope,
    /// What is left under it.
    pub left: MicroUsd,
    /// The limit.
    pub limit: MicroUsd,
}

/// One limit and the account it is held against; a request's own limit has none.
struct Held {
    scope: BudgetScope,
    account: Option<AccountId>,
    limit: u64,
    standing: Account,
}

impl State {
    /// Adds one event. Applying an event twice in a row changes nothing the second time.
    pub fn apply(&mut self, event: &MoneyEvent) {
        self.take_in(event.clone());
    }

    /// As [`State::apply`], for an event that nobody else needs.
    pub fn take_in(&mut self, event: MoneyEvent) {
        match event {
            MoneyEvent::Booked(booked) => self.book(booked),
            MoneyEvent::Settled(settled) => {
                self.settle(&settled);
            }
            MoneyEvent::Released(released) => {
                self.release(&released);
            }
            MoneyEvent::Raised(raised) => {
                let limit = match raised.account {
                    AccountId::Run(run) => self.raised.entry(run).or_default(),
                    window @ (AccountId::KeyDay(..)
                    | AccountId::AgentDay(..)
                    | AccountId::AgentMonth(..)
                    | AccountId::TeamDay(..)
                    | AccountId::TeamMonth(..)) => self.raised_windows.entry(window).or_default(),
                };
                *limit = raised.limit.0.max(*limit);
            }
            MoneyEvent::Closed(closed) => {
                self.closed.insert(closed.run);
            }
        }
    }

    /// Forgets what no limit and no report can ask for any more: accounts of windows that are over,
    /// closed runs, lines older than two months. What is still open stays.
    pub fn prune(&mut self, now: Timestamp) {
        let today = Day::of(now);
        let kept = Day(today.0.saturating_sub(KEPT_DAYS));
        let closed = &self.closed;
        self.accounts.retain(|id, account| {
            let over = match id {
                AccountId::Run(run) => closed.contains(run),
                AccountId::KeyDay(..)
                | AccountId::AgentDay(..)
                | AccountId::AgentMonth(..)
                | AccountId::TeamDay(..)
                | AccountId::TeamMonth(..) => id.over_by(today),
            };
            account.reserved > 0 || !over
        });
        let busy: BTreeSet<&str> = self.open.values().map(|open| open.payer.run.as_str()).collect();
        self.raised.retain(|run, _| !closed.contains(run) || busy.contains(run.as_str()));
        self.raised_windows.retain(|id, _| !id.over_by(today));
        self.closed.retain(|run| busy.contains(run.as_str()));
        self.rows.retain(|id, _| id.day >= kept);
        self.doubts.retain(|_, doubt| Day::of(Timestamp(doubt.at)) >= kept);
    }

    /// The reservation of an exchange that has not come to its end.
    #[must_use]
    pub fn open(&self, id: &str) -> Option<&Booked> {
        self.open.get(id)
    }

    /// Every exchange that has not come to its end.
    pub fn all_open(&self) -> impl Iterator<Item = &Booked> {
        self.open.values()
    }

    /// One account; empty where nothing was ever booked on it.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Account {
        self.accounts.get(id).copied().unwrap_or_default()
    }

    /// Every account that anything is booked on.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.accounts.iter()
    }

    /// The limit of an account: the contract's, or what an operator raised it to.
    #[must_use]
    pub fn limit(&self, account: &AccountId, contract: Option<MicroUsd>) -> Option<MicroUsd> {
        let contract = contract?;
        let raised = match account {
            AccountId::Run(run) => self.raised.get(run),
            AccountId::KeyDay(..)
            | AccountId::AgentDay(..)
            | AccountId::AgentMonth(..)
            | AccountId::TeamDay(..)
            | AccountId::TeamMonth(..) => self.raised_windows.get(account),
        };
        Some(MicroUsd(contract.0.max(raised.copied().unwrap_or_default())))
    }

    /// Every line of the spending.
    pub fn rows(&self) -> impl Iterator<Item = (&RowId, &Spent)> {
        self.rows.iter()
    }

    /// Exchanges that cost more than their worst case: the catalog was wrong that often.
    #[must_use]
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }

    pub(super) fn book(&mut self, booked: Booked) {
        if self.open.contains_key(&booked.id) {
            return;
        }
        for (_, id) in AccountId::of(&booked.payer, Timestamp(booked.at)) {
            let account = self.accounts.entry(id).or_default();
            account.reserved = account.reserved.saturating_add(booked.worst.0);
        }
        self.open.insert(booked.id.clone(), booked);
    }

    /// Takes a reservation back as if it had never been.
    pub(super) fn cancel(&mut self, id: &str) -> Option<Booked> {
        let booked = self.open.remove(id)?;
        self.change(&booked.payer, booked.at, |account| {
            account.reserved = account.reserved.saturating_sub(booked.worst.0);
        });
        Some(booked)
    }

    pub(super) fn settle(&mut self, settled: &Settled) -> Option<Booked> {
        let mut booked = self.open.remove(&settled.id)?;
        self.change(&booked.payer, booked.at, |account| {
            account.reserved = account.reserved.saturating_sub(booked.worst.0);
            account.spent = account.spent.saturating_add(settled.spent.0);
            account.in_doubt = account.in_doubt.saturating_add(settled.in_doubt.0);
        });
        if settled.spent > booked.worst {
            self.overruns = self.overruns.saturating_add(1);
        }
        let line = Spent {
            spent: settled.spent.0,
            in_doubt: settled.in_doubt.0,
            exchanges: 1,
            tokens: settled.tokens,
        };
        let row = RowId { day: Day::of(Timestamp(booked.at)), payer: booked.payer };
        match self.rows.get_mut(&row) {
            Some(spent) => spent.add(line),
            None => drop(self.rows.insert(row.clone(), line)),
        }
        booked.payer = row.payer;
        if settled.in_doubt.0 > 0 {
            let doubt = Doubt {
                at: booked.at,
                payer: booked.payer.clone(),
                estimate: settled.spent.0,
                rest: settled.in_doubt.0,
            };
            self.doubts.insert(settled.id.clone(), doubt);
        }
        Some(booked)
    }

    pub(super) fn release(&mut self, released: &Released) -> Option<()> {
        let doubt = self.doubts.remove(&released.id)?;
        let known = |spent: &mut u64, in_doubt: &mut u64| {
            *spent = spent.saturating_sub(doubt.estimate).saturating_add(released.spent.0);
            *in_doubt = in_doubt.saturating_sub(doubt.rest);
        };
        self.change(&doubt.payer, doubt.at, |account| {
            known(&mut account.spent, &mut account.in_doubt);
        });
        let day = Day::of(Timestamp(doubt.at));
        if let Some(row) = self.rows.get_mut(&RowId { day, payer: doubt.payer.clone() }) {
            known(&mut row.spent, &mut row.in_doubt);
        }
        Some(())
    }

    /// Changes the accounts a booking drew on. One that was pruned meanwhile stays forgotten, and one
    /// that comes to nothing is as one that never was.
    fn change(&mut self, payer: &Payer, at: u64, change: impl Fn(&mut Account)) {
        for (_, id) in AccountId::of(payer, Timestamp(at)) {
            let Some(account) = self.accounts.get_mut(&id) else { continue };
            change(account);
            if account.is_empty() {
                self.accounts.remove(&id);
            }
        }
    }

    /// How `worst` stands against all of `limits` at `now`.
    pub(super) fn fit(
        &self,
        payer: &Payer,
        limits: &Limits,
        worst: &WorstCase,
        now: Timestamp,
    ) -> Fit {
        let held = self.held(payer, limits, now);
        let Some(ever) = narrowest(&held, Account::gone) else { return Fit::Now(None) };
        let output_limit = if worst.total() <= ever.left {
            None
        } else if let Some(limit) = worst.fit(ever.left) {
            Some(limit)
        } else {
            return Fit::Never(ever);
        };
        let amount = output_limit.map_or(worst.total(), |limit| worst.with_output(limit));
        let contended: BTreeSet<AccountId> = held
            .iter()
            .filter(|held| held.limit.saturating_sub(held.standing.counted()) < amount.0)
            .filter_map(|held| held.account.clone())
            .collect();
        if contended.is_empty() { Fit::Now(output_limit) } else { Fit::Later(contended) }
    }

    /// The limit with the least left at this moment, open reservations counted.
    pub(super) fn short_now(
        &self,
        payer: &Payer,
        limits: &Limits,
        now: Timestamp,
    ) -> Option<Short> {
        narrowest(&self.held(payer, limits, now), Account::counted)
    }

    fn held(&self, payer: &Payer, limits: &Limits, now: Timestamp) -> Vec<Held> {
        let own = limits.request.map(|limit| Held {
            scope: BudgetScope::Request,
            account: None,
            limit: limit.0,
            standing: Account::default(),
        });
        let accounts = AccountId::of(payer, now).into_iter().filter_map(|(scope, id)| {
            let limit = self.limit(&id, limits.of(scope));
            let standing = self.account(&id);
            Some(Held { scope, account: Some(id), limit: limit?.0, standing })
        });
        own.into_iter().chain(accounts).collect()
    }
}

/// The limit with the least left; the narrowest scope of several.
fn narrowest(held: &[Held], used: impl Fn(&Account) -> u64) -> Option<Short> {
    held.iter()
        .map(|held| Short {
            scope: held.scope,
            left: MicroUsd(held.limit.saturating_sub(used(&held.standing))),
            limit: MicroUsd(held.limit),
        })
        .min_by_key(|short| (short.left, short.scope))
}

/// A map whose keys are not text, as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}
