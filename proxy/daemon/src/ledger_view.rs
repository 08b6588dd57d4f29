//! The ledger as the command line reads it: from the files, with or without a gate.

use std::collections::BTreeMap;

use audit::{Entry, Fact, Hash, Kind, MasterKey, OpenError, Reader};
use decide::case::{Case, Timestamp};
use decide::chain::Said as Spoken;

use crate::folder::StateFolder;
use crate::gate::socket::{KeyError, load_master_key};
use crate::record::{BudgetSet, Concluded, Decided, Outcome, Refusals, Run, Switched, TrailFact};

/// Why the ledger of a state folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// Nothing was ever entered.
    #[error("{0} has no ledger: nothing was recorded there yet")]
    Empty(String),
    /// Its key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The files cannot be read.
    #[error(transparent)]
    Files(#[from] OpenError),
}

/// What an entry says, as far as this version can tell.
#[derive(Debug)]
pub(crate) enum Said {
    /// An exchange was decided.
    Decided(Box<Decided>),
    /// An exchange ended.
    Outcome(Box<Outcome>),
    /// A run began or ended.
    Run(Box<Run>),
    /// A kill switch was set.
    Killed(Switched),
    /// A kill switch was lifted.
    Unkilled(Switched),
    /// A limit was set.
    Budget(BudgetSet),
    /// Refusals that were only counted.
    Refusals(Refusals),
    /// Something that no view of the command line needs.
    Other,
    /// A body that this version cannot read, and why.
    Unreadable(String),
}

impl Said {
    /// Reads the body of `entry`, which may name one of `trails`.
    pub(crate) fn by(entry: &Entry, trails: &Trails) -> Self {
        let body = &entry.body;
        let said = match entry.kind {
            Kind::Decision => body.read().map(|decided| trails.resolve(decided)),
            Kind::Outcome => body.read().map(|outcome| Self::Outcome(Box::new(outcome))),
            Kind::Run => body.read().map(|run| Self::Run(Box::new(run))),
            Kind::Kill => body.read().map(Self::Killed),
            Kind::Unkill => body.read().map(Self::Unkilled),
            Kind::Budget => body.read().map(Self::Budget),
            Kind::Refusals => counted(entry).map(Self::Refusals),
            Kind::Key
            | Kind::Operator
            | Kind::Approval
            | Kind::Agent
            | Kind::Policy
            | Kind::Fact
            | Kind::Drops
            | Kind::Snapshot
            | Kind::Recovered => Ok(Self::Other),
        };
        said.unwrap_or_else(|error| Self::Unreadable(error.to_string()))
    }
}

/// The trails that decisions name, as they came along.
#[derive(Debug, Default)]
pub(crate) struct Trails(BTreeMap<Hash, Vec<Spoken>>);

impl Trails {
    /// Keeps the trail that `entry` holds, if that is what it is.
    fn note(&mut self, entry: &Entry) {
        if entry.kind == Kind::Fact
            && let Ok(TrailFact { trail }) = entry.body.read()
        {
            self.0.insert(Fact::digest_of(&entry.body), trail.into_owned());
        }
    }

    fn resolve(&self, decided: Decided<Case, Concluded<'_>>) -> Said {
        let named = |name: &Hash| self.0.get(name).cloned();
        match decided.map(|concluded| concluded.resolve(named)) {
            Some(decided) => Said::Decided(Box::new(decided)),
            None => Said::Unreadable("the trail that it names does not stand before it".to_owned()),
        }
    }
}

/// The flood's own form names a source in place of an agent.
fn counted(entry: &Entry) -> serde_json::Result<Refusals> {
    entry.body.read::<Refusals>().or_else(|_other_form| {
        let audit::Counted { refused, count, .. } = entry.body.read()?;
        let agent = match refused.source {
            audit::Source::Agent(name) | audit::Source::Peer(name) => name,
            audit::Source::Others => "others".to_owned(),
        };
        Ok(Refusals { agent, rule: refused.rule, reason: refused.reason, count })
    })
}

