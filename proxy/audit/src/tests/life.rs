use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::harness::*;
use crate::*;

#[test]
fn what_was_acknowledged_is_read_back_in_order_over_many_segments() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let receipts: Vec<_> = (0..250)
        .map(|number| ledger.append_wait(draft(Kind::Decision, &number.to_string())).unwrap())
        .collect();
    ledger.close();
    let entries = bench.entries();
    for receipt in receipts {
        let entry = &entries[usize::try_from(receipt.seq).unwrap()];
        assert_eq!((entry.hash, entry.time), (receipt.hash, receipt.time));
    }
    assert!(bench.segments().len() > 4);
    let report = bench.valid();
    assert_eq!(report.entries, entries.len() as u64);
    assert!(report.checkpoints >= 5 && report.snapshots == 2, "{report:?}");
}

#[test]
fn a_view_is_the_same_after_a_restart_from_a_snapshot_as_without_one() {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 150);
    ledger.close();
    let with = Seen::default();
    assert!(matches!(Ledger::open(bench.options(&with)).unwrap(), Opened::Ready(_)));
    std::fs::remove_dir_all(bench.state().join("snapshots")).unwrap();
    let without = Seen::default();
    assert!(matches!(Ledger::open(bench.options(&without)).unwrap(), Opened::Ready(_)));
    let all: Vec<u64> = (0..bench.valid().entries).collect();
    assert_eq!(*with.0.lock().unwrap(), all);
    assert_eq!(*without.0.lock().unwrap(), all);
}

#[test]
fn a_changed_snapshot_is_not_used_and_makes_the_report_invalid() {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 150);
    ledger.close();
    for entry in std::fs::read_dir(bench.state().join("snapshots")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(!bench.report().valid);
    let view = Seen::default();
    assert!(matches!(Ledger::open(bench.options(&view)).unwrap(), Opened::Ready(_)));
    assert_eq!(view.0.lock().unwrap().len() as u64, bench.report().entries);
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_closed() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let second = Ledger::open(bench.options(&Seen::default()));
    assert!(matches!(second, Err(OpenError::Busy { .. })));
    ledger.close();
    bench.ready();
}

#[test]
fn time_never_runs_backwards() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let first = ledger.append_wait(draft(Kind::Run, "")).unwrap();
    bench.now.store(5, Ordering::SeqCst);
    assert_eq!(ledger.append_wait(draft(Kind::Run, "")).unwrap().time, first.time);
    drop(ledger);
    assert_eq!(bench.ready().append_wait(draft(Kind::Run, "")).unwrap().time, first.time);
    bench.valid();
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_the_ledger_goes_on() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let long = ledger.append_wait(draft(Kind::Run, &"x".repeat(4096)));
    assert!(matches!(long, Err(LedgerError::TooLarge { limit: 1024, .. })));
    let mut named = draft(Kind::Run, "");
    named.who.did = Some("x".repeat(2000));
    assert_eq!(ledger.append_wait(named), Err(LedgerError::Identity("did")));
    assert!(ledger.append_wait(draft(Kind::Run, "")).is_ok());
    ledger.close();
    assert_eq!(ledger.append_wait(draft(Kind::Run, "")), Err(LedgerError::Closed));
}

#[test]
fn sixty_four_threads_make_one_chain() {
    let bench = Bench::new();
    let ledger = Arc::new(bench.ready());
    let threads: Vec<_> = (0..64)
        .map(|thread| {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || {
                for number in 0..10 {
                    ledger
                        .append_wait(draft(Kind::Decision, &format!("{thread}/{number}")))
                        .unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    ledger.close();
    let entries = bench.entries();
    assert_eq!(entries.iter().filter(|entry| entry.kind == Kind::Decision).count(), 640);
    bench.valid();
}

#[test]
fn a_reader_follows_the_writer_into_the_next_segments() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let mut reader = Reader::open(bench.state(), &master(), 0).unwrap();
    assert_eq!(reader.next().unwrap(), None);
    let mut read = 0;
    for _ in 0..120 {
        fill(&ledger, 1);
        while let Some(entry) = reader.next().unwrap() {
            assert_eq!(entry.seq, read);
            read += 1;
        }
        assert_eq!(read, ledger.status().entries);
    }
    assert!(bench.segments().len() > 2);
    let mut late = Reader::open(bench.state(), &master(), 77).unwrap();
    assert_eq!(late.next().unwrap().unwrap().seq, 77);
}

#[test]
fn nothing_readable_lies_on_disk() {
    let bench = Bench::new();
    let ledger = bench.ready();
    for _ in 0..100 {
        ledger.append_wait(draft(Kind::Decision, "a canary in the body")).unwrap();
    }
    ledger.close();
    let folders = ["ledger", "snapshots", "checkpoints", "."];
    for folder in folders.map(|name| bench.state().join(name)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            for canary in [&b"canary"[..], b"refund-bot"] {
                assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{path:?}");
            }
        }
    }
    assert!(!format!("{:?}", bench.options(&Seen::default())).contains("42, 42"));
}

#[test]
fn another_master_key_opens_nothing() {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 3);
    ledger.close();
    let other = MasterKey::new([1; 32]);
    assert!(!verify(bench.state(), None, &other).unwrap().valid);
    assert!(Reader::open(bench.state(), &other, 0).unwrap().next().is_err());
    let options = Options { master: other, ..bench.options(&Seen::default()) };
    assert!(matches!(Ledger::open(options).unwrap(), Opened::Behind(_)));
}
