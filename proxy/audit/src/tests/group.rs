use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::harness::*;
use crate::*;

fn syncs(bench: &Bench) -> usize {
    bench.disk.syncs.load(Ordering::SeqCst)
}

#[test]
fn those_on_the_way_share_one_sync() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let announcements: Vec<_> = (0..40).map(|_| ledger.announce()).collect();
    let before = syncs(&bench);
    let (done, wait) = mpsc::channel();
    for announcement in announcements {
        let done = done.clone();
        announcement.append(draft(Kind::Decision, ""), move |result| done.send(result).unwrap());
    }
    for _ in 0..40 {
        wait.recv().unwrap().unwrap();
    }
    // On a machine that stalls, the spacing may end before all have come.
    assert!(syncs(&bench) - before < 20, "{}", syncs(&bench) - before);
}

#[test]
fn one_that_never_comes_holds_nobody_up_for_ever() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let _never = ledger.announce();
    ledger.append_wait(draft(Kind::Decision, "")).unwrap();
}

#[test]
fn what_rides_goes_with_the_next_commit() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let before = syncs(&bench);
    let (done, wait) = mpsc::channel();
    ledger
        .append(draft(Kind::Outcome, ""), Urgency::Ride, move |result| done.send(result).unwrap());
    let decision = ledger.append_wait(draft(Kind::Decision, "")).unwrap();
    let outcome = wait.try_recv().expect("acknowledged before the decision").unwrap();
    assert_eq!(outcome.seq + 1, decision.seq);
    // One, unless the machine stalled for the 20 ms after which it goes alone.
    assert!(syncs(&bench) - before <= 2);
}

#[test]
fn what_rides_goes_alone_when_nothing_else_comes() {
    let bench = Bench::new();
    let ledger = bench.ready();
    // More than once: at first the writer may not be asleep yet.
    for _ in 0..10 {
        let (done, wait) = mpsc::channel();
        ledger.append(draft(Kind::Outcome, ""), Urgency::Ride, move |result| {
            done.send(result).unwrap();
        });
        assert!(wait.recv().unwrap().is_ok());
    }
}

#[test]
fn closing_writes_what_waits() {
    let bench = Bench::new();
    let ledger = bench.ready();
    let (done, wait) = mpsc::channel();
    ledger
        .append(draft(Kind::Outcome, ""), Urgency::Ride, move |result| done.send(result).unwrap());
    ledger.close();
    assert!(wait.recv().unwrap().is_ok());
    assert_eq!(bench.valid().entries, 1);
}

#[test]
fn a_failed_sync_is_final() {
    let bench = Bench::new();
    let ledger = bench.ready();
    ledger.append_wait(draft(Kind::Decision, "kept")).unwrap();
    bench.disk.broken.store(true, Ordering::SeqCst);
    assert!(matches!(ledger.append_wait(draft(Kind::Decision, "")), Err(LedgerError::Poisoned(_))));
    bench.disk.broken.store(false, Ordering::SeqCst);
    let after = syncs(&bench);
    assert!(matches!(ledger.append_wait(draft(Kind::Kill, "")), Err(LedgerError::Poisoned(_))));
    assert_eq!(syncs(&bench), after);
    ledger.close();
    assert_eq!(bench.poisoned.load(Ordering::SeqCst), 1);
    bench.ready();
    assert_eq!(bench.entries()[0].body.as_str(), "\"kept\"");
    bench.valid();
}

#[test]
fn an_acknowledgement_that_panics_stops_the_ledger_and_not_the_process() {
    let bench = Bench::new();
    let ledger = bench.ready();
    ledger.append(draft(Kind::Decision, ""), Urgency::Commit, |_| panic!("a caller's mistake"));
    while ledger.status().stopped.is_none() {
        std::thread::yield_now();
    }
    assert!(matches!(ledger.append_wait(draft(Kind::Decision, "")), Err(LedgerError::Poisoned(_))));
    ledger.close();
    assert_eq!(bench.poisoned.load(Ordering::SeqCst), 1);
}
