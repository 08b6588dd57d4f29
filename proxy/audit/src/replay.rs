//! Start-up: from the newest snapshot that the ledger vouches for to the last whole entry.

use std::io::{self, Read};

use crate::chain::{Chain, Point};
use crate::disk::{Folder, numbered};
use crate::mark::Slot;
use crate::options::View;
use crate::seal::Keys;
use crate::segment::{ENDING, HEADER, Header, LogId, Tail, Torn, walk};
use crate::snapshot::{self, Named};
use crate::wire::Malformed;

/// As much of a segment as its header and the entry that names a snapshot take, with room to spare.
const BEGINNING: u64 = 4096;

/// A segment's file, read whole.
pub(crate) struct Loaded {
    pub(crate) header: Header,
    /// As many bytes as the header says; zeros stand for what the file lacks.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the file.
    pub(crate) length: usize,
}

/// Reads the segment `number`; the inner error says that it is no segment.
pub(crate) fn load(
    folder: &Folder,
    keys: &Keys,
    number: u64,
) -> io::Result<Result<Loaded, Malformed>> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let mut bytes = folder.contents(&numbered(number, ENDING))?.ok_or_else(missing)?;
    let length = bytes.len();
    Ok(Header::open(keys, &bytes).and_then(|header| {
        if header.first != number {
            return Err(Malformed("its name is another segment's"));
        }
        let capacity = usize::try_from(header.capacity).ok().ok_or(Malformed("it is too large"))?;
        if bytes.len() < capacity {
            bytes.resize(capacity, 0);
        }
        Ok(Loaded { header, bytes, length })
    }))
}

/// Where the entries end, and what is wrong there.
pub(crate) struct Replayed {
    pub(crate) chain: Chain,
    /// The last segment that holds part of the chain.
    pub(crate) last: Option<Last>,
    /// Segments after it, which are not part of the chain.
    pub(crate) beyond: Vec<u64>,
    /// What keeps the ledger from being whole, in words.
    pub(crate) damage: Option<String>,
}

/// The segment that the chain ends in.
pub(crate) struct Last {
    pub(crate) header: Header,
    /// Where the next frame goes.
    pub(crate) at: usize,
    /// Bytes of the file.
    pub(crate) length: usize,
    pub(crate) torn: Option<Torn>,
}

/// The folders that a start-up reads.
pub(crate) struct Sources<'a> {
    pub(crate) ledger: &'a Folder,
    pub(crate) snapshots: &'a Folder,
    pub(crate) keys: &'a Keys,
}

