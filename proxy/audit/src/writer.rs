//! The one thread that writes: it numbers, links, seals, syncs, applies and acknowledges, in this
//! order.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::chain::Chain;
use crate::disk::{Disk, Folder, numbered};
use crate::entry::{Draft, Entry, Fact, Hash};
use crate::error::LedgerError;
use crate::ledger::marks;
use crate::mark::Mark;
use crate::note;
use crate::options::{Clock, Poisoned, View};
use crate::queue::{Ack, Queue, Receipt, Taken, Waiting};
use crate::seal::{Keys, NONCE, Random};
use crate::segment::{ENDING, FRAME, Header};
use crate::snapshot;
use crate::spare::{self, Spare};

/// The mark follows within this time, and no more often.
const MARK_PAUSE: Duration = Duration::from_millis(10);

/// How many facts of a segment are remembered; what comes beyond may stand there twice.
const FACTS: usize = 1024;

/// The segment that is being written.
pub(crate) struct Current {
    pub(crate) file: File,
    pub(crate) header: Header,
    /// Where the next frame goes.
    pub(crate) at: u64,
    /// The facts that were entered in it since the ledger was opened, by their names.
    pub(crate) facts: BTreeSet<Hash>,
}

impl Current {
    /// The segment in `file`, whose next frame goes to `at`.
    pub(crate) fn new(file: File, header: Header, at: u64) -> Current {
        Current { file, header, at, facts: BTreeSet::new() }
    }
}

/// The folders of a state folder.
pub(crate) struct Folders {
    /// Holds the writer's lock for as long as it is open.
    pub(crate) ledger: Folder,
    pub(crate) snapshots: Folder,
    pub(crate) checkpoints: Folder,
}

/// An entry that is written and not yet durable.
struct Staged {
    entry: Entry,
    ack: Option<Ack>,
}

/// Why an entry was not staged.
enum Refusal {
    /// This entry only.
    Entry(LedgerError),
    /// The disk failed.
    Fatal(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Fatal(error)
    }
}

/// Bytes of a draft's frame. The queue has refused what cannot be measured.
fn room(draft: &Draft) -> usize {
    draft.measure().unwrap_or(0) + FRAME
}

fn poisoned_by(error: &io::Error) -> LedgerError {
    LedgerError::Poisoned(format!("the disk failed ({error})"))
}

/// The writer and what it owns.
pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) folders: Folders,
    pub(crate) keys: Keys,
    pub(crate) random: Random,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) now: Clock,
    pub(crate) view: Box<dyn View>,
    pub(crate) poisoned: Option<Poisoned>,
    pub(crate) current: Current,
    pub(crate) spare: Spare,
    pub(crate) chain: Chain,
    pub(crate) mark: Mark,
    pub(crate) salt: [u8; NONCE],
    pub(crate) stage: Stage,
}

/// What the next commit makes durable.
pub(crate) struct Stage {
    entries: Vec<Staged>,
    bytes: Vec<u8>,
    /// Whether the mark is to follow before the acknowledgement.
    exact: bool,
    /// How many entries are durable.
    durable: u64,
    /// When the mark last followed.
    marked: Instant,
    /// Whether something was committed since.
    behind: bool,
}

impl Stage {
    pub(crate) fn after(durable: u64) -> Stage {
        Stage {
            entries: Vec::new(),
            bytes: Vec::new(),
            exact: false,
            durable,
            marked: Instant::now(),
            behind: false,
        }
    }
}

