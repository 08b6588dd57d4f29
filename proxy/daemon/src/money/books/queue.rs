//! Who waits for money, in order, found by the accounts that they wait for.
//!
//! What changes on an account concerns the first of those who wait for it; whoever waits for other
//! accounts is not looked at. So a thousand exchanges of one agent that wait for its budget cost
//! another agent nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Notify;

use super::{AccountId, Reserve};

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiter>,
    by_account: BTreeMap<AccountId, BTreeSet<u64>>,
    tickets: u64,
}

/// One exchange that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ask: Arc<Reserve>,
    pub(super) wake: Arc<Notify>,
    /// Where others have set the rest aside, or somebody earlier waits.
    pub(super) accounts: BTreeSet<AccountId>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Every account that somebody waits for.
    pub(super) fn accounts(&self) -> Vec<AccountId> {
        self.by_account.keys().cloned().collect()
    }

    /// Takes the last place, for these accounts.
    pub(super) fn join(
        &mut self,
        ask: Reserve,
        accounts: BTreeSet<AccountId>,
    ) -> (u64, Arc<Notify>) {
        self.tickets += 1;
        let wake = Arc::new(Notify::new());
        self.enter(self.tickets, &accounts);
        let waiter = Waiter { ask: Arc::new(ask), wake: Arc::clone(&wake), accounts };
        self.waiting.insert(self.tickets, waiter);
        (self.tickets, wake)
    }

    /// Who waits longest for `account`.
    pub(super) fn first(&self, account: &AccountId) -> Option<(u64, Arc<Reserve>)> {
        let ticket = *self.by_account.get(account)?.first()?;
        Some((ticket, Arc::clone(&self.waiting.get(&ticket)?.ask)))
    }

    /// Those of `accounts` for which somebody waits who came before `ticket`.
    pub(super) fn behind(
        &self,
        accounts: impl Iterator<Item = AccountId>,
        ticket: u64,
    ) -> BTreeSet<AccountId> {
        let first = |account: &AccountId| self.by_account.get(account)?.first().copied();
        accounts.filter(|account| first(account).is_some_and(|first| first < ticket)).collect()
    }

    /// Lets who has `ticket` wait for other accounts; those that it waits for no longer come back.
    pub(super) fn moves(&mut self, ticket: u64, to: &BTreeSet<AccountId>) -> Vec<AccountId> {
        let Some(waiter) = self.waiting.get_mut(&ticket) else { return Vec::new() };
        let from = std::mem::replace(&mut waiter.accounts, to.clone());
        self.exit(ticket, &from);
        self.enter(ticket, to);
        from.difference(to).cloned().collect()
    }

    /// Gives the place up.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        self.exit(ticket, &waiter.accounts);
        Some(waiter)
    }

    fn enter(&mut self, ticket: u64, accounts: &BTreeSet<AccountId>) {
        for account in accounts {
            self.by_account.entry(account.clone()).or_default().insert(ticket);
        }
    }

    fn exit(&mut self, ticket: u64, accounts: &BTreeSet<AccountId>) {
        for account in accounts {
            if let Some(tickets) = self.by_account.get_mut(account) {
                tickets.remove(&ticket);
                if tickets.is_empty() {
                    self.by_account.remove(account);
                }
            }
        }
    }
}
