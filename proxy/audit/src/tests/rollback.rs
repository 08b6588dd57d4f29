use super::harness::*;
use crate::segment::HEADER;
use crate::*;

/// A closed ledger of several segments with a kill at its end.
fn killed() -> Bench {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 130);
    ledger.append_wait(draft(Kind::Kill, "INC-4711")).unwrap();
    ledger.close();
    assert!(bench.segments().len() > 2);
    bench.valid();
    bench
}

fn refused(bench: &Bench, case: &str) {
    assert!(!bench.report().valid, "{case}");
    assert!(matches!(bench.opened(), Opened::Behind(_)), "{case}");
}

/// Where each frame of a segment ends, from the lengths in their heads.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![HEADER];
    loop {
        let at = ends[ends.len() - 1];
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if length == 0 {
            return ends;
        }
        ends.push(at + 32 + length);
    }
}

#[test]
fn no_cut_at_an_entry_boundary_undoes_a_kill() {
    let bench = killed();
    let path = bench.segments().pop().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let ends = boundaries(&bytes);
    assert!(ends.len() > 3);
    for end in &ends[..ends.len() - 1] {
        let mut cut = bytes.clone();
        cut[*end..].fill(0);
        std::fs::write(&path, cut).unwrap();
        refused(&bench, &format!("cut at {end}"));
    }
}

#[test]
fn a_kill_is_not_undone_either_when_the_process_died_without_closing() {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 3);
    ledger.append_wait(draft(Kind::Kill, "INC-4711")).unwrap();
    // What is on disk while it still runs is what a death at this moment leaves.
    let copy = tempfile::tempdir().unwrap();
    for name in ["checkpoint", "ledger/00000000000000000000.seg"] {
        std::fs::create_dir_all(copy.path().join(name).parent().unwrap()).unwrap();
        std::fs::copy(bench.state().join(name), copy.path().join(name)).unwrap();
    }
    assert!(verify(copy.path(), None, &master()).unwrap().valid);
    let path = copy.path().join("ledger/00000000000000000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let ends = boundaries(&bytes);
    bytes[ends[ends.len() - 2]..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    assert!(!verify(copy.path(), None, &master()).unwrap().valid);
}

#[test]
fn every_removed_segment_is_missed() {
    let bench = killed();
    for path in bench.segments() {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!bench.report().valid, "{path:?}");
        std::fs::write(&path, bytes).unwrap();
    }
    bench.valid();
    std::fs::remove_file(bench.segments().pop().unwrap()).unwrap();
    refused(&bench, "the last segment");
}

