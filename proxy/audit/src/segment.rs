//! A segment: a file of fixed size that holds a run of entries, each sealed in a frame.

use crate::chain::Chain;
use crate::entry::{Entry, Hash};
use crate::seal::{Cipher, Keys, NONCE, Random, TAG, wrapped};
use crate::wire::{Cursor, Malformed};
use std::io;
use zeroize::Zeroizing;

/// First bytes of every segment; the last one is the format version.
const MAGIC: [u8; 8] = *b"TGLEDGR\x01";

/// How segments are called: the number of their first entry, then this.
pub(crate) const ENDING: &str = ".seg";

/// Bytes of the header: magic, log, first entry, capacity, wrapped data key and previous hash.
pub(crate) const HEADER: usize = 8 + 16 + 8 + 8 + wrapped(64);

/// Bytes of a frame's head: length, number, durable, nonce.
const HEAD: usize = 4 + 8 + 8 + NONCE;

/// Bytes a frame adds to the encoded entry.
pub(crate) const FRAME: usize = HEAD + TAG;

/// Which ledger a file belongs to: 16 random bytes, the same in all its files.
pub(crate) type LogId = [u8; 16];

/// The head of a segment, with the key that its entries are sealed under.
pub(crate) struct Header {
    pub(crate) log: LogId,
    /// The number of its first entry.
    pub(crate) first: u64,
    /// The size of the file.
    pub(crate) capacity: u64,
    /// The hash of the last entry before it.
    pub(crate) prev: Hash,
    cipher: Cipher,
}

impl Header {
    /// A new segment's header, and the bytes of it.
    pub(crate) fn create(
        keys: &Keys,
        random: &Random,
        (log, first, capacity, prev): (LogId, u64, u64, Hash),
    ) -> io::Result<(Header, Vec<u8>)> {
        let mut secret = Zeroizing::new([0; 64]);
        let (key, rest) = secret.split_at_mut(32);
        random(key)?;
        rest.copy_from_slice(&prev.0);
        let mut bytes = [&MAGIC[..], &log, &first.to_be_bytes(), &capacity.to_be_bytes()].concat();
        let sealed = keys.wrap(random, &bytes, secret.as_slice())?;
        bytes.extend_from_slice(&sealed);
        let header = Header::open(keys, &bytes).map_err(io::Error::other)?;
        Ok((header, bytes))
    }

    /// Reads a header; every byte of it is authenticated.
    pub(crate) fn open(keys: &Keys, bytes: &[u8]) -> Result<Header, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let aad = cursor.bytes(HEADER - wrapped(64))?;
        let secret = keys.unwrap(aad, cursor.bytes(wrapped(64))?)?;
        let mut cursor = Cursor::new(aad);
        if cursor.array::<8>()? != MAGIC {
            return Err(Malformed("it is not a segment of format version 1"));
        }
        let (log, first, capacity) = (cursor.array()?, cursor.u64()?, cursor.u64()?);
        let mut cursor = Cursor::new(&secret);
        let key = Zeroizing::new(cursor.array()?);
        Ok(Header { log, first, capacity, prev: Hash(cursor.array()?), cipher: Cipher::new(&key) })
    }

    fn aad(&self, head: &[u8]) -> [u8; 16 + 8 + HEAD] {
        let mut aad = [0; 16 + 8 + HEAD];
        fill(&mut aad, &[&self.log, &self.first.to_be_bytes(), head]);
        aad
    }

    /// Appends the frame of an entry to `out`, which `encode` appends there. `durable` is how many
    /// entries were durable when it was written: where such a frame is found, no entry below that
    /// was ever torn.
    pub(crate) fn seal(
        &self,
        salt: &[u8; NONCE],
        (seq, durable): (u64, u64),
        out: &mut Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>) -> Entry,
    ) -> Result<Entry, Malformed> {
        let start = out.len();
        out.resize(start + HEAD, 0);
        let entry = encode(out);
        let nonce = nonce(salt, seq);
        let (head, encoded) = out
            .get_mut(start..)
            .and_then(|frame| frame.split_at_mut_checked(HEAD))
            .ok_or(Malformed("it has no head"))?;
        let sealed = u32::try_from(encoded.len() + TAG).ok().ok_or(Malformed("it is too long"))?;
        let numbers = [seq.to_be_bytes(), durable.to_be_bytes()];
        fill(head, &[&sealed.to_be_bytes(), numbers.as_flattened(), &nonce]);
        let tag = self.cipher.close_detached(&nonce, &self.aad(head), encoded)?;
        out.extend_from_slice(&tag);
        Ok(entry)
    }

    /// Reads the frame that `bytes` begin with.
    pub(crate) fn frame(&self, bytes: &[u8]) -> Result<Frame, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let head = cursor.bytes(HEAD)?;
        let mut fields = Cursor::new(head);
        let (length, seq, durable) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let nonce = fields.array()?;
        let length = usize::try_from(length).ok().ok_or(Malformed("it is too long"))?;
        let mut sealed = cursor.bytes(length)?.to_vec();
        self.cipher.open(&nonce, &self.aad(head), &mut sealed)?;
        let entry = Entry::decode(&sealed)?;
        if entry.seq != seq || durable > seq {
            return Err(Malformed("its frame belongs to another entry"));
        }
        Ok(Frame { entry, length: HEAD + length })
    }
}

