//! What follows from the ledger: money, keys and kill switches. It can be thrown away and rebuilt.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use audit::{Entry, Kind, RestoreError, View};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::keys::{self, KeyEvent, KeyUsed};
use crate::kills::Switches;
use crate::money::books::{self, Booked, Closed, MoneyEvent, Raised, Settled};
use crate::record::{self, BudgetSet, RunEvent, Switched};

/// The views, as the ledger's writer keeps them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Views {
    /// Money.
    pub books: books::State,
    /// Virtual keys.
    pub keys: keys::State,
    /// Kill switches.
    pub switches: Switches,
    /// Control groups that are attached, with since when, microseconds since the epoch.
    #[serde(default)]
    pub attachments: BTreeMap<String, u64>,
    /// The first entry that could not be understood; a gate does not start on less than it was told.
    pub unread: Option<u64>,
}

/// One handle for the ledger's writer and one for the gate that starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Views>>);

/// What of a decision or an outcome the views follow: its first members.
#[expect(
    clippy::option_option,
    reason = "the inner one is the member's own: an outcome without money"
)]
#[derive(Default)]
struct Beginning {
    booked: Option<Booked>,
    used: Option<KeyUsed>,
    /// The inner one is the member's own.
    settled: Option<Option<Settled>>,
}

/// Why the reading of a body ended before its end.
const ENOUGH: &str = "enough was read";

/// The name of a member.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Member {
    Booked,
    Used,
    Settled,
    #[serde(other)]
    Other,
}

impl Beginning {
    /// Reads `body` up to the first member that no view follows. All of it is some thousand bytes, for
    /// every request, and the writer's thread waits for nobody.
    fn read(body: &str) -> Result<Self, serde_json::Error> {
        let (mut beginning, mut enough) = (Self::default(), false);
        let mut reader = serde_json::Deserializer::from_str(body);
        match reader.deserialize_map(Members(&mut beginning, &mut enough)) {
            Err(error) if !enough => Err(error),
            Ok(()) | Err(_) => Ok(beginning),
        }
    }
}

struct Members<'a>(&'a mut Beginning, &'a mut bool);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decision or an outcome")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key()? {
            match name {
                Member::Booked => self.0.booked = members.next_value()?,
                Member::Used => self.0.used = members.next_value()?,
                Member::Settled => self.0.settled = Some(members.next_value()?),
                Member::Other => {
                    *self.1 = true;
                    return Err(serde::de::Error::custom(ENOUGH));
                }
            }
        }
        Ok(())
    }
}

/// What of an outcome the views follow.
#[derive(Deserialize)]
struct OutcomePart {
    settled: Option<Settled>,
}

impl Shared {
    /// The views as they are now.
    pub(crate) fn now(&self) -> Views {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl View for Shared {
    fn apply(&mut self, entry: &Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).apply(entry);
    }

    fn snapshot(&self) -> Vec<u8> {
        // Plain data with text keys: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(&*self.0.lock().unwrap_or_else(PoisonError::into_inner))
            .unwrap_or_default()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let views =
            serde_json::from_slice(bytes).map_err(|error| RestoreError(error.to_string()))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = views;
        Ok(())
    }
}

impl Views {
    /// Adds the next entry.
    fn apply(&mut self, entry: &Entry) {
        if self.take_in(entry).is_err() && self.unread.is_none() {
            self.unread = Some(entry.seq);
        }
    }

    /// Of what operators do to a service, only what is attached has to be known later.
    fn operated(&mut self, body: &audit::Body) -> Result<(), serde_json::Error> {
        match body.read::<record::Operated>()? {
            record::Operated::Attached { cgroup, at, .. } => {
                self.attachments.insert(cgroup, at);
            }
            record::Operated::Detached { cgroup, .. } => {
                self.attachments.remove(&cgroup);
            }
            record::Operated::Other => {}
        }
        Ok(())
    }

    fn take_in(&mut self, entry: &Entry) -> Result<(), serde_json::Error> {
        let body = &entry.body;
        match entry.kind {
            Kind::Decision => {
                let Beginning { booked, used, .. } = Beginning::read(body.as_str())?;
                if let Some(booked) = booked {
                    self.books.take_in(MoneyEvent::Booked(booked));
                }
                if let Some(used) = used {
                    self.keys.apply(&KeyEvent::Used(used));
                }
            }
            Kind::Outcome => {
                let settled = match Beginning::read(body.as_str())?.settled {
                    Some(settled) => settled,
                    None => body.read::<OutcomePart>()?.settled,
                };
                if let Some(settled) = settled {
                    self.books.take_in(MoneyEvent::Settled(settled));
                }
            }
            Kind::Key => self.keys.apply(&body.read()?),
            Kind::Kill => {
                self.switches.insert(body.read::<Switched>()?.target.into());
            }
            Kind::Unkill => {
                self.switches.remove(&body.read::<Switched>()?.target.into());
            }
            Kind::Budget => {
                let BudgetSet { account, limit, .. } = body.read()?;
                self.books.apply(&MoneyEvent::Raised(Raised { account, limit }));
            }
            Kind::Operator => self.operated(body)?,
            Kind::Run => {
                let record::Run { run, event, .. } = body.read()?;
                if event == RunEvent::Ended {
                    self.books.apply(&MoneyEvent::Closed(Closed { run: run.clone() }));
                    self.keys.apply(&KeyEvent::Closed(keys::RunClosed { run }));
                }
            }
            Kind::Refusals
            | Kind::Approval
            | Kind::Agent
            | Kind::Policy
            | Kind::Fact
            | Kind::Drops
            | Kind::Snapshot
            | Kind::Recovered
            | Kind::Attempt
            | Kind::Inbound => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Beginning;

    #[test]
    fn of_a_decision_only_the_beginning_is_read() {
        let body = r#"{"booked":null,"used":{"id":"k_1","run":"R"},"id":"x","case":{"whatever"#;
        let read = Beginning::read(body).unwrap();
        assert_eq!((read.booked, read.used.unwrap().id), (None, "k_1".to_owned()));
    }

    #[test]
    fn a_beginning_that_cannot_be_read_is_not_passed_over() {
        assert!(Beginning::read(r#"{"booked":7,"used":null,"id":"x"}"#).is_err());
        assert!(Beginning::read(r#"{"booked":null"#).is_err());
        assert!(Beginning::read("").is_err());
    }
}
