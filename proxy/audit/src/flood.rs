//! Keeps a flood of refusals out of the ledger without losing count of it.
//!
//! Pure: time is an argument, in microseconds since the Unix epoch, and nothing is written here.
//! The caller enters what is told to be an entry, and a [`Kind::Refusals`](crate::Kind::Refusals)
//! entry for each [`Counted`] that comes due.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Refusals of one agent, rule and reason that are entries of their own, each second.
pub const SINGLE_REFUSALS: u32 = 20;

/// Entries that one agent may write each second before its exchanges are refused. A request that
/// is forwarded takes two. It is a fraction of what a slow disk's group commit takes, so that one
/// agent cannot keep the others from being recorded.
pub const AGENT_ENTRIES: u32 = 20_000;

/// How many kinds of refusal are told apart at the same time. What comes beyond that is counted
/// together.
pub const TRACKED: usize = 4096;

/// How many agents may write in one second: several times as many as a gate has contracts for.
pub const SHARES: usize = 65_536;

const SECOND: u64 = 1_000_000;
/// The least time between two looks at all that is counted, which a refusal would else have to take
/// each time.
const LOOK: u64 = SECOND / 10;

/// Whose refusals are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An agent whose identity is known.
    Agent(String),
    /// Where something came from that failed before an identity was known: an address, a listener.
    Peer(String),
    /// Everybody beyond [`TRACKED`].
    Others,
}

/// What is refused, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refused {
    /// Whose request.
    pub source: Source,
    /// The rule that refused it.
    pub rule: String,
    /// Why.
    pub reason: String,
}

/// Equal refusals that are one entry together: the body of [`Kind::Refusals`](crate::Kind::Refusals).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What was refused.
    #[serde(flatten)]
    pub refused: Refused,
    /// How many times, beside those that are entries of their own.
    pub count: u64,
    /// When the first of them came, microseconds since the Unix epoch.
    pub from: u64,
    /// When the last of them came.
    pub to: u64,
}

/// What becomes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It is an entry of its own.
    Entry,
    /// It is counted, and part of a later [`Counted`].
    Counted,
}

/// One second of equal refusals.
#[derive(Debug, Clone)]
struct Second {
    began: u64,
    singles: u32,
    count: u64,
    from: u64,
    to: u64,
}

/// The refusals of the last second and the share of each agent.
#[derive(Debug, Default)]
pub struct Flood {
    seconds: BTreeMap<Refused, Second>,
    /// No second is over before.
    quiet_until: u64,
    /// When each agent's second began, and how much it wrote in it.
    shares: BTreeMap<String, (u64, u32)>,
    /// When shares of seconds that are over were last looked for.
    looked: u64,
}

impl Flood {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new() -> Flood {
        Flood::default()
    }

    /// Says what becomes of a refusal at `now`. Ask [`Flood::due`] first: it ends the seconds that
    /// are over.
    pub fn refuse(&mut self, refused: Refused, now: u64) -> Admission {
        let refused = self.tracked(refused);
        let allowed = match refused.source {
            Source::Agent(_) => SINGLE_REFUSALS,
            // Whoever has no identity makes up as many addresses as it likes.
            Source::Peer(_) | Source::Others => 0,
        };
        let fresh = Second { began: now, singles: 0, count: 0, from: now, to: now };
        if self.seconds.is_empty() {
            self.quiet_until = now.saturating_add(SECOND);
        }
        let second = self.seconds.entry(refused).or_insert(fresh);
        if second.count == 0 && now.saturating_sub(second.began) >= SECOND {
            (second.began, second.singles) = (now, 0);
        }
        if second.count == 0 && second.singles < allowed {
            second.singles += 1;
            return Admission::Entry;
        }
        if second.count == 0 {
            second.from = now;
        }
        second.count += 1;
        second.to = second.to.max(now);
        Admission::Counted
    }

    /// The refusal as it is told apart: as itself while there is room, then as one of the others.
    fn tracked(&self, refused: Refused) -> Refused {
        if self.seconds.len() < TRACKED || self.seconds.contains_key(&refused) {
            return refused;
        }
        // Rules and reasons are closed lists, so these few more are bounded too.
        Refused { source: Source::Others, ..refused }
    }

    /// What was counted in seconds that are over at `now`: each is to be entered. Where there is much,
    /// it may be a tenth of a second late.
    #[must_use]
    pub fn due(&mut self, now: u64) -> Vec<Counted> {
        if now < self.quiet_until {
            return Vec::new();
        }
        let counted = self.end(|second| now.saturating_sub(second.began) >= SECOND);
        let next = self.seconds.values().map(|second| second.began.saturating_add(SECOND)).min();
        self.quiet_until = next.unwrap_or_default().max(now.saturating_add(LOOK));
        counted
    }

