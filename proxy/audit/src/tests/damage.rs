use std::sync::mpsc;

use proptest::prelude::*;

use super::harness::*;
use crate::segment::HEADER;
use crate::*;

/// A closed ledger of one segment, and where its frames end.
fn small(count: usize) -> (Bench, Vec<u8>, usize) {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, count);
    ledger.close();
    let bytes = std::fs::read(&bench.segments()[0]).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (bench, bytes, end)
}

fn put(bench: &Bench, bytes: &[u8]) {
    std::fs::write(&bench.segments()[0], bytes).unwrap();
}

#[test]
fn every_flipped_byte_of_what_was_acknowledged_is_invalid() {
    let (bench, bytes, end) = small(3);
    bench.valid();
    for at in 0..end {
        let mut changed = bytes.clone();
        changed[at] ^= if at % 2 == 0 { 0x01 } else { 0xff };
        put(&bench, &changed);
        assert!(!bench.report().valid, "byte {at}");
    }
}

#[test]
fn a_cut_at_any_byte_never_starts_as_if_nothing_were_lost() {
    let (bench, bytes, end) = small(3);
    for cut in 0..end {
        put(&bench, &bytes[..cut]);
        assert!(!bench.report().valid, "cut at {cut}");
        assert!(matches!(bench.opened(), Opened::Behind(_)), "cut at {cut}");
    }
}

#[test]
fn a_cut_in_the_zeros_is_named_and_mended() {
    let (bench, bytes, end) = small(3);
    for cut in [end, end + 1, bytes.len() - 1] {
        put(&bench, &bytes[..cut]);
        assert!(bench.valid().torn_tail.is_some());
        bench.ready().close();
        assert_eq!(std::fs::read(&bench.segments()[0]).unwrap().len(), bytes.len());
        assert_eq!(bench.valid().torn_tail, None);
    }
}

/// What a crash leaves: four acknowledged entries, then two that were on their way to the disk
/// together.
fn torn() -> (Bench, Vec<u8>, usize, usize) {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 3);
    ledger.close();
    let path = bench.segments()[0].clone();
    let mark = std::fs::read(bench.state().join("checkpoint")).unwrap();
    let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let ledger = bench.ready();
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let file = path.clone();
    // While this acknowledgement waits the writer does too, so that the next two go together.
    ledger.append(draft(Kind::Decision, "decision"), Urgency::Commit, move |result| {
        result.unwrap();
        tell.send(end(&std::fs::read(file).unwrap())).unwrap();
        released.recv().unwrap();
    });
    let from = told.recv().unwrap();
    for _ in 0..2 {
        let on_its_way = draft(Kind::Decision, "on its way");
        ledger.append(on_its_way, Urgency::Commit, |result| assert!(result.is_ok()));
    }
    release.send(()).unwrap();
    ledger.close();
    std::fs::write(bench.state().join("checkpoint"), mark).unwrap();
    std::fs::remove_dir_all(bench.state().join("checkpoints")).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let to = end(&bytes);
    (bench, bytes, from, to)
}

/// The ledger opens, keeps what was acknowledged, says what it cut off, and goes on.
fn recovers(bench: &Bench, case: &str) {
    let report = bench.report();
    assert!(report.valid && report.torn_tail.is_some(), "{case}: {report:?}");
    let ledger = bench.ready();
    assert!(ledger.recovered().is_some(), "{case}");
    fill(&ledger, 1);
    ledger.close();
    let entries = bench.entries();
    assert!(entries.iter().any(|entry| entry.kind == Kind::Recovered), "{case}");
    assert!(entries[..4].iter().all(|entry| entry.body.as_str().contains("decision")), "{case}");
    let report = bench.valid();
    assert_eq!(report.torn_tail, None, "{case}");
}

