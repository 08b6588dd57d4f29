//! The ledger as its callers see it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::chain::Point;
use crate::entry::{Draft, Fact, Kind};
use crate::error::LedgerError;
use crate::queue::{Queue, Receipt, Urgency, Waiting};

/// A ledger that is open for writing. Dropping it closes it.
pub struct Ledger {
    pub(crate) queue: Arc<Queue>,
    pub(crate) writer: Mutex<Option<JoinHandle<()>>>,
    pub(crate) verifier_key: String,
    pub(crate) recovered: Option<TornTail>,
}

/// Bytes that a crash left half written behind the last entry. Nobody was told that they are
/// there, so they are cut off.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TornTail {
    /// The segment, by the number of its first entry.
    pub segment: u64,
    /// Where in its file they begin.
    pub offset: u64,
    /// How far they reach.
    pub bytes: u64,
    /// The number that the first entry in them had, or would have had.
    pub seq: u64,
}

/// How a ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How many entries are durable.
    pub entries: u64,
    /// How many wait.
    pub waiting: usize,
    /// Whether the last ordinary entry found no room on the disk.
    pub full: bool,
    /// How many snapshots and checkpoints could not be written. Entries are not affected; the
    /// next start takes longer.
    pub skipped: u64,
    /// Why it stopped, if it did.
    pub stopped: Option<LedgerError>,
}

impl Ledger {
    /// Enters `draft`. `ack` is called once the entry is durable, or with the reason why it is
    /// not; on the writer's thread, or here if it is refused at once. It must be quick: everybody
    /// waits for it. If a view or an acknowledgement panics, others of the same batch may be
    /// dropped without a call: take that for a failure.
    pub fn append(
        &self,
        draft: Draft,
        urgency: Urgency,
        ack: impl FnOnce(Result<Receipt, LedgerError>) + Send + 'static,
    ) {
        self.queue.push(Waiting { draft, fact: None, ack: Box::new(ack) }, urgency, false);
    }

    /// As [`Ledger::append`], for a draft whose body names `fact` by its digest. Where the segment
    /// that the draft comes to lie in does not hold the fact yet, it is entered there just before.
    pub fn append_naming(
        &self,
        draft: Draft,
        fact: Arc<Fact>,
        urgency: Urgency,
        ack: impl FnOnce(Result<Receipt, LedgerError>) + Send + 'static,
    ) {
        let waiting = Waiting { draft, fact: Some(fact), ack: Box::new(ack) };
        self.queue.push(waiting, urgency, false);
    }

    /// Enters `draft` with [`Urgency::Commit`] and waits until it is durable.
    ///
    /// # Errors
    /// Why the entry is not acknowledged.
    pub fn append_wait(&self, draft: Draft) -> Result<Receipt, LedgerError> {
        let (done, wait) = mpsc::sync_channel(1);
        self.append(draft, Urgency::Commit, move |result| {
            // The receiver waits below for as long as this exists.
            drop(done.send(result));
        });
        let gone = |_| LedgerError::Poisoned("its writer ended".to_owned());
        wait.recv().map_err(gone)?
    }

    /// Says that an exchange is being decided, so that the writer knows whether more is on the
    /// way. Take it when deciding begins and append by it, or drop it.
    #[must_use]
    pub fn announce(&self) -> Announcement {
        self.queue.announce();
        Announcement { queue: Some(Arc::clone(&self.queue)) }
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let (waiting, stopped) = self.queue.load();
        Status {
            entries: self.queue.durable.load(Ordering::Acquire),
            waiting,
            full: self.queue.full.load(Ordering::Relaxed),
            skipped: self.queue.skipped.load(Ordering::Relaxed),
            stopped,
        }
    }

    /// The public key that its checkpoints verify under, in the text form of C2SP `signed-note`.
    #[must_use]
    pub fn verifier_key(&self) -> &str {
        &self.verifier_key
    }

    /// The torn tail that was cut off when it was opened, if there was one.
    #[must_use]
    pub fn recovered(&self) -> Option<&TornTail> {
        self.recovered.as_ref()
    }

    /// Writes what waits, marks and signs the end, and stops. Later appends fail.
    pub fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // An acknowledgement may drop the last handle: the writer does not wait for itself. Its own
        // panics are caught and reported by `poisoned`.
        let here = std::thread::current().id();
        let other = writer.filter(|writer| writer.thread().id() != here);
        drop(other.map(JoinHandle::join));
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// That an exchange is being decided (see [`Ledger::announce`]).
#[derive(Debug)]
pub struct Announcement {
    queue: Option<Arc<Queue>>,
}

impl Announcement {
    /// Enters the decision: [`Ledger::append`] with [`Urgency::Commit`].
    pub fn append(
        mut self,
        draft: Draft,
        ack: impl FnOnce(Result<Receipt, LedgerError>) + Send + 'static,
    ) {
        if let Some(queue) = self.queue.take() {
            queue.push(Waiting { draft, fact: None, ack: Box::new(ack) }, Urgency::Commit, true);
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.withdraw();
        }
    }
}

/// Whether an entry's point is kept in the high-water mark before it is acknowledged.
pub(crate) const fn marks(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Kill | Kind::Unkill | Kind::Operator | Kind::Budget | Kind::Key | Kind::Approval
    )
}

/// What a ledger that falls short of what it acknowledged has, and what it should have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Loss {
    /// What can be kept.
    pub kept: Point,
    /// What was acknowledged, if that is known.
    pub acknowledged: Option<Point>,
    /// What is wrong.
    pub found: String,
}
