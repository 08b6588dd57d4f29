//! The views at the end of a segment, in a sealed file that an entry names by digest.

use std::io;

use serde::{Deserialize, Serialize};

use crate::chain::{Chain, Point};
use crate::disk::{Folder, numbered};
use crate::entry::{Body, Draft, Entry, Hash, Kind, Who};
use crate::seal::{Keys, Random};
use crate::segment::LogId;
use crate::wire::{Cursor, Malformed};

/// First bytes of every snapshot; the last one is the format version.
const MAGIC: [u8; 8] = *b"TGSNAPS\x01";

/// How snapshots are called: how many entries they cover, then this.
pub(crate) const ENDING: &str = ".snapshot";

/// How many snapshots are kept; an older one is of no use once two newer ones are there.
const KEPT: usize = 2;

/// The body of a snapshot's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    /// SHA-256 of the file.
    pub(crate) digest: Hash,
    /// The point that it stands for.
    #[serde(flatten)]
    pub(crate) point: Point,
}

fn aad(log: &LogId, size: u64) -> Vec<u8> {
    [&MAGIC[..], log, &size.to_be_bytes()].concat()
}

/// Writes the snapshot of `chain` and returns the entry that names it.
pub(crate) fn write(
    folder: &Folder,
    (keys, random): (&Keys, &Random),
    (log, chain): (&LogId, &Chain),
    view: &[u8],
) -> io::Result<Draft> {
    let mut plain = Vec::with_capacity(view.len() + 2048);
    chain.write(&mut plain);
    plain.extend_from_slice(view);
    let sealed = keys.envelope(random, &aad(log, chain.size()), plain)?;
    let bytes = [&MAGIC[..], &sealed].concat();
    folder.put(&numbered(chain.size(), ENDING), &bytes)?;
    let numbers = folder.numbered(ENDING)?;
    for old in numbers.iter().rev().skip(KEPT) {
        // One that stays is only in the way; the next end of a segment tries again.
        drop(folder.remove(&numbered(*old, ENDING)));
    }
    let named = Named { digest: Hash::of(&bytes), point: chain.point() };
    let body = Body::of(&named).map_err(io::Error::other)?;
    Ok(Draft { kind: Kind::Snapshot, who: Who::default(), body, commitment: None })
}

/// What an entry names, if it is a snapshot's.
pub(crate) fn named(entry: &Entry) -> Option<Named> {
    if entry.kind == Kind::Snapshot { entry.body.read().ok() } else { None }
}

/// The chain and the view of the snapshot that `named` names; an error where the file is missing
/// or another one.
pub(crate) fn read(
    folder: &Folder,
    keys: &Keys,
    log: &LogId,
    named: &Named,
) -> io::Result<(Chain, Vec<u8>)> {
    let size = named.point.size;
    let bytes = folder.contents(&numbered(size, ENDING))?;
    let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if Hash::of(&bytes) != named.digest {
        return Err(io::Error::other(Malformed("its digest is not the one in the ledger")));
    }
    let open = || {
        let sealed = bytes
            .strip_prefix(&MAGIC)
            .ok_or(Malformed("it is not a snapshot of format version 1"))?;
        let plain = keys.open_envelope(&aad(log, size), sealed)?;
        let mut cursor = Cursor::new(&plain);
        let chain = Chain::read(&mut cursor)?;
        Ok((chain, cursor.rest().to_vec()))
    };
    let (chain, view) = open().map_err(|malformed: Malformed| io::Error::other(malformed))?;
    if chain.point() != named.point {
        return Err(io::Error::other(Malformed("it stands for another point of the ledger")));
    }
    Ok((chain, view))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seal::MasterKey;

    #[test]
    fn only_the_snapshot_that_the_entry_names_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let keys = Keys::of(&MasterKey::new([1; 32]));
        let random: Random = Arc::new(|bytes| getrandom::fill(bytes).map_err(io::Error::other));
        let (log, chain) = ([2; 16], Chain::empty());
        let write = |view: &[u8]| {
            let draft = write(&folder, (&keys, &random), (&log, &chain), view).unwrap();
            draft.body.read::<Named>().unwrap()
        };
        let older = write(b"budget spent");
        assert_eq!(read(&folder, &keys, &log, &older).unwrap().1, b"budget spent");
        let newer = write(b"budget unspent");
        assert!(read(&folder, &keys, &log, &older).is_err());
        assert_eq!(read(&folder, &keys, &log, &newer).unwrap().1, b"budget unspent");
        assert!(read(&folder, &keys, &[3; 16], &newer).is_err());
    }
}