/// Writes `parts` one after the other.
fn fill(out: &mut [u8], parts: &[&[u8]]) {
    let bytes = parts.iter().copied().flatten();
    out.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
}

/// One frame as it was read.
pub(crate) struct Frame {
    pub(crate) entry: Entry,
    /// Bytes from its first to its last.
    pub(crate) length: usize,
}

/// The nonce of an entry. The salt is random for each time a ledger is opened, because a number
/// whose entry was torn is given again, and under one key no nonce may serve twice.
fn nonce(salt: &[u8; NONCE], seq: u64) -> [u8; NONCE] {
    let mut nonce = *salt;
    for (byte, number) in nonce.iter_mut().skip(4).zip(seq.to_be_bytes()) {
        *byte ^= number;
    }
    nonce
}

/// How the entries of a segment end.
pub(crate) enum Tail {
    /// Only zeros follow.
    Clean,
    /// Bytes follow that are no entry.
    Torn(Torn),
}

/// Bytes that are no entry, where the next entry would begin.
pub(crate) struct Torn {
    /// How far they reach.
    pub(crate) bytes: usize,
    /// What is wrong with the first of them.
    pub(crate) why: Malformed,
    /// Entries up to this number were durable once, as a frame further on says. Where it is more
    /// than there are, what was acknowledged has been changed; where not, a write was torn.
    pub(crate) acknowledged: u64,
}

/// Goes through the frames in `bytes`, the whole segment, handing each entry that links to `chain`
/// over, until there is no more. Returns where the next frame would begin and what is there.
pub(crate) fn walk(
    header: &Header,
    bytes: &[u8],
    chain: &mut Chain,
    each: &mut dyn FnMut(Entry, &Chain),
) -> (usize, Tail) {
    let mut at = HEADER;
    let end = written(bytes);
    while at < end {
        let rest = bytes.get(at..).unwrap_or_default();
        let frame = header.frame(rest).and_then(|frame| chain.check(&frame.entry).map(|()| frame));
        match frame {
            Ok(frame) => {
                chain.push(&frame.entry);
                at += frame.length;
                each(frame.entry, chain);
            }
            Err(why) => {
                let torn = bytes.get(at..end).unwrap_or_default();
                let acknowledged = acknowledged(header, torn, chain.size());
                return (at, Tail::Torn(Torn { bytes: torn.len(), why, acknowledged }));
            }
        }
    }
    (at, Tail::Clean)
}

/// Where the zeros at the end of `bytes` begin.
fn written(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = bytes.len();
    for chunk in bytes.rchunks(ZEROS.len()) {
        if ZEROS.get(..chunk.len()).is_none_or(|zeros| zeros != chunk) {
            return end - chunk.iter().rev().take_while(|byte| **byte == 0).count();
        }
        end -= chunk.len();
    }
    0
}

/// The highest count of durable entries that any frame in `bytes` tells, looking at every offset.
fn acknowledged(header: &Header, bytes: &[u8], next: u64) -> u64 {
    let mut highest = 0;
    for at in 0..bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let mut cursor = Cursor::new(rest);
        let (Ok(length), Ok(seq), Ok(durable)) = (cursor.u32(), cursor.u64(), cursor.u64()) else {
            break;
        };
        let plausible = usize::try_from(length)
            .is_ok_and(|length| length > TAG && length <= rest.len())
            && seq >= next
            && seq - next <= header.capacity
            && durable <= seq
            && durable > highest;
        if plausible && header.frame(rest).is_ok() {
            highest = durable;
        }
    }
    highest
}
