//! Where a ledger stands: how many entries, what the last one is, and the root over all of them.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Hash};
use crate::tree::Edge;
use crate::wire::{Cursor, Malformed};

/// A point of a ledger that later points extend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// How many entries there are.
    pub size: u64,
    /// The RFC 6962 root over their hashes.
    pub root: Hash,
    /// The hash of the last entry, [`Hash::ZERO`] where there is none.
    pub last: Hash,
}

/// The chain up to an entry: what the next one must link to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    edge: Edge,
    pub(crate) last: Hash,
    pub(crate) time: u64,
}

impl Chain {
    /// The chain before the first entry.
    pub(crate) fn empty() -> Chain {
        Chain { edge: Edge::default(), last: Hash::ZERO, time: 0 }
    }

    /// A chain that is known from here on only: what it links to, but no root.
    pub(crate) fn resume(size: u64, last: Hash) -> Chain {
        Chain { edge: Edge::without_roots(size), last, time: 0 }
    }

    /// How many entries there are, which is the number of the next one.
    pub(crate) fn size(&self) -> u64 {
        self.edge.size()
    }

    /// This point, with its root.
    pub(crate) fn point(&self) -> Point {
        Point { size: self.size(), root: self.edge.root(), last: self.last }
    }

    /// Whether `entry` is the next one.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(), Malformed> {
        if entry.seq != self.size() {
            return Err(Malformed("its number is not the next one"));
        }
        if entry.prev != self.last {
            return Err(Malformed("it does not link to the entry before"));
        }
        if entry.time < self.time {
            return Err(Malformed("its time runs backwards"));
        }
        Ok(())
    }

    /// Goes on by `entry`, which has been checked or was made for this place.
    pub(crate) fn push(&mut self, entry: &Entry) {
        self.edge.push(entry.hash);
        self.last = entry.hash;
        self.time = entry.time;
    }

    /// Appends it to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.edge.write(out);
        out.extend_from_slice(&self.last.0);
        out.extend_from_slice(&self.time.to_be_bytes());
    }

    /// Reads what [`Chain::write`] wrote.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Chain, Malformed> {
        Ok(Chain { edge: Edge::read(cursor)?, last: Hash(cursor.array()?), time: cursor.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Body, Draft, Kind, Who};

    #[test]
    fn only_the_next_entry_is_taken() {
        let entry = |seq, prev, time| {
            let body = Body::of(&()).unwrap();
            let draft = Draft { kind: Kind::Run, who: Who::default(), body, commitment: None };
            Entry::seal(draft, seq, prev, time, &mut Vec::new())
        };
        let mut chain = Chain::empty();
        let first = entry(0, Hash::ZERO, 10);
        assert_eq!(chain.check(&first), Ok(()));
        chain.push(&first);
        assert_eq!(chain.check(&entry(1, first.hash, 10)), Ok(()));
        assert!(chain.check(&entry(2, first.hash, 10)).is_err(), "a gap");
        assert!(chain.check(&entry(0, first.hash, 10)).is_err(), "a repetition");
        assert!(chain.check(&entry(1, Hash::ZERO, 10)).is_err(), "another predecessor");
        assert!(chain.check(&entry(1, first.hash, 9)).is_err(), "time runs backwards");
    }
}
