//! What a ledger is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, RealDisk};
use crate::entry::Entry;
use crate::error::LedgerError;
use crate::seal::{MasterKey, Random};

/// Bytes of a segment, unless the options say otherwise.
pub const SEGMENT: u64 = 16 << 20;

/// Bytes that a segment has at least.
pub const MIN_SEGMENT: u64 = 8 << 10;

/// Bytes of a new ledger's first segment at most, so that the first start does not wait for a
/// large file to be filled.
pub(crate) const FIRST_SEGMENT: u64 = 1 << 20;

/// Tells the time in microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What is done when a ledger stops for good.
pub type Poisoned = Box<dyn FnOnce(&LedgerError) + Send>;

/// State that follows from the entries: it can be thrown away and rebuilt.
///
/// The writer's thread owns it and applies each entry once it is durable and before it is
/// acknowledged, so what is acknowledged is visible.
pub trait View: Send {
    /// Takes in the next entry.
    fn apply(&mut self, entry: &Entry);

    /// Everything of it, as bytes that [`View::restore`] reads.
    fn snapshot(&self) -> Vec<u8>;

    /// Becomes what the bytes say, or stays as it is.
    ///
    /// # Errors
    /// When the bytes are of a form that it does not read; the ledger then replays all entries.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;
}

/// A snapshot that a view cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be read: {0}")]
pub struct RestoreError(pub String);

/// What a ledger is opened with.
pub struct Options {
    /// The state folder: `ledger/`, `snapshots/` and `checkpoints/` are made in it.
    pub state: PathBuf,
    /// The file of the high-water mark, in `state` by default. In another place it also shows that
    /// the whole folder was put back to an older copy.
    pub mark: PathBuf,
    /// What everything is sealed under.
    pub master: MasterKey,
    /// The state that follows from the entries.
    pub view: Box<dyn View>,
    /// The time. The ledger never lets it run backwards.
    pub now: Clock,
    /// The source of keys and nonces.
    pub random: Random,
    /// Called once, from the writer's thread, when the ledger stops for good.
    pub poisoned: Poisoned,
    /// Bytes of a segment made from now on; [`SEGMENT`] by default, [`MIN_SEGMENT`] at least.
    pub segment_bytes: u64,
    pub(crate) disk: Arc<dyn Disk>,
}

impl Options {
    /// The usual options for the state folder `state`.
    #[must_use]
    pub fn new(
        state: impl Into<PathBuf>,
        master: MasterKey,
        view: Box<dyn View>,
        now: Clock,
        random: Random,
    ) -> Self {
        let state = state.into();
        Options {
            mark: state.join(crate::MARK),
            state,
            master,
            view,
            now,
            random,
            poisoned: Box::new(|_| {}),
            segment_bytes: SEGMENT,
            disk: Arc::new(RealDisk),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("state", &self.state)
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}
