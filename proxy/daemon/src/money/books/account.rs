//! The accounts that limits are held against, and the windows they last for.

use std::fmt;

use decide::case::{BudgetScope, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::Payer;

/// Microseconds of a day.
const DAY: u64 = 86_400_000_000;

/// A calendar day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

impl Day {
    /// The day that `at` falls into.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0 / DAY).unwrap_or(u32::MAX))
    }

    /// The calendar date; `None` beyond the year 9999.
    #[must_use]
    pub fn date(self) -> Option<jiff::civil::Date> {
        let since = jiff::Span::new().try_days(i64::from(self.0)).ok()?;
        jiff::civil::date(1970, 1, 1).checked_add(since).ok()
    }

    /// The calendar month, counted from January of the year 0. Beyond the calendar, one endless month.
    ///
    /// Reckoned in whole numbers, since every booking asks for it several times: years are taken to
    /// begin in March, so that the leap day is a year's last, and months have 153 days in five.
    #[must_use]
    pub const fn month(self) -> u32 {
        if self.0 > LAST_DAY {
            return u32::MAX;
        }
        let since = self.0 + MARCH_OF_0;
        let (era, day) = (since / ERA, since % ERA);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // March is 0.
        let month = (5 * day + 2) / 153;
        (era * 400 + year) * 12 + month + 2
    }
}

/// The last day of the year 9999.
const LAST_DAY: u32 = 2_932_896;
/// Days from the first of March of the year 0 to 1970-01-01.
const MARCH_OF_0: u32 = 719_468;
/// Days of 400 years.
const ERA: u32 = 146_097;

/// What a limit is held against: one of the payer's scopes in one window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountId {
    /// A run, from its beginning to its end.
    Run(String),
    /// A virtual key's day.
    KeyDay(String, Day),
    /// An agent's day.
    AgentDay(String, Day),
    /// An agent's month.
    AgentMonth(String, u32),
    /// A team's day.
    TeamDay(String, Day),
    /// A team's month.
    TeamMonth(String, u32),
}

/// What an operator raises: a run, or somebody's present day or month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purse {
    /// A run, by its id.
    Run(String),
    /// A virtual key's day, by its id.
    KeyDay(String),
    /// An agent's day.
    AgentDay(String),
    /// An agent's month.
    AgentMonth(String),
    /// A team's day.
    TeamDay(String),
    /// A team's month.
    TeamMonth(String),
}

impl Purse {
    /// The account of the window (UTC) that `now` falls into.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> AccountId {
        let day = Day::of(now);
        match self {
            Self::Run(run) => AccountId::Run(run.clone()),
            Self::KeyDay(key) => AccountId::KeyDay(key.clone(), day),
            Self::AgentDay(agent) => AccountId::AgentDay(agent.clone(), day),
            Self::AgentMonth(agent) => AccountId::AgentMonth(agent.clone(), day.month()),
            Self::TeamDay(team) => AccountId::TeamDay(team.clone(), day),
            Self::TeamMonth(team) => AccountId::TeamMonth(team.clone(), day.month()),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dated =
            |f: &mut fmt::Formatter<'_>, whose: &str, name: &str, day: &Day| match day.date() {
                Some(date) => write!(f, "{whose} {name} on {date}"),
                None => write!(f, "{whose} {name} on day {}", day.0),
            };
        let in_month = |f: &mut fmt::Formatter<'_>, whose: &str, name: &str, month: &u32| {
            write!(f, "{whose} {name} in {:04}-{:02}", month / 12, month % 12 + 1)
        };
        match self {
            Self::Run(run) => write!(f, "run {run}"),
            Self::KeyDay(key, day) => dated(f, "key", key, day),
            Self::AgentDay(agent, day) => dated(f, "agent", agent, day),
            Self::AgentMonth(agent, month) => in_month(f, "agent", agent, month),
            Self::TeamDay(team, day) => dated(f, "team", team, day),
            Self::TeamMonth(team, month) => in_month(f, "team", team, month),
        }
    }
}

