use std::sync::atomic::Ordering;

use super::harness::*;
use crate::*;

/// Enters `kind` until it is refused.
fn until_full(ledger: &Ledger, kind: Kind) -> usize {
    for entered in 0..1000 {
        match ledger.append_wait(draft(kind, "x")) {
            Ok(_) => {}
            Err(LedgerError::Full) => return entered,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never full");
}

#[test]
fn a_full_disk_refuses_decisions_while_operators_still_kill() {
    let bench = Bench::new();
    let ledger = bench.ready();
    bench.disk.full.store(true, Ordering::SeqCst);
    assert!(until_full(&ledger, Kind::Decision) > 10);
    assert!(ledger.status().full);
    for kind in [Kind::Kill, Kind::Unkill, Kind::Operator, Kind::Budget] {
        ledger.append_wait(draft(kind, "x")).unwrap();
    }
    assert_eq!(ledger.append_wait(draft(Kind::Decision, "x")), Err(LedgerError::Full));
    assert!(until_full(&ledger, Kind::Kill) > 2);
    ledger.close();
    bench.valid();
}

#[test]
fn a_full_disk_does_not_keep_a_ledger_from_opening() {
    let bench = Bench::new();
    let ledger = bench.ready();
    bench.disk.full.store(true, Ordering::SeqCst);
    until_full(&ledger, Kind::Decision);
    ledger.close();
    let ledger = bench.ready();
    ledger.append_wait(draft(Kind::Kill, "x")).unwrap();
}

#[test]
fn decisions_go_on_once_there_is_room_again() {
    let bench = Bench::new();
    let ledger = bench.ready();
    bench.disk.full.store(true, Ordering::SeqCst);
    until_full(&ledger, Kind::Decision);
    until_full(&ledger, Kind::Kill);
    bench.disk.full.store(false, Ordering::SeqCst);
    bench.now.fetch_add(2_000_000, Ordering::SeqCst);
    fill(&ledger, 100);
    assert!(!ledger.status().full);
    ledger.close();
    bench.valid();
}
