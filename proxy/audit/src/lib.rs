//! The ledger: format, hashing, recovery, verification.
mod chain;
mod disk;
mod entry;
mod error;
mod flood;
mod ledger;
mod mark;
mod note;
mod open;
mod options;
mod queue;
mod reader;
mod replay;
mod seal;
mod segment;
mod snapshot;
mod spare;
mod tree;
mod verify;
mod wire;
mod writer;

pub use chain::Point;
pub use entry::{Body, Commitment, Draft, Entry, Hash, Kind, MAX_IDENTITY, Who};
pub use error::{LedgerError, OpenError};
pub use flood::{
    AGENT_ENTRIES, Admission, Counted, Flood, Refused, SINGLE_REFUSALS, Source, TRACKED,
};
pub use ledger::{Announcement, Ledger, Loss, Status, TornTail};
pub use open::{Behind, Opened};
pub use options::{Clock, MIN_SEGMENT, Options, Poisoned, RestoreError, SEGMENT, View};
pub use queue::{MAX_WAITING, RIDE, Receipt, SPACING, Urgency};
pub use reader::Reader;
pub use seal::{MasterKey, Random};
pub use verify::{Fault, Report, verify};

/// The folder of the segments, in the state folder.
const LEDGER: &str = "ledger";
/// The folder of the snapshots.
const SNAPSHOTS: &str = "snapshots";
/// The folder of the signed checkpoints.
const CHECKPOINTS: &str = "checkpoints";
/// The folder of what an operator gave up.
const LOST: &str = "lost";
/// The high-water mark, where the options name no other place.
const MARK: &str = "checkpoint";

#[cfg(test)]
mod tests;