impl AccountId {
    /// The scope that its limit belongs to.
    #[must_use]
    pub const fn scope(&self) -> BudgetScope {
        match self {
            Self::Run(_) => BudgetScope::Run,
            Self::KeyDay(..) => BudgetScope::KeyDay,
            Self::AgentDay(..) => BudgetScope::AgentDay,
            Self::AgentMonth(..) => BudgetScope::AgentMonth,
            Self::TeamDay(..) => BudgetScope::TeamDay,
            Self::TeamMonth(..) => BudgetScope::TeamMonth,
        }
    }

    /// The accounts that `payer` draws on at `at`, from the narrowest to the widest scope.
    #[must_use]
    pub fn of(payer: &Payer, at: Timestamp) -> Vec<(BudgetScope, Self)> {
        let day = Day::of(at);
        let month = day.month();
        let mut ids = vec![
            (BudgetScope::Run, Self::Run(payer.run.clone())),
            (BudgetScope::AgentDay, Self::AgentDay(payer.agent.clone(), day)),
            (BudgetScope::AgentMonth, Self::AgentMonth(payer.agent.clone(), month)),
        ];
        if !payer.key.is_empty() {
            ids.insert(1, (BudgetScope::KeyDay, Self::KeyDay(payer.key.clone(), day)));
        }
        if let Some(team) = &payer.team {
            ids.push((BudgetScope::TeamDay, Self::TeamDay(team.clone(), day)));
            ids.push((BudgetScope::TeamMonth, Self::TeamMonth(team.clone(), month)));
        }
        ids
    }

    /// The window of this account ended before `day`, so nothing new is ever booked on it.
    #[must_use]
    pub(super) fn over_by(&self, day: Day) -> bool {
        match self {
            Self::Run(_) => false,
            Self::KeyDay(_, own) | Self::AgentDay(_, own) | Self::TeamDay(_, own) => *own < day,
            Self::AgentMonth(_, own) | Self::TeamMonth(_, own) => *own < day.month(),
        }
    }
}

/// The state of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Micro-dollars spent for good.
    pub spent: u64,
    /// Micro-dollars set aside for open exchanges.
    pub reserved: u64,
    /// Micro-dollars that may have been spent, counted until somebody knows.
    pub in_doubt: u64,
}

impl Account {
    /// What no open exchange can give back.
    #[must_use]
    pub const fn gone(&self) -> u64 {
        self.spent.saturating_add(self.in_doubt)
    }

    /// Everything that counts against a limit.
    #[must_use]
    pub const fn counted(&self) -> u64 {
        self.gone().saturating_add(self.reserved)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(time.as_microsecond()).unwrap())
    }

    #[test]
    fn a_day_and_a_month_end_at_midnight_utc() {
        let last = Day::of(at("2028-02-29T23:59:59.999999Z"));
        let first = Day::of(at("2028-03-01T00:00:00Z"));
        assert_eq!(last.0 + 1, first.0);
        assert_eq!(last.month() + 1, first.month());
        assert_eq!(first.date().unwrap().to_string(), "2028-03-01");
    }

    #[test]
    fn a_month_is_the_one_of_the_date() {
        let by_date = |day: Day| {
            let date = day.date().unwrap();
            u32::from(date.year().unsigned_abs()) * 12 + u32::from(date.month().unsigned_abs()) - 1
        };
        for day in (0..=200_000).chain(LAST_DAY - 800..=LAST_DAY).map(Day) {
            assert_eq!(day.month(), by_date(day), "{day:?}");
        }
        assert_eq!(Day(LAST_DAY + 1).month(), u32::MAX);
        assert_eq!(Day(LAST_DAY + 1).date(), None);
    }

    #[test]
    fn a_purse_is_the_account_of_the_present_window() {
        let now = at("2026-11-21T23:59:59Z");
        let name = || String::from("x");
        for (purse, shown) in [
            (Purse::Run(name()), "run x"),
            (Purse::KeyDay(name()), "key x on 2026-11-21"),
            (Purse::AgentDay(name()), "agent x on 2026-11-21"),
            (Purse::AgentMonth(name()), "agent x in 2026-11"),
            (Purse::TeamDay(name()), "team x on 2026-11-21"),
            (Purse::TeamMonth(name()), "team x in 2026-11"),
        ] {
            assert_eq!(purse.at(now).to_string(), shown);
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_has_a_window_too() {
        assert_eq!(Day::of(Timestamp(u64::MAX)).month(), u32::MAX);
    }
}