impl Writer {
    /// Writes until the ledger is closed or the disk fails.
    pub(crate) fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.write_all()));
        let (why, poison) = match ended {
            Ok(Ok(())) => (LedgerError::Closed, false),
            Ok(Err(error)) => (poisoned_by(&error), true),
            Err(_) => {
                (LedgerError::Poisoned("a view or an acknowledgement panicked".to_owned()), true)
            }
        };
        let left = self.queue.stop(why.clone());
        if let (true, Some(poisoned)) = (poison, self.poisoned.take()) {
            poisoned(&why);
        }
        let staged = self.stage.entries.drain(..).filter_map(|staged| staged.ack);
        for ack in staged.chain(left.into_iter().map(|waiting| waiting.ack)) {
            ack(Err(why.clone()));
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            let alarm = self.stage.behind.then(|| self.stage.marked + MARK_PAUSE);
            match self.queue.take(alarm) {
                Taken::Batch(batch) => self.write(batch)?,
                Taken::Alarm => {}
                Taken::Closed => return self.sign(),
            }
            self.follow()?;
        }
    }

    /// Lets the mark follow what was committed, if it is time.
    fn follow(&mut self) -> io::Result<()> {
        if self.stage.behind && self.stage.marked.elapsed() >= MARK_PAUSE {
            self.mark.advisory(self.chain.point(), &self.keys, &self.random, &*self.disk)?;
            self.stage.marked = Instant::now();
            self.stage.behind = false;
        }
        Ok(())
    }

    /// Writes a batch and commits it.
    fn write(&mut self, batch: VecDeque<Waiting>) -> io::Result<()> {
        let mut batch = batch.into_iter();
        while let Some(Waiting { draft, fact, ack }) = batch.next() {
            match self.enter(draft, fact.as_deref()) {
                Ok(entry) => self.stage.entries.push(Staged { entry, ack: Some(ack) }),
                Err(Refusal::Entry(error)) => ack(Err(error)),
                Err(Refusal::Fatal(error)) => {
                    let why = poisoned_by(&error);
                    for ack in std::iter::once(ack).chain(batch.map(|waiting| waiting.ack)) {
                        ack(Err(why.clone()));
                    }
                    return Err(error);
                }
            }
        }
        self.commit()
    }

    /// Makes the next entry out of a draft, in the same segment as the fact that it names.
    fn enter(&mut self, draft: Draft, fact: Option<&Fact>) -> Result<Entry, Refusal> {
        let bytes = room(&draft) + fact.map_or(0, |fact| room(fact.draft()));
        self.make_room(bytes as u64, draft.kind.may_use_reserve())?;
        if let Some(fact) = fact
            && !self.current.facts.contains(&fact.digest())
        {
            if self.current.facts.len() >= FACTS {
                self.current.facts.clear();
            }
            let entry = self.stage_next(fact.draft().clone())?;
            self.stage.entries.push(Staged { entry, ack: None });
            self.current.facts.insert(fact.digest());
        }
        self.stage_next(draft)
    }

    /// Puts the frame of the next entry where the next commit takes it from. There is room for it.
    fn stage_next(&mut self, draft: Draft) -> Result<Entry, Refusal> {
        let time = (self.now)().max(self.chain.time);
        let exact = marks(draft.kind);
        let (seq, prev) = (self.chain.size(), self.chain.last);
        let entry = self
            .current
            .header
            .seal(&self.salt, (seq, self.stage.durable), &mut self.stage.bytes, |out| {
                Entry::seal(draft, seq, prev, time, out)
            })
            .map_err(|malformed| Refusal::Fatal(io::Error::other(malformed)))?;
        self.chain.push(&entry);
        self.stage.exact |= exact;
        Ok(entry)
    }

    /// Sees to it that a frame of `bytes` fits, in this segment or the next. While there is no
    /// next one, the last quarter of this one is a reserve for operators.
    fn make_room(&mut self, bytes: u64, reserved: bool) -> Result<(), Refusal> {
        let capacity = self.current.header.capacity;
        let end = self.current.at + self.stage.bytes.len() as u64 + bytes;
        if end > capacity / 2 {
            self.spare.ask((self.now)());
        }
        if end <= capacity - capacity / 4 {
            return self.settle(true, reserved);
        }
        let spare = self.spare.ready();
        if end > capacity && spare {
            self.roll()?;
            return self.settle(true, reserved);
        }
        self.settle(end <= capacity && (spare || reserved), reserved)
    }

    /// Notes whether there was room.
    fn settle(&self, room: bool, reserved: bool) -> Result<(), Refusal> {
        if !reserved || !room {
            self.queue.full.store(!room, Ordering::Relaxed);
        }
        if room { Ok(()) } else { Err(Refusal::Entry(LedgerError::Full)) }
    }

    /// Writes what is staged and makes it durable, then applies and acknowledges it.
    fn commit(&mut self) -> io::Result<()> {
        if self.stage.entries.is_empty() {
            return Ok(());
        }
        self.disk.write(&self.current.file, &self.stage.bytes, self.current.at)?;
        self.disk.sync(&self.current.file)?;
        self.current.at += self.stage.bytes.len() as u64;
        self.stage.bytes.clear();
        self.stage.durable = self.chain.size();
        self.stage.behind = true;
        for staged in &self.stage.entries {
            self.view.apply(&staged.entry);
        }
        if std::mem::take(&mut self.stage.exact) {
            self.mark_exactly()?;
        }
        self.queue.set_durable(self.stage.durable);
        for Staged { entry: Entry { seq, time, hash, .. }, ack } in self.stage.entries.drain(..) {
            if let Some(ack) = ack {
                ack(Ok(Receipt { seq, time, hash }));
            }
        }
        Ok(())
    }

    fn mark_exactly(&mut self) -> io::Result<()> {
        self.mark.exact(self.chain.point(), &self.keys, &self.random, &*self.disk)
    }

    /// Ends this segment and begins the spare one, which opens with the snapshot's entry.
    fn roll(&mut self) -> io::Result<()> {
        self.commit()?;
        let log = self.current.header.log;
        let view = self.view.snapshot();
        let keys = (&self.keys, &self.random);
        let snapshot = snapshot::write(&self.folders.snapshots, keys, (&log, &self.chain), &view);
        let file = self.spare.take().ok_or_else(|| io::Error::other("the next segment is gone"))?;
        let parts = (log, self.chain.size(), self.spare.capacity, self.chain.last);
        let (header, bytes) = Header::create(&self.keys, &self.random, parts)?;
        self.disk.write(&file, &bytes, 0)?;
        self.disk.sync(&file)?;
        self.folders.ledger.rename(spare::NAME, &numbered(header.first, ENDING))?;
        self.folders.ledger.sync()?;
        self.current = Current::new(file, header, bytes.len() as u64);
        self.sign()?;
        if let Ok(draft) = snapshot {
            return self.stage_own(draft);
        }
        self.queue.skipped.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Stages an entry of the ledger's own. A segment that has just begun has room for it.
    fn stage_own(&mut self, draft: Draft) -> io::Result<()> {
        match self.enter(draft, None) {
            Ok(entry) => {
                self.stage.entries.push(Staged { entry, ack: None });
                Ok(())
            }
            Err(Refusal::Fatal(error)) => Err(error),
            Err(Refusal::Entry(error)) => Err(io::Error::other(error)),
        }
    }

    /// Marks the end of what is durable, exactly, and signs a checkpoint of it.
    fn sign(&mut self) -> io::Result<()> {
        self.mark_exactly()?;
        let point = self.chain.point();
        let text = note::sign(&self.current.header.log, point.size, point.root, &self.keys.signer);
        let name = numbered(point.size, note::ENDING);
        if point.size > 0 && self.folders.checkpoints.put(&name, text.as_bytes()).is_err() {
            self.queue.skipped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