impl Sources<'_> {
    /// The newest snapshot that a segment's first entry names, given to `view`; or the beginning.
    fn start(&self, segments: &[u64], view: &mut dyn View) -> io::Result<Chain> {
        for number in self.snapshots.numbered(snapshot::ENDING)?.iter().rev() {
            if !segments.contains(number) {
                continue;
            }
            let Some((log, named)) = self.named(*number)? else { continue };
            let read = snapshot::read(self.snapshots, self.keys, &log, &named);
            let Ok((chain, bytes)) = read else { continue };
            if chain.size() == *number && view.restore(&bytes).is_ok() {
                return Ok(chain);
            }
        }
        Ok(Chain::empty())
    }

    /// The snapshot that the first entry of the segment `number` names.
    fn named(&self, number: u64) -> io::Result<Option<(LogId, Named)>> {
        let mut bytes = Vec::new();
        self.ledger.read(&numbered(number, ENDING))?.take(BEGINNING).read_to_end(&mut bytes)?;
        Ok(Header::open(self.keys, &bytes).ok().and_then(|header| {
            let frame = header.frame(bytes.get(HEADER..)?).ok()?;
            Some((header.log, snapshot::named(&frame.entry)?))
        }))
    }

    /// Replays everything from the newest usable snapshot, and holds it against the mark.
    pub(crate) fn replay(&self, view: &mut dyn View, mark: Option<&Slot>) -> io::Result<Replayed> {
        let segments = self.ledger.numbered(ENDING)?;
        let start = self.start(&segments, view)?;
        let began = start.point();
        let mut seen = mark.filter(|mark| mark.point.size == began.size).map(|_| began);
        let mut replayed = Replayed { chain: start, last: None, beyond: Vec::new(), damage: None };
        for number in segments.iter().filter(|number| **number >= began.size) {
            if replayed.damage.is_some()
                || replayed.last.as_ref().is_some_and(|last| last.torn.is_some())
            {
                replayed.beyond.push(*number);
                continue;
            }
            let mut see = |chain: &Chain| {
                if mark.is_some_and(|mark| mark.point.size == chain.size()) {
                    seen = Some(chain.point());
                }
            };
            self.segment(*number, &mut replayed, view, &mut see)?;
        }
        replayed.judge_tail();
        if replayed.damage.is_none()
            && let Some(mark) = mark
        {
            replayed.damage = self.against(mark, seen, &replayed, &segments)?;
        }
        Ok(replayed)
    }

    /// Replays one segment.
    fn segment(
        &self,
        number: u64,
        replayed: &mut Replayed,
        view: &mut dyn View,
        see: &mut dyn FnMut(&Chain),
    ) -> io::Result<()> {
        let chain = &mut replayed.chain;
        let loaded = load(self.ledger, self.keys, number)?.and_then(|loaded| {
            let Header { log, first, prev, .. } = &loaded.header;
            let follows = *first == chain.size() && *prev == chain.last;
            let same = replayed.last.as_ref().is_none_or(|last| last.header.log == *log);
            if follows && same {
                Ok(loaded)
            } else {
                Err(Malformed("it does not follow the one before"))
            }
        });
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(why) => {
                replayed.damage = Some(format!("segment {number}: {why}"));
                replayed.beyond.push(number);
                return Ok(());
            }
        };
        let (at, tail) = walk(&loaded.header, &loaded.bytes, chain, &mut |entry, chain| {
            view.apply(&entry);
            see(chain);
        });
        let torn = match tail {
            Tail::Clean => None,
            Tail::Torn(torn) => Some(torn),
        };
        replayed.last = Some(Last { header: loaded.header, at, length: loaded.length, torn });
        Ok(())
    }

    /// Why the chain does not extend `mark`, if it does not. `seen` is its point at the mark's
    /// size, where that was replayed.
    fn against(
        &self,
        mark: &Slot,
        seen: Option<Point>,
        replayed: &Replayed,
        segments: &[u64],
    ) -> io::Result<Option<String>> {
        let (size, kept) = (mark.point.size, replayed.chain.size());
        if replayed.last.as_ref().is_some_and(|last| last.header.log != mark.log) {
            return Ok(Some("the segments are another ledger's".to_owned()));
        }
        if size > kept {
            return Ok(Some(format!("{size} entries were acknowledged, {kept} are there")));
        }
        let extends = match seen {
            Some(point) => point == mark.point,
            None => size == 0 || self.hash_at(size - 1, segments)? == Some(mark.point.last),
        };
        Ok((!extends).then(|| {
            format!("entry {} is not the one that was acknowledged", size.saturating_sub(1))
        }))
    }

    /// The hash of the entry `seq`, which lies before what was replayed.
    fn hash_at(&self, seq: u64, segments: &[u64]) -> io::Result<Option<crate::Hash>> {
        let Some(number) = segments.iter().rev().find(|number| **number <= seq) else {
            return Ok(None);
        };
        let Ok(loaded) = load(self.ledger, self.keys, *number)? else { return Ok(None) };
        let mut at = HEADER;
        while let Ok(frame) = loaded.header.frame(loaded.bytes.get(at..).unwrap_or_default()) {
            if frame.entry.seq == seq {
                return Ok(Some(frame.entry.hash));
            }
            at += frame.length;
        }
        Ok(None)
    }
}

impl Replayed {
    /// A tail is only torn where nothing that was ever acknowledged follows.
    fn judge_tail(&mut self) {
        let Some(Last { torn: Some(torn), header, .. }) = &self.last else { return };
        let size = self.chain.size();
        if self.damage.is_none() && (!self.beyond.is_empty() || torn.acknowledged > size) {
            self.damage = Some(format!("segment {}, entry {size}: {}", header.first, torn.why));
        }
    }
}
