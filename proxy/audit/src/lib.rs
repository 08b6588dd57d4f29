//! The ledger: one append-only chain of entries that everything durable is part of.
//!
//! State in memory is a [`View`] of it: it can be thrown away and rebuilt. So there is one awaited
//! write per request and one crash story to prove: **what was acknowledged is there, unchanged, or
//! the ledger says so before anything is admitted.**
//!
//! - [`Ledger::append`] numbers, links, seals and syncs an entry on one writer's thread, applies it
//!   to the view, and only then acknowledges it. Waiters share a sync. A sync that fails is never
//!   tried again: the ledger stops ([`LedgerError::Poisoned`]), and the next start recovers from
//!   what the disk holds.
//! - [`Ledger::open`] starts from the newest snapshot that the ledger vouches for, cuts off what a
//!   crash left half written, and names it in an entry. A ledger that falls short of its high-water
//!   mark opens as [`Opened::Behind`], which only an operator can turn into a ledger.
//! - [`Reader`] follows a ledger that a gate writes to; [`verify()`] checks one from its files.
//! - [`Flood`] keeps a flood of refusals from filling it.
//!
//! # On disk
//!
//! Entries have one canonical binary encoding. It is hashed as an RFC 6962 leaf, and these very
//! bytes are stored, sealed with AES-256-GCM in a frame that tells how many entries were durable
//! when it was written. Frames fill segments: files of fixed size that were written with zeros
//! before, so that a sync moves data only and a full disk is known ahead of need. Each segment has
//! its own data key, wrapped by a key from the [`MasterKey`]. At a segment's end come a snapshot of
//! the view, whose digest is the next segment's first entry, and a signed checkpoint (C2SP). The
//! high-water mark lies outside the segments' folder, at best in another place. The format, down to
//! the byte, is in `docs/ledger-format.md`.
//!
//! There is no `async` here, and neither clock nor randomness: both are given in [`Options`].

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
pub use entry::{Body, Commitment, Draft, Entry, Fact, Hash, Kind, MAX_IDENTITY, Who};
pub use error::{LedgerError, OpenError};
pub use flood::{
    AGENT_ENTRIES, Admission, Counted, Flood, Refused, SHARES, SINGLE_REFUSALS, Source, TRACKED,
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