#[test]
fn swapped_segments_are_seen() {
    let bench = killed();
    let paths = bench.segments();
    let (one, two) = (std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    std::fs::write(&paths[0], two).unwrap();
    std::fs::write(&paths[1], one).unwrap();
    assert!(!bench.report().valid);
}

#[test]
fn another_ledgers_segments_are_not_taken_for_its_own() {
    let (bench, other) = (killed(), killed());
    for (here, there) in bench.segments().iter().zip(other.segments()) {
        std::fs::copy(there, here).unwrap();
    }
    refused(&bench, "all segments of another ledger");
}

#[test]
fn a_ledger_without_its_mark_does_not_start() {
    let bench = killed();
    std::fs::remove_file(bench.state().join("checkpoint")).unwrap();
    refused(&bench, "no mark");
}

#[test]
fn a_ledger_that_is_gone_is_not_a_new_one() {
    let bench = killed();
    std::fs::remove_dir_all(bench.state().join("ledger")).unwrap();
    assert!(matches!(bench.opened(), Opened::Behind(_)));
    assert!(!bench.report().valid);
}

#[test]
fn an_older_copy_of_the_whole_folder_is_seen_by_a_mark_in_another_place() {
    let (bench, elsewhere) = (Bench::new(), tempfile::tempdir().unwrap());
    let mark = elsewhere.path().join("mark");
    let open = || {
        let options = Options { mark: mark.clone(), ..bench.options(&Seen::default()) };
        Ledger::open(options).unwrap()
    };
    let Opened::Ready(ledger) = open() else { panic!("a new ledger") };
    fill(&ledger, 3);
    ledger.close();
    let path = bench.segments()[0].clone();
    let older = std::fs::read(&path).unwrap();
    let Opened::Ready(ledger) = open() else { panic!("nothing is lost") };
    ledger.append_wait(draft(Kind::Kill, "")).unwrap();
    ledger.close();
    std::fs::write(&path, older).unwrap();
    assert!(matches!(open(), Opened::Behind(_)));
    assert!(!verify(bench.state(), Some(&mark), &master()).unwrap().valid);
}

#[test]
fn a_loss_that_an_operator_accepts_is_an_entry_and_the_ledger_goes_on() {
    let bench = killed();
    let total = bench.valid().entries;
    let lost = bench.segments().pop().unwrap();
    std::fs::remove_file(lost).unwrap();
    let behind = bench.behind();
    assert_eq!(behind.loss().acknowledged.unwrap().size, total);
    let kept = behind.loss().kept.size;
    assert!(kept < total);
    let operator = Who { process: Some("alice".into()), ..Who::default() };
    let ledger = behind.accept_loss(operator, "disk replaced").unwrap();
    fill(&ledger, 2);
    ledger.close();
    let entries = bench.entries();
    let mut after = entries.iter().filter(|entry| entry.seq >= kept);
    let accepted = after.find(|entry| entry.kind != Kind::Snapshot).unwrap();
    assert_eq!(accepted.kind, Kind::Operator);
    assert!(accepted.body.as_str().contains("disk replaced"));
    assert_eq!(bench.valid().accepted_losses, [accepted.seq]);
    bench.ready();
}

#[test]
fn a_loss_that_nobody_accepts_stays() {
    let bench = killed();
    std::fs::remove_file(bench.segments().pop().unwrap()).unwrap();
    drop(bench.behind());
    drop(bench.behind());
}

#[test]
fn a_changed_checkpoint_is_a_fault() {
    let bench = killed();
    let folder = std::fs::read_dir(bench.state().join("checkpoints")).unwrap();
    let path = folder.map(|entry| entry.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [("\n\n", "\nx\n\n"), ("tollgate", "tollgrate")] {
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(!bench.report().valid, "{from}");
    }
    std::fs::write(&path, text).unwrap();
    bench.valid();
}

#[test]
fn another_future_of_the_same_ledger_is_not_taken_for_this_one() {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 5);
    ledger.close();
    let path = bench.segments()[0].clone();
    let (common, mark) = (path.with_extension("copy"), bench.state().join("checkpoint"));
    std::fs::copy(&path, &common).unwrap();
    let old_mark = std::fs::read(&mark).unwrap();
    let ledger = bench.ready();
    ledger.append_wait(draft(Kind::Kill, "this one")).unwrap();
    ledger.close();
    let this_mark = std::fs::read(&mark).unwrap();
    std::fs::rename(common, &path).unwrap();
    std::fs::write(&mark, old_mark).unwrap();
    let ledger = bench.ready();
    fill(&ledger, 3);
    ledger.close();
    std::fs::write(&mark, this_mark).unwrap();
    // A checkpoint of the other future would show it too; the mark alone must.
    std::fs::remove_dir_all(bench.state().join("checkpoints")).unwrap();
    refused(&bench, "it is longer, and without the kill");
}

#[test]
fn a_mark_that_lags_behind_whole_segments_still_fits() {
    let bench = Bench::new();
    let ledger = bench.ready();
    fill(&ledger, 5);
    ledger.close();
    let mark = std::fs::read(bench.state().join("checkpoint")).unwrap();
    let ledger = bench.ready();
    fill(&ledger, 150);
    ledger.close();
    std::fs::write(bench.state().join("checkpoint"), mark).unwrap();
    bench.valid();
    bench.ready();
}
