//! Limits and how far they are used, and an operator who gives more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use audit::{Kind, Who};
use decide::case::{MicroUsd, Timestamp};

use super::{ActError, Gate, live};
use crate::gate::protocol::{Amount, Answer, Budget, Raise, Raised};
use crate::money::books::{AccountId, Day, Purse};
use crate::record::BudgetSet;

/// What contracts of live runs say of an account: `None` is no limit.
type Contracts = BTreeMap<AccountId, Option<MicroUsd>>;

/// In the ledger first, then in force; who waits for the money is answered.
pub(super) async fn raise(gate: &Arc<Gate>, raise: Raise) -> Result<Answer, ActError> {
    let _turn = gate.turn.0.lock().await;
    let Raise { purse, amount, by } = raise;
    let now = gate.clock.now();
    let purse = named(gate, purse, now)?;
    let account = purse.at(now);
    let contracts = contracts(gate, now);
    let contract = contracts.get(&account).copied();
    if let (AccountId::Run(run), None) = (&account, contract) {
        return Err(ActError::NoRun(run.clone()));
    }
    if contract == Some(None) {
        return Err(ActError::NoLimit(account));
    }
    let from = gate.books.limit(&account, contract.flatten());
    let to = match (amount, from) {
        (Amount::To(to), Some(limit)) if to <= limit => {
            return Err(ActError::NotAbove { account, limit });
        }
        (Amount::To(to), _) => to,
        (Amount::By(by), Some(limit)) => MicroUsd(limit.0.saturating_add(by.0)),
        (Amount::By(_), None) => return Err(ActError::LimitUnknown(account)),
    };
    let body = BudgetSet { account: account.clone(), limit: to, by };
    let receipt = gate.journal.commit(Kind::Budget, about(&purse), &body).await?;
    gate.books.raise(account.clone(), to, now);
    Ok(Answer::Raised(Raised { entry: receipt.seq, account, from, to }))
}

/// A key may be named by its name.
fn named(gate: &Gate, purse: Purse, now: Timestamp) -> Result<Purse, ActError> {
    let Purse::KeyDay(which) = purse else { return Ok(purse) };
    if let Some(row) = gate.keys.show(&which, now) {
        return Ok(Purse::KeyDay(row.id));
    }
    if gate.keys.is_known(&which) { Ok(Purse::KeyDay(which)) } else { Err(ActError::NoKey(which)) }
}

/// Whom the entry is about.
fn about(purse: &Purse) -> Who {
    let name = |name: &String| Some(name.clone());
    match purse {
        Purse::Run(run) => Who { run: name(run), ..Who::default() },
        Purse::KeyDay(key) => Who { key: name(key), ..Who::default() },
        Purse::AgentDay(agent) | Purse::AgentMonth(agent) => {
            Who { agent: name(agent), ..Who::default() }
        }
        Purse::TeamDay(team) | Purse::TeamMonth(team) => Who { team: name(team), ..Who::default() },
    }
}

/// Every account of the present windows and of live runs.
pub(super) fn list(gate: &Gate) -> Answer {
    let now = gate.clock.now();
    let contracts = contracts(gate, now);
    let booked: BTreeMap<_, _> = gate.books.accounts(now).into_iter().collect();
    // Keys that nobody used today are in no account, and would only fill the page.
    let shown = |id: &&AccountId| !matches!(id, AccountId::KeyDay(..)) || booked.contains_key(*id);
    let ids: BTreeSet<&AccountId> = booked.keys().chain(contracts.keys().filter(shown)).collect();
    let budget = |account: &AccountId| {
        let standing = booked.get(account).copied().unwrap_or_default();
        let contract = contracts.get(account).copied().flatten();
        Budget {
            account: account.clone(),
            spent: MicroUsd(standing.spent),
            reserved: MicroUsd(standing.reserved),
            in_doubt: MicroUsd(standing.in_doubt),
            limit: gate.books.limit(account, contract),
        }
    };
    Answer::Budgets { budgets: ids.into_iter().map(budget).collect() }
}

/// The limits of the live runs' contracts. Where two contracts speak of one account, the higher one:
/// each request is held against its own.
fn contracts(gate: &Gate, now: Timestamp) -> Contracts {
    let (day, month) = (Day::of(now), Day::of(now).month());
    let mut contracts = Contracts::new();
    let mut key_days = BTreeMap::new();
    let mut say = |account: AccountId, limit: Option<MicroUsd>| {
        let said = contracts.entry(account).or_insert(limit);
        *said = (*said).zip(limit).map(|(one, other)| one.max(other));
    };
    for run in live(gate) {
        let terms = run.terms();
        let limits = terms.limits();
        let agent = || run.agent.clone();
        say(AccountId::Run(run.id.clone()), limits.run);
        say(AccountId::AgentDay(agent(), day), limits.agent_day);
        say(AccountId::AgentMonth(agent(), month), limits.agent_month);
        if let Some(team) = terms.policy.team.clone() {
            say(AccountId::TeamDay(team.clone(), day), limits.team_day);
            say(AccountId::TeamMonth(team, month), limits.team_month);
        }
        for key in gate.keys.given_to(&run.id) {
            say(AccountId::KeyDay(key, day), limits.key_day);
        }
        key_days.insert(agent(), limits.key_day);
    }
    for key in gate.keys.list(now) {
        if let Some(limit) = key_days.get(&key.agent) {
            say(AccountId::KeyDay(key.id, day), *limit);
        }
    }
    contracts
}
