use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

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

#[test]
fn a_fact_stands_once_in_each_segment_that_names_it_and_before_what_names_it() {
    let bench = Bench::new();
    let fact = Arc::new(Fact::of(Body::of(&["pass", "pass"]).unwrap()));
    let mut ledger = bench.ready();
    for number in 0..120 {
        let naming = draft(Kind::Decision, &format!("{number} {}", fact.digest()));
        let (done, wait) = mpsc::channel();
        ledger.append_naming(naming, Arc::clone(&fact), Urgency::Commit, move |result| {
            done.send(result).unwrap();
        });
        wait.recv().unwrap().unwrap();
        if number == 60 {
            ledger.close();
            ledger = bench.ready();
        }
    }
    ledger.close();
    bench.valid();
    let begins = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>();
    let firsts: Vec<u64> = bench.segments().into_iter().map(|path| begins(path).unwrap()).collect();
    assert!(firsts.len() > 1);
    let entries = bench.entries();
    let name = fact.digest().to_string();
    let mut facts = 0;
    for entry in &entries {
        if entry.kind == Kind::Fact {
            assert_eq!(Fact::digest_of(&entry.body), fact.digest());
            facts += 1;
        }
        if entry.body.as_str().contains(&name) {
            let segment = firsts.iter().rev().find(|first| **first <= entry.seq).unwrap();
            let before = entries.iter().filter(|other| (*segment..entry.seq).contains(&other.seq));
            assert!(before.into_iter().any(|other| other.kind == Kind::Fact), "{}", entry.seq);
        }
    }
    // Once more where the ledger was opened again in the middle of a segment.
    assert!((1..=firsts.len() + 1).contains(&facts), "{facts} in {firsts:?}");
    assert_eq!(entries.iter().filter(|entry| entry.kind == Kind::Decision).count(), 120);
}
