//! The ledger as the command line reads it: from the files, with or without a gate.

use audit::{Entry, Hash, Kind, MasterKey, OpenError, Reader};
use decide::case::Timestamp;

use crate::folder::StateFolder;
use crate::gate::socket::{KeyError, load_master_key};
use crate::record::{BudgetSet, Decided, Outcome, Refusals, Run, Switched};

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
    Run(Run),
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
    /// Reads the body of `entry`.
    pub(crate) fn by(entry: &Entry) -> Self {
        let body = &entry.body;
        let said = match entry.kind {
            Kind::Decision => body.read().map(|decided| Self::Decided(Box::new(decided))),
            Kind::Outcome => body.read().map(|outcome| Self::Outcome(Box::new(outcome))),
            Kind::Run => body.read().map(Self::Run),
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
}

impl LedgerView {
    /// Begins at the first entry.
    pub(crate) fn open(state: &StateFolder) -> Result<Self, ViewError> {
        let key = master(state)?;
        match Reader::open(&state.path(), &key, 0) {
            Ok(reader) => Ok(Self { reader, last: Hash::ZERO, unlinked: None }),
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
            let said = Said::by(&entry);
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