#[test]
fn a_write_torn_at_any_byte_is_cut_off_and_named() {
    let (bench, bytes, from, to) = torn();
    let mark = std::fs::read(bench.state().join("checkpoint")).unwrap();
    for cut in from + 1..to {
        let mut cut_off = bytes.clone();
        cut_off[cut..].fill(0);
        if cut_off[from..cut].iter().all(|byte| *byte == 0) || cut_off == bytes {
            continue;
        }
        put(&bench, &cut_off);
        std::fs::write(bench.state().join("checkpoint"), &mark).unwrap();
        drop(std::fs::remove_dir_all(bench.state().join("checkpoints")));
        if bench.report().torn_tail.is_some() {
            recovers(&bench, &format!("cut at {cut}"));
        } else {
            // The cut is exactly between the two: one of them was written whole.
            assert_eq!(bench.valid().entries, 5, "cut at {cut}");
        }
    }
}

#[test]
fn a_write_of_which_only_the_end_arrived_is_torn_too() {
    let (bench, mut bytes, from, to) = torn();
    bytes[from..from + 60].fill(0);
    // Further than what is entered next reaches.
    bytes[to + 2000..to + 2100].fill(7);
    put(&bench, &bytes);
    recovers(&bench, "the beginning is missing");
}

#[test]
fn what_a_later_commit_has_proved_durable_is_not_taken_for_torn() {
    let (bench, ..) = small(1);
    let mark = std::fs::read(bench.state().join("checkpoint")).unwrap();
    let ledger = bench.ready();
    fill(&ledger, 4);
    ledger.close();
    // The mark knows of the first entry only, as after a power cut.
    std::fs::write(bench.state().join("checkpoint"), mark).unwrap();
    std::fs::remove_dir_all(bench.state().join("checkpoints")).unwrap();
    bench.valid();
    let mut changed = std::fs::read(&bench.segments()[0]).unwrap();
    let end = changed.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let frame = (end - HEADER) / 5;
    changed[end - 2 * frame + 40] ^= 1;
    put(&bench, &changed);
    let report = bench.report();
    assert_eq!(report.torn_tail, None);
    assert!(
        report.faults.iter().any(|fault| fault.segment == Some(0) && fault.seq == Some(3)),
        "{report:?}"
    );
    assert!(matches!(bench.opened(), Opened::Behind(_)));
}

#[test]
fn a_number_that_is_given_again_is_sealed_under_another_nonce() {
    let (bench, bytes, from, _) = torn();
    let nonce = |bytes: &[u8]| bytes[from + 20..from + 32].to_vec();
    let mut cut = bytes.clone();
    cut[from + 60..].fill(0);
    put(&bench, &cut);
    recovers(&bench, "the first of the two is torn");
    let again = std::fs::read(&bench.segments()[0]).unwrap();
    assert_eq!(again[from + 4..from + 12], bytes[from + 4..from + 12], "the same number");
    assert_ne!(nonce(&again), nonce(&bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6),
        cut in any::<prop::sample::Index>(),
        file in 0usize..4,
    ) {
        let bench = Bench::new();
        let ledger = bench.ready();
        fill(&ledger, 60);
        ledger.close();
        let folder = ["ledger", "snapshots", "checkpoints", "."][file];
        let mut paths: Vec<_> = std::fs::read_dir(bench.state().join(folder)).unwrap()
            .map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        paths.sort();
        let path = &paths[cut.index(paths.len())];
        let mut bytes = std::fs::read(path).unwrap();
        for (at, flip) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
        }
        bytes.truncate(cut.index(bytes.len() * 2 + 1));
        std::fs::write(path, bytes).unwrap();
        let _ = bench.report();
        if let Ok(mut reader) = Reader::open(bench.state(), &master(), 0) {
            while let Ok(Some(_)) = reader.next() {}
        }
        match bench.opened() {
            Opened::Ready(ledger) => fill(&ledger, 1),
            Opened::Behind(behind) => {
                let ledger = behind.accept_loss(Who::default(), "a test").unwrap();
                fill(&ledger, 1);
            }
        }
    }
}
