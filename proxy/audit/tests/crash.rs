//! Kills a process that appends, at many moments, and looks for every entry it was told of.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test fail as the test does")]

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_audit::{
    Body, Draft, Entry, Kind, Ledger, MIN_SEGMENT, MasterKey, Opened, Options, Reader,
    RestoreError, Urgency, View, Who, verify,
};

/// The state folder, for the process that is killed.
const STATE: &str = "LEDGER_CRASH_STATE";

struct Nothing;

impl View for Nothing {
    fn apply(&mut self, _: &Entry) {}

    fn snapshot(&self) -> Vec<u8> {
        vec![7; 2000]
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn master() -> MasterKey {
    MasterKey::new([9; 32])
}

fn open(state: &Path) -> Ledger {
    let ticks = AtomicU64::new(1);
    let now = Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed));
    let random = Arc::new(|bytes: &mut [u8]| getrandom::fill(bytes).map_err(io::Error::other));
    let mut options = Options::new(state, master(), Box::new(Nothing), now, random);
    options.segment_bytes = 4 * MIN_SEGMENT;
    match Ledger::open(options) {
        Ok(Opened::Ready(ledger)) => ledger,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "the process that every_acknowledged_entry_outlives_a_kill starts and kills"]
fn child() {
    let state = std::env::var_os(STATE).expect("started by the test");
    let ledger = Arc::new(open(Path::new(&state)));
    for thread in 0..8 {
        let ledger = Arc::clone(&ledger);
        std::thread::spawn(move || {
            for number in 0.. {
                append(&ledger, thread, number);
            }
        });
    }
    std::thread::park();
}

/// Enters one decision and one outcome, and tells the parent once they are acknowledged.
fn append(ledger: &Ledger, thread: u32, number: u32) {
    let kind = if number % 16 == 3 { Kind::Kill } else { Kind::Decision };
    let draft = |kind, what: &str| Draft {
        kind,
        who: Who { agent: Some(thread.to_string()), ..Who::default() },
        body: Body::of(&format!("{what} {number}")).unwrap(),
        commitment: None,
    };
    let tell = |seq, hash| {
        let line = format!("acknowledged {seq} {hash}\n");
        io::stdout().write_all(line.as_bytes()).unwrap();
    };
    let receipt = ledger.append_wait(draft(kind, "decision")).unwrap();
    tell(receipt.seq, receipt.hash);
    ledger.append(draft(Kind::Outcome, "outcome"), Urgency::Ride, move |result| {
        let receipt = result.unwrap();
        tell(receipt.seq, receipt.hash);
    });
}

fn start(state: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(STATE, state)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_acknowledged_entry_outlives_a_kill() {
    let state = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 0..12usize {
        let mut child = start(state.path());
        let told = acknowledged.len();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map(Result::unwrap) {
            // The harness of the tests writes to the same pipe, so a line may begin with its words.
            let Some((_, words)) = line.split_once("acknowledged ") else { continue };
            // The last line may be cut by the kill.
            let Some((seq, hash)) = words.split_once(' ').filter(|(_, hash)| hash.len() == 64)
            else {
                continue;
            };
            acknowledged.push((seq.parse().unwrap(), hash.to_owned()));
            if acknowledged.len() == told + 1 + round * 37 {
                child.kill().unwrap();
            }
        }
        assert!(acknowledged.len() > told, "the child did not run");
        child.wait().unwrap();
        let report = verify(state.path(), None, &master()).unwrap();
        assert!(report.valid, "{report:?}");
        let entries = read(state.path());
        for (seq, hash) in &acknowledged {
            assert_eq!(
                entries[usize::try_from(*seq).unwrap()].hash.to_string(),
                *hash,
                "round {round}"
            );
        }
    }
    assert!(acknowledged.len() > 2000);
    open(state.path()).close();
    assert!(verify(state.path(), None, &master()).unwrap().valid);
}

fn read(state: &Path) -> Vec<Entry> {
    let mut reader = Reader::open(state, &master(), 0).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        entries.push(entry);
    }
    entries
}
