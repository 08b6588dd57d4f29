//! Opens a ledger: takes its lock, replays it, cuts off a torn tail, and refuses to go on with less
//! than was acknowledged.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::chain::Chain;
use crate::disk::{Disk, Folder, numbered, zero};
use crate::entry::{Body, Draft, Kind, Who};
use crate::error::{LedgerError, OpenError};
use crate::ledger::{Ledger, Loss, TornTail};
use crate::mark::{self, Mark, Slot};
use crate::note;
use crate::options::{FIRST_SEGMENT, MIN_SEGMENT, Options};
use crate::queue::Queue;
use crate::replay::{Last, Replayed, Sources};
use crate::seal::{Keys, NONCE};
use crate::segment::{ENDING, Header, LogId};
use crate::spare::Spare;
use crate::writer::{Current, Folders, Stage, Writer};

/// How a ledger opened.
#[derive(Debug)]
pub enum Opened {
    /// It has all that it acknowledged.
    Ready(Ledger),
    /// It has less, or something else. Nothing may be admitted until an operator accepts the loss.
    Behind(Box<Behind>),
}

/// A ledger that falls short of what it acknowledged. It is locked, and not changed.
pub struct Behind {
    opening: Opening,
    replayed: Replayed,
    newest: Option<Slot>,
    loss: Loss,
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind").field("loss", &self.loss).finish_non_exhaustive()
    }
}

/// A ledger that is being opened.
struct Opening {
    options: Options,
    keys: Keys,
    state: Folder,
    folders: Folders,
}

/// The body of the entry by which a loss is accepted.
#[derive(Serialize)]
struct Accepted<'a> {
    act: &'static str,
    reason: &'a str,
    #[serde(flatten)]
    loss: &'a Loss,
}

impl Ledger {
    /// Opens the ledger in `options.state`, which is made where there is none.
    ///
    /// # Errors
    /// When another process has it open, when the disk refuses, or when the options are wrong.
    /// Damage to what was acknowledged is not an error here but [`Opened::Behind`].
    pub fn open(options: Options) -> Result<Opened, OpenError> {
        let opening = Opening::begin(options)?;
        let path = opening.options.mark.clone();
        let mark = mark::read(&path, &opening.keys).map_err(OpenError::io("read", &path))?;
        opening.replay(&mark)
    }
}

