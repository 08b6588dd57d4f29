//! Checks a state folder from its files alone: every byte that was acknowledged is there, in its
//! place and unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::chain::{Chain, Point};
use crate::disk::{Folder, numbered};
use crate::entry::{Hash, Kind};
use crate::error::OpenError;
use crate::ledger::{Loss, TornTail};
use crate::mark;
use crate::note;
use crate::replay::{Loaded, load};
use crate::seal::{Keys, MasterKey};
use crate::segment::{ENDING, LogId, Tail, walk};
use crate::snapshot::{self, Named};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all that was acknowledged is there, unchanged. A holder of the master key could
    /// still have rewritten all of it: that is excluded by a copy of the mark elsewhere only.
    pub valid: bool,
    /// How many entries there are.
    pub entries: u64,
    /// How many segments.
    pub segments: usize,
    /// How many signed checkpoints verify.
    pub checkpoints: usize,
    /// How many snapshots are the ones that the ledger names.
    pub snapshots: usize,
    /// Where the chain ends.
    pub end: Point,
    /// The public key that the checkpoints verify under, in the text form of C2SP `signed-note`.
    pub verifier_key: Option<String>,
    /// Bytes that a crash left behind the last entry; nobody was told that they are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn_tail: Option<TornTail>,
    /// Losses that an operator accepted, by the number of the entry that says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted_losses: Vec<u64>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// In which segment, by the number of its first entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// At which entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What it is.
    pub what: String,
}

/// A verification under way.
struct Verification {
    keys: Keys,
    ledger: Folder,
    state: PathBuf,
    report: Report,
    log: Option<LogId>,
    chain: Chain,
    /// Whether the chain goes from the first entry to here without a fault.
    whole: bool,
    /// The points at sizes that something outside the chain makes a claim about.
    points: BTreeMap<u64, Option<Point>>,
    /// What entries say about snapshots, and where the chain stood before them.
    named: Vec<(u64, Named, Option<Point>)>,
}

/// Checks the ledger in the state folder `state` and its high-water mark in `mark` (by default in
/// `state`). It takes no lock; with a gate that writes, it checks what is there when it comes by.
///
/// # Errors
/// When files cannot be read at all. What they hold is never an error but a [`Fault`].
pub fn verify(state: &Path, mark: Option<&Path>, master: &MasterKey) -> Result<Report, OpenError> {
    let keys = Keys::of(master);
    let path = mark.map_or_else(|| state.join(crate::MARK), Path::to_owned);
    // Before the entries: a gate that writes moves on meanwhile.
    let mark = settled(&path, &keys).map_err(OpenError::io("read", &path))?;
    let ledger = Folder::open(&state.join(crate::LEDGER)).map_err(OpenError::io("open", state))?;
    let checkpoints = Checkpoints::read(state)?;
    let mut verification = Verification::new(keys, ledger, state);
    let sizes = checkpoints.texts.keys().copied().chain(mark.newest.map(|slot| slot.point.size));
    verification.points = sizes.map(|size| (size, None)).collect();
    verification.segments()?;
    verification.mark(&mark);
    verification.checkpoints(&checkpoints);
    verification.snapshots()?;
    Ok(verification.end())
}

/// Reads the mark. A gate may be writing a slot just then, so one that cannot be read is read again.
fn settled(path: &Path, keys: &Keys) -> io::Result<mark::Read> {
    let mut read = mark::read(path, keys)?;
    for _ in 0..8 {
        if read.unreadable == 0 {
            break;
        }
        read = mark::read(path, keys)?;
    }
    Ok(read)
}

/// The signed checkpoints, by size.
struct Checkpoints {
    texts: BTreeMap<u64, Option<String>>,
}

