//! A ledger in a temporary folder, with a view that counts and a clock that stands.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::chain::Chain;
use crate::disk::{Disk, RealDisk, zero};
use crate::*;

/// Keeps the numbers of the entries it was given.
#[derive(Clone, Default)]
pub(super) struct Seen(pub(super) Arc<Mutex<Vec<u64>>>);

impl View for Seen {
    fn apply(&mut self, entry: &Entry) {
        self.0.lock().unwrap().push(entry.seq);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.lock().unwrap().iter().flat_map(|seq| seq.to_be_bytes()).collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let (numbers, []) = bytes.as_chunks() else {
            return Err(RestoreError("odd length".into()));
        };
        *self.0.lock().unwrap() =
            numbers.iter().map(|number| u64::from_be_bytes(*number)).collect();
        Ok(())
    }
}

/// A disk that does as it is told.
#[derive(Default)]
pub(super) struct TestDisk {
    pub(super) full: AtomicBool,
    pub(super) broken: AtomicBool,
    pub(super) syncs: AtomicUsize,
}

impl Disk for TestDisk {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        RealDisk.write(file, bytes, offset)
    }

    fn sync(&self, _: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("I/O error"));
        }
        // What outlives a power cut is not tried here, so the tests need not wait for the disk.
        Ok(())
    }

    fn fill(&self, file: &File, length: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.set_len(length)?;
        zero(file, 0, length)
    }
}

/// A state folder and what a ledger in it is opened with.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) disk: Arc<TestDisk>,
    pub(super) now: Arc<AtomicU64>,
    pub(super) poisoned: Arc<AtomicUsize>,
}

pub(super) fn master() -> MasterKey {
    MasterKey::new([42; 32])
}

pub(super) fn draft(kind: Kind, text: &str) -> Draft {
    let who = Who { agent: Some("refund-bot".into()), ..Who::default() };
    Draft { kind, who, body: Body::of(text).unwrap(), commitment: None }
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
            now: Arc::new(AtomicU64::new(1_000)),
            poisoned: Arc::default(),
        }
    }

    pub(super) fn state(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn options(&self, view: &Seen) -> Options {
        let (now, poisoned) = (Arc::clone(&self.now), Arc::clone(&self.poisoned));
        let mut options = Options::new(
            self.state(),
            master(),
            Box::new(view.clone()),
            Arc::new(move || now.load(Ordering::SeqCst)),
            Arc::new(|bytes| getrandom::fill(bytes).map_err(io::Error::other)),
        );
        options.segment_bytes = MIN_SEGMENT;
        options.poisoned = Box::new(move |_| {
            poisoned.fetch_add(1, Ordering::SeqCst);
        });
        options.disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        options
    }

    pub(super) fn opened(&self) -> Opened {
        Ledger::open(self.options(&Seen::default())).unwrap()
    }

    pub(super) fn ready(&self) -> Ledger {
        match self.opened() {
            Opened::Ready(ledger) => ledger,
            Opened::Behind(behind) => panic!("{:?}", behind.loss()),
        }
    }

    pub(super) fn behind(&self) -> Box<Behind> {
        match self.opened() {
            Opened::Ready(_) => panic!("it opened as if nothing were lost"),
            Opened::Behind(behind) => behind,
        }
    }

    pub(super) fn report(&self) -> Report {
        verify(self.state(), None, &master()).unwrap()
    }

    pub(super) fn valid(&self) -> Report {
        let report = self.report();
        assert!(report.valid, "{report:?}");
        report
    }

    /// The segments' files, in order.
    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.state().join("ledger")).unwrap();
        let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
        paths.sort();
        paths
    }

    /// The entries, each checked against the one before.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut reader = Reader::open(self.state(), &master(), 0).unwrap();
        let mut chain = Chain::empty();
        let mut entries = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            chain.check(&entry).unwrap();
            chain.push(&entry);
            entries.push(entry);
        }
        entries
    }
}

/// Enters `count` decisions.
pub(super) fn fill(ledger: &Ledger, count: usize) {
    for number in 0..count {
        ledger.append_wait(draft(Kind::Decision, &format!("decision {number}"))).unwrap();
    }
}