impl Opening {
    fn begin(options: Options) -> Result<Opening, OpenError> {
        if options.segment_bytes < MIN_SEGMENT {
            return Err(OpenError::SegmentSize(options.segment_bytes));
        }
        let path = options.state.clone();
        let refused = || OpenError::io("open", &path);
        let state = Folder::create(&path).map_err(refused())?;
        let ledger = state.make(crate::LEDGER).map_err(refused())?;
        match ledger.lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(OpenError::Busy { path: ledger.path().to_owned() });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(refused()(error)),
        }
        let snapshots = state.make(crate::SNAPSHOTS).map_err(refused())?;
        let checkpoints = state.make(crate::CHECKPOINTS).map_err(refused())?;
        let keys = Keys::of(&options.master);
        Ok(Opening { options, keys, state, folders: Folders { ledger, snapshots, checkpoints } })
    }

    fn replay(mut self, mark: &mark::Read) -> Result<Opened, OpenError> {
        let newest = mark.newest;
        let Folders { ledger, snapshots, .. } = &self.folders;
        let sources = Sources { ledger, snapshots, keys: &self.keys };
        let replayed = sources.replay(&mut *self.options.view, newest.as_ref());
        let mut replayed = replayed.map_err(OpenError::io("read", ledger.path()))?;
        let empty = replayed.last.is_none() && replayed.beyond.is_empty();
        if newest.is_none() && (mark.exists || !empty) && replayed.damage.is_none() {
            let how = if mark.unreadable > 0 { "unreadable" } else { "missing" };
            // A crash may come between making the mark's file and writing it for the first time.
            if !(empty && mark.unreadable == 0) {
                replayed.damage = Some(format!("the high-water mark is {how}"));
            }
        }
        let Some(found) = replayed.damage.take() else {
            return self.ready(replayed, newest).map(Opened::Ready);
        };
        let acknowledged = newest.map(|slot| slot.point);
        let loss = Loss { kept: replayed.chain.point(), acknowledged, found };
        Ok(Opened::Behind(Box::new(Behind { opening: self, replayed, newest, loss })))
    }

    /// Cuts off a torn tail and begins to write.
    fn ready(self, replayed: Replayed, newest: Option<Slot>) -> Result<Ledger, OpenError> {
        let torn = replayed.last.as_ref().and_then(|last| {
            let torn = last.torn.as_ref()?;
            Some(TornTail {
                segment: last.header.first,
                offset: last.at as u64,
                bytes: torn.bytes as u64,
                seq: replayed.chain.size(),
            })
        });
        let mut ledger = self.write(replayed, newest)?;
        if let Some(torn) = &torn {
            let written = ledger.append_wait(own(Kind::Recovered, Who::default(), torn)?);
            // On a disk without any room the recovery stands all the same.
            if let Err(error) = written
                && error != LedgerError::Full
            {
                return Err(error.into());
            }
        }
        ledger.recovered = torn;
        Ok(ledger)
    }

    /// The segment to go on in.
    fn current(&self, last: Option<Last>, log: LogId, chain: &Chain) -> Result<Current, OpenError> {
        let folder = &self.folders.ledger;
        let refused = || OpenError::io("write to", folder.path());
        let Some(Last { header, at, length, torn }) = last else {
            return self.first(log, chain);
        };
        let file = folder.write(&numbered(header.first, ENDING)).map_err(refused())?;
        if torn.is_some() || length as u64 != header.capacity {
            let cut = || {
                file.set_len(header.capacity.max(at as u64))?;
                zero(&file, at as u64, header.capacity)?;
                file.sync_all()
            };
            cut().map_err(refused())?;
        }
        Ok(Current::new(file, header, at as u64))
    }

    /// The first segment of a new ledger.
    fn first(&self, log: LogId, chain: &Chain) -> Result<Current, OpenError> {
        let folder = &self.folders.ledger;
        let Options { random, disk, segment_bytes, .. } = &self.options;
        let capacity = FIRST_SEGMENT.min(*segment_bytes);
        let make = || {
            let parts = (log, chain.size(), capacity, chain.last);
            let (header, bytes) = Header::create(&self.keys, random, parts)?;
            let file = folder.make_file(crate::spare::NAME)?;
            disk.fill(&file, capacity)?;
            disk.write(&file, &bytes, 0)?;
            disk.sync(&file)?;
            folder.rename(crate::spare::NAME, &numbered(header.first, ENDING))?;
            folder.sync()?;
            Ok(Current::new(file, header, bytes.len() as u64))
        };
        make().map_err(OpenError::io("make a segment in", folder.path()))
    }

    /// Starts the writer's thread.
    fn write(self, replayed: Replayed, newest: Option<Slot>) -> Result<Ledger, OpenError> {
        let Replayed { chain, last, .. } = replayed;
        let random = self.options.random.clone();
        let path = self.options.state.clone();
        let mut salt = [0; NONCE];
        let mut fresh = [0; 16];
        random(&mut salt)
            .and_then(|()| random(&mut fresh))
            .map_err(OpenError::io("draw keys for", &path))?;
        let known = last.as_ref().map(|last| last.header.log).or(newest.map(|slot| slot.log));
        let log = known.unwrap_or(fresh);
        let mark = self.mark(log, newest.as_ref(), &chain)?;
        let current = self.current(last, log, &chain)?;
        let again =
            Folder::open(self.folders.ledger.path()).map_err(OpenError::io("open", &path))?;
        let Options { master: _, view, now, poisoned, segment_bytes, disk, .. } = self.options;
        let limit = usize::try_from(FIRST_SEGMENT.min(segment_bytes) / 8).unwrap_or(usize::MAX);
        let queue = Arc::new(Queue::new(limit));
        queue.set_durable(chain.size());
        let verifier_key = note::verifier_key(&log, &self.keys.signer.verifying_key());
        let writer = Writer {
            queue: Arc::clone(&queue),
            folders: self.folders,
            keys: self.keys,
            random,
            spare: Spare::new(Arc::new(again), Arc::clone(&disk), segment_bytes),
            disk,
            now,
            view,
            poisoned: Some(poisoned),
            current,
            stage: Stage::after(chain.size()),
            chain,
            mark,
            salt,
        };
        let thread =
            std::thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(OpenError::io("start the writer of", &path))?;
        Ok(Ledger { queue, writer: Mutex::new(Some(thread)), verifier_key, recovered: None })
    }

    /// The mark to go on with. That of a new ledger says so before its first segment is there, so
    /// that no crash leaves a segment without a mark.
    fn mark(&self, log: LogId, newest: Option<&Slot>, chain: &Chain) -> Result<Mark, OpenError> {
        let Options { mark: path, disk, random, .. } = &self.options;
        let disk: &dyn Disk = &**disk;
        let open = || {
            let mut mark = Mark::open(path, log, newest, disk)?;
            if newest.is_none() && chain.size() == 0 {
                mark.exact(chain.point(), &self.keys, random, disk)?;
            }
            Ok(mark)
        };
        open().map_err(OpenError::io("write", path))
    }
}

