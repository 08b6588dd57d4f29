//! Why an entry is not in the ledger, and why a ledger does not open.

use std::io;
use std::path::{Path, PathBuf};

/// Why an append failed. The entry is not acknowledged, and what it was to record must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The disk failed once, and what it holds is unknown until the ledger is opened anew.
    #[error("the ledger stopped, because {0}; restart the gate, which recovers from disk")]
    Poisoned(String),
    /// No room is left but the reserve for operators.
    #[error("no room is left for the ledger; free disk space in its folder")]
    Full,
    /// The entry is longer than an entry may be.
    #[error("an entry of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes of the encoded entry.
        bytes: usize,
        /// Bytes that an entry may have.
        limit: usize,
    },
    /// An identity is longer than [`crate::MAX_IDENTITY`].
    #[error("the identity {0} is over the limit of {max} bytes", max = crate::MAX_IDENTITY)]
    Identity(&'static str),
    /// More entries wait than may ([`crate::MAX_WAITING`]).
    #[error("too many entries wait to be written")]
    Overloaded,
    /// The ledger is closed.
    #[error("the ledger is closed")]
    Closed,
}

/// Why a ledger does not open, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes to it.
    #[error("{} is in use by another gate", path.display())]
    Busy {
        /// The ledger's folder.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A segment cannot be read where it must be readable.
    #[error("segment {segment} of {}, entry {seq}: {what}; see `tollgate audit verify`", path.display())]
    Damaged {
        /// The ledger's folder.
        path: PathBuf,
        /// The segment, by the number of its first entry.
        segment: u64,
        /// The entry.
        seq: u64,
        /// What is wrong.
        what: String,
    },
    /// The segment size is below [`crate::MIN_SEGMENT`].
    #[error("a segment of {0} bytes is too small, the least is {min}", min = crate::MIN_SEGMENT)]
    SegmentSize(u64),
    /// The first entry could not be written.
    #[error("cannot begin to write: {0}")]
    Begin(#[from] LedgerError),
}

impl OpenError {
    /// For `map_err`: what was being done to what.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Io { doing, path, source }
    }
}