    /// Everything that is counted, whatever the time: for the end of the process.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Counted> {
        self.end(|_| true)
    }

    fn end(&mut self, over: impl Fn(&Second) -> bool) -> Vec<Counted> {
        let ended = self.seconds.extract_if(.., |_, second| over(second));
        let counted = ended.filter(|(_, second)| second.count > 0);
        counted
            .map(|(refused, Second { count, from, to, .. })| Counted { refused, count, from, to })
            .collect()
    }

    /// When [`Flood::due`] has something next, if anything is counted.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.seconds
            .values()
            .filter(|second| second.count > 0)
            .map(|second| second.began + SECOND)
            .min()
    }

    /// Takes one entry from the share of `agent`; `false` where it is used up for this second, and
    /// the exchange is to be refused and counted.
    #[must_use]
    pub fn share(&mut self, agent: &str, now: u64) -> bool {
        if let Some((began, used)) = self.shares.get_mut(agent) {
            if now.saturating_sub(*began) >= SECOND {
                (*began, *used) = (now, 0);
            }
            *used = used.saturating_add(1);
            return *used <= AGENT_ENTRIES;
        }
        if self.shares.len() >= SHARES && now.saturating_sub(self.looked) >= LOOK {
            self.looked = now;
            self.shares.retain(|_, (began, _)| now.saturating_sub(*began) < SECOND);
        }
        // With more agents at work in one second than are told apart, a new one has no share.
        let room = self.shares.len() < SHARES;
        if room {
            self.shares.insert(agent.to_owned(), (now, 1));
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: Source) -> Refused {
        Refused { source, rule: "filtering/destination".into(), reason: "unlisted".into() }
    }

    fn agent(name: &str) -> Refused {
        refused(Source::Agent(name.into()))
    }

    #[test]
    fn the_first_twenty_of_a_second_are_entries_and_the_rest_is_one() {
        let mut flood = Flood::new();
        let entries =
            (0..1000).filter(|at| flood.refuse(agent("a"), *at) == Admission::Entry).count();
        assert_eq!(entries, 20);
        assert_eq!(flood.due(999_999), []);
        assert_eq!(flood.next_due(), Some(SECOND));
        let expected = Counted { refused: agent("a"), count: 980, from: 20, to: 999 };
        assert_eq!(flood.due(SECOND), [expected]);
        assert_eq!(flood.due(2 * SECOND), []);
        assert_eq!(flood.refuse(agent("a"), SECOND), Admission::Entry);
    }

    #[test]
    fn nothing_is_lost_however_refusals_are_spread_over_time() {
        let (mut flood, mut entries, mut counted) = (Flood::new(), 0, 0);
        for step in 0..5000u64 {
            let now = step * step % 7 * 40_000 + step * 9_000;
            counted += flood.due(now).iter().map(|counted| counted.count).sum::<u64>();
            entries += u64::from(flood.refuse(agent("a"), now) == Admission::Entry);
        }
        counted += flood.drain().iter().map(|counted| counted.count).sum::<u64>();
        assert_eq!(entries + counted, 5000);
        assert!(entries < 46 * 20, "{entries}");
    }

    #[test]
    fn agents_rules_and_reasons_are_told_apart() {
        let mut flood = Flood::new();
        for number in 0..30 {
            assert_eq!(flood.refuse(agent("a"), 0) == Admission::Entry, number < 20);
        }
        assert_eq!(flood.refuse(agent("b"), 0), Admission::Entry);
        let other = Refused { reason: "private address".into(), ..agent("a") };
        assert_eq!(flood.refuse(other, 0), Admission::Entry);
    }

    #[test]
    fn what_has_no_identity_is_only_counted() {
        let mut flood = Flood::new();
        assert_eq!(flood.refuse(refused(Source::Peer("198.18.0.1".into())), 0), Admission::Counted);
        assert_eq!(flood.due(SECOND).len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_the_count_is_kept() {
        let mut flood = Flood::new();
        for number in 0..70_000 {
            let peer = refused(Source::Peer(number.to_string()));
            assert_eq!(flood.refuse(peer, 0), Admission::Counted);
            assert_eq!(flood.share(&number.to_string(), 0), number < SHARES);
        }
        assert!(flood.seconds.len() <= TRACKED + 1 && flood.shares.len() <= SHARES);
        let counted = flood.due(SECOND);
        assert_eq!(counted.iter().map(|counted| counted.count).sum::<u64>(), 70_000);
        assert!(flood.share("another", SECOND), "what is over makes room");
    }

    #[test]
    fn all_that_is_counted_is_looked_at_ten_times_a_second_at_most() {
        let mut flood = Flood::new();
        // Each of the three is over at another time.
        for (name, began) in [("a", 0), ("b", 10), ("c", 20)] {
            for _ in 0..=SINGLE_REFUSALS {
                let _admission = flood.refuse(agent(name), began);
            }
        }
        assert_eq!(flood.due(SECOND).len(), 1);
        assert_eq!(flood.due(SECOND + 20), [], "not looked at again so soon");
        assert_eq!(flood.due(SECOND + LOOK).len(), 2);
    }

    #[test]
    fn an_agent_that_used_up_its_share_waits_for_the_next_second() {
        let mut flood = Flood::new();
        assert!((0..AGENT_ENTRIES).all(|_| flood.share("a", 5)));
        assert!(!flood.share("a", 6));
        assert!(flood.share("b", 6));
        assert!(flood.share("a", 5 + SECOND));
    }
}