/// An entry of the ledger's own.
fn own<T: Serialize>(kind: Kind, who: Who, body: &T) -> Result<Draft, OpenError> {
    let failed = |error: serde_json::Error| {
        OpenError::io("write an entry about", Path::new("."))(error.into())
    };
    Ok(Draft { kind, who, body: Body::of(body).map_err(failed)?, commitment: None })
}

impl Behind {
    /// What is lost.
    #[must_use]
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Goes on with what is left, which an operator answers for: `who` and `reason` are entered
    /// before anything else. What cannot be kept is moved to `lost/` in the state folder.
    ///
    /// # Errors
    /// When the disk refuses; the ledger is behind as before.
    pub fn accept_loss(self: Box<Self>, who: Who, reason: &str) -> Result<Ledger, OpenError> {
        let Behind { opening, replayed, newest, loss } = *self;
        opening
            .set_aside(&replayed)
            .map_err(OpenError::io("move what is lost in", opening.state.path()))?;
        let accepted =
            own(Kind::Operator, who, &Accepted { act: "accept_loss", reason, loss: &loss })?;
        let ledger = opening.write(replayed, newest)?;
        ledger.append_wait(accepted)?;
        Ok(ledger)
    }
}

impl Opening {
    /// Moves segments and checkpoints that are not part of the chain to `lost/`, and keeps a copy
    /// of a segment that is about to be cut.
    fn set_aside(&self, replayed: &Replayed) -> std::io::Result<()> {
        let lost = self.state.make(crate::LOST)?;
        let Folders { ledger, checkpoints, .. } = &self.folders;
        let size = replayed.chain.size();
        let aside = |name: &str| format!("{size}-{name}");
        if let Some(Last { header, torn: Some(_), .. }) = &replayed.last {
            let name = numbered(header.first, ENDING);
            let bytes = ledger.contents(&name)?.unwrap_or_default();
            lost.put(&aside(&name), &bytes)?;
        }
        for number in &replayed.beyond {
            let name = numbered(*number, ENDING);
            ledger.hand_over(&name, &lost, &aside(&name))?;
        }
        for number in
            checkpoints.numbered(note::ENDING)?.into_iter().filter(|number| *number > size)
        {
            let name = numbered(number, note::ENDING);
            checkpoints.hand_over(&name, &lost, &aside(&name))?;
        }
        lost.sync()?;
        ledger.sync()?;
        checkpoints.sync()
    }
}