impl Checkpoints {
    fn read(state: &Path) -> Result<Checkpoints, OpenError> {
        let path = state.join(crate::CHECKPOINTS);
        let mut texts = BTreeMap::new();
        match Folder::open(&path) {
            Ok(folder) => {
                for size in folder.numbered(note::ENDING).map_err(OpenError::io("read", &path))? {
                    let bytes = folder.contents(&numbered(size, note::ENDING));
                    let bytes = bytes.map_err(OpenError::io("read", &path))?.unwrap_or_default();
                    texts.insert(size, String::from_utf8(bytes).ok());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        }
        Ok(Checkpoints { texts })
    }
}

impl Verification {
    fn new(keys: Keys, ledger: Folder, state: &Path) -> Verification {
        let chain = Chain::empty();
        let report = Report {
            valid: false,
            entries: 0,
            segments: 0,
            checkpoints: 0,
            snapshots: 0,
            end: chain.point(),
            verifier_key: None,
            torn_tail: None,
            accepted_losses: Vec::new(),
            faults: Vec::new(),
        };
        Verification {
            keys,
            ledger,
            state: state.to_owned(),
            report,
            log: None,
            chain,
            whole: true,
            points: BTreeMap::new(),
            named: Vec::new(),
        }
    }

    fn fault(&mut self, segment: Option<u64>, seq: Option<u64>, what: impl Into<String>) {
        self.report.faults.push(Fault { segment, seq, what: what.into() });
    }

    fn segments(&mut self) -> Result<(), OpenError> {
        let path = self.state.join(crate::LEDGER);
        let segments = self.ledger.numbered(ENDING).map_err(OpenError::io("read", &path))?;
        self.report.segments = segments.len();
        let empty = self.chain.point();
        self.note(&empty);
        for (index, number) in segments.iter().enumerate() {
            let loaded =
                load(&self.ledger, &self.keys, *number).map_err(OpenError::io("read", &path))?;
            match loaded {
                Ok(loaded) => self.segment(&loaded, index + 1 == segments.len()),
                Err(why) => {
                    self.fault(Some(*number), None, why.to_string());
                    self.whole = false;
                }
            }
        }
        Ok(())
    }

    /// Checks that a segment follows the one before, then each of its entries.
    fn segment(&mut self, loaded: &Loaded, last: bool) {
        let header = &loaded.header;
        let (first, here) = (Some(header.first), self.chain.size());
        if self.log.is_some_and(|log| log != header.log) {
            self.fault(first, None, "it belongs to another ledger");
        }
        self.log = Some(header.log);
        if header.first != here && self.whole {
            self.fault(
                first,
                Some(here),
                format!("entry {here} is to come next, it begins with {}", header.first),
            );
            self.whole = false;
        }
        if self.whole && header.prev != self.chain.last {
            self.fault(first, Some(here), "it does not link to the segment before");
        }
        if !self.whole {
            // The fault is named; what follows is still held against itself.
            self.chain = Chain::resume(header.first, header.prev);
        }
        if loaded.length as u64 != header.capacity && !last {
            self.fault(
                first,
                None,
                format!("it has {} bytes, not {}", loaded.length, header.capacity),
            );
        }
        let mut chain = self.chain.clone();
        let before = self.whole.then(|| chain.point());
        let (at, tail) = walk(header, &loaded.bytes, &mut chain, &mut |entry, chain| {
            self.report.entries += 1;
            if let Some(named) = snapshot::named(&entry) {
                self.named.push((entry.seq, named, before));
            }
            if entry.kind == Kind::Operator && entry.body.read::<Loss>().is_ok() {
                self.report.accepted_losses.push(entry.seq);
            }
            if self.whole && self.points.contains_key(&chain.size()) {
                self.note(&chain.point());
            }
        });
        self.chain = chain;
        let Tail::Torn(torn) = tail else { return self.short(loaded, at, last) };
        let seq = self.chain.size();
        if last && torn.acknowledged <= seq {
            let (segment, offset, bytes) = (header.first, at as u64, torn.bytes as u64);
            self.report.torn_tail = Some(TornTail { segment, offset, bytes, seq });
        } else {
            self.fault(first, Some(seq), torn.why.to_string());
            self.whole = false;
        }
    }

    /// A file that lost part of its zero fill, and nothing else, is named as torn.
    fn short(&mut self, loaded: &Loaded, at: usize, last: bool) {
        let Loaded { header, length, .. } = loaded;
        if last && (*length as u64) < header.capacity {
            let bytes = length.saturating_sub(at) as u64;
            let (segment, offset, seq) = (header.first, at as u64, self.chain.size());
            self.report.torn_tail = Some(TornTail { segment, offset, bytes, seq });
        }
    }

    fn note(&mut self, point: &Point) {
        if let Some(place) = self.points.get_mut(&point.size) {
            *place = Some(*point);
        }
    }

    /// What the chain was at `size`.
    fn point(&self, size: u64) -> Option<Point> {
        self.points.get(&size).copied().flatten()
    }

    fn mark(&mut self, mark: &mark::Read) {
        if mark.unreadable > 0 {
            self.fault(None, None, "a slot of the high-water mark does not decrypt");
        }
        let Some(newest) = mark.newest else {
            return self.fault(
                None,
                None,
                "the high-water mark is missing: an end that was cut off would not show",
            );
        };
        let size = newest.point.size;
        if self.log.is_some_and(|log| log != newest.log) {
            self.fault(None, None, "the high-water mark is another ledger's");
        } else if self.whole && size > self.chain.size() {
            let there = self.chain.size();
            self.fault(
                None,
                Some(there),
                format!("{size} entries were acknowledged, {there} are there"),
            );
        } else if self.whole && self.point(size) != Some(newest.point) {
            self.fault(
                None,
                Some(size.saturating_sub(1)),
                "it is not the entry that was acknowledged",
            );
        }
    }

    fn checkpoints(&mut self, checkpoints: &Checkpoints) {
        let Some(log) = self.log else { return };
        let key = self.keys.signer.verifying_key();
        self.report.verifier_key = Some(note::verifier_key(&log, &key));
        for (size, text) in &checkpoints.texts {
            let opened = text.as_deref().map(|text| note::open(text, &log, &key));
            match opened {
                Some(Ok((signed, root))) if signed == *size => self.checkpoint(*size, root),
                Some(Ok(_)) => {
                    self.fault(None, None, format!("checkpoint {size} is named for another size"));
                }
                Some(Err(why)) => self.fault(None, None, format!("checkpoint {size}: {why}")),
                None => self.fault(None, None, format!("checkpoint {size} is no text")),
            }
        }
    }

    /// Holds a checkpoint that was signed against the chain.
    fn checkpoint(&mut self, size: u64, root: Hash) {
        match self.point(size) {
            Some(point) if point.root == root => self.report.checkpoints += 1,
            Some(_) => self.fault(None, None, format!("checkpoint {size} has another root")),
            None if self.whole => {
                let there = self.chain.size();
                self.fault(
                    None,
                    None,
                    format!("checkpoint {size} was signed, {there} entries are there"),
                );
            }
            // Another fault is named already; what comes after it has no root.
            None => {}
        }
    }

    /// Snapshots that are there must be the ones the ledger names. The older ones are removed in
    /// time, and one that was written just before a crash has no entry.
    fn snapshots(&mut self) -> Result<(), OpenError> {
        let path = self.state.join(crate::SNAPSHOTS);
        let folder = match Folder::open(&path) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let there = folder.numbered(snapshot::ENDING).map_err(OpenError::io("read", &path))?;
        let there: BTreeSet<u64> = there.into_iter().collect();
        let Some(log) = self.log else { return Ok(()) };
        for (seq, named, before) in std::mem::take(&mut self.named) {
            if named.point.size != seq || before.is_some_and(|before| before != named.point) {
                self.fault(None, Some(seq), "it names a snapshot of another point");
            } else if there.contains(&seq) {
                match snapshot::read(&folder, &self.keys, &log, &named) {
                    Ok(_) => self.report.snapshots += 1,
                    // A gate that writes removes snapshots that are no longer of use.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.fault(None, Some(seq), format!("its snapshot: {error}")),
                }
            }
        }
        Ok(())
    }

    fn end(mut self) -> Report {
        self.report.end = self.chain.point();
        self.report.valid = self.report.faults.is_empty();
        self.report
    }
}