/// A position in the ledger of a state folder.
#[derive(Debug)]
pub(crate) struct LedgerView {
    reader: Reader,
    last: Hash,
    unlinked: Option<u64>,
    trails: Trails,
}

impl LedgerView {
    /// Begins at the first entry.
    pub(crate) fn open(state: &StateFolder) -> Result<Self, ViewError> {
        let key = master(state)?;
        match Reader::open(&state.path(), &key, 0) {
            Ok(reader) => {
                let trails = Trails::default();
                Ok(Self { reader, last: Hash::ZERO, unlinked: None, trails })
            }
            Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(ViewError::Empty(state.shown().display().to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next entry, or `None` where there is none yet.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ViewError> {
        let entry = self.reader.next()?;
        if let Some(entry) = &entry {
            if entry.prev != self.last {
                self.unlinked.get_or_insert(entry.seq);
            }
            self.last = entry.hash;
        }
        Ok(entry)
    }

    /// The first entry, of those read so far, that does not link to the one before.
    pub(crate) const fn unlinked(&self) -> Option<u64> {
        self.unlinked
    }

    /// Shows every entry that there is to `see`.
    pub(crate) fn each(&mut self, mut see: impl FnMut(&Entry, Said)) -> Result<(), ViewError> {
        while let Some(entry) = self.next()? {
            self.trails.note(&entry);
            let said = Said::by(&entry, &self.trails);
            see(&entry, said);
        }
        Ok(())
    }
}

/// The key that the ledger is sealed under.
pub(crate) fn master(state: &StateFolder) -> Result<MasterKey, ViewError> {
    match load_master_key(state) {
        Ok(key) => Ok(MasterKey::new(*key)),
        Err(KeyError::Absent(folder)) => Err(ViewError::Empty(folder)),
        Err(error) => Err(error.into()),
    }
}

/// When an entry was made.
pub(crate) const fn time(entry: &Entry) -> Timestamp {
    Timestamp(entry.time)
}

#[cfg(test)]
mod tests {
    use audit::{Body, Who};
    use decide::policy::Mode;
    use decide::{Decision, Outcome as Conclusion, RuleId, Verdict};

    use super::*;
    use crate::record::Amended;

    fn entry(kind: Kind, body: Body) -> Entry {
        let (prev, hash, who) = (Hash::ZERO, Hash::ZERO, Who::default());
        Entry { seq: 0, prev, time: 0, kind, who, body, commitment: None, hash }
    }

    fn decided(decision: Concluded<'_>) -> Entry {
        let body = Body::of(&Decided {
            booked: None,
            used: None,
            id: "X".into(),
            trace: "X".into(),
            run: "R".into(),
            agent: "a".into(),
            mode: Mode::Enforce,
            case: Case::opened("X".into(), Timestamp(1)),
            decision,
            policy: String::new(),
            credential: None,
            amended: Amended::default(),
        });
        entry(Kind::Decision, body.unwrap())
    }

    #[test]
    fn a_trail_is_read_back_whether_it_is_named_or_written_out_and_a_missing_one_is_no_trail() {
        let spoken = Spoken { rule: RuleId("ingress/kill_switch"), verdict: Verdict::Pass };
        let outcome = Conclusion::Forward { redact: false };
        let decision = Decision { outcome, observed: None, trail: vec![spoken] };
        let fact = Body::of(&TrailFact { trail: decision.trail.as_slice().into() }).unwrap();
        let named = decided(Concluded::of(&decision, Some(Fact::digest_of(&fact))));
        let whole = decided(Concluded::of(&decision, None));
        let mut trails = Trails::default();
        let read = |entry: &Entry, trails: &Trails| {
            let Said::Decided(decided) = Said::by(entry, trails) else { return None };
            Some(decided.decision)
        };
        assert_eq!(read(&whole, &trails), Some(decision.clone()));
        assert_eq!(read(&named, &trails), None);
        trails.note(&entry(Kind::Fact, fact));
        assert_eq!(read(&named, &trails), Some(decision));
    }
}
