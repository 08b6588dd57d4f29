//! The catalogue on this kernel, against what was recorded.

use std::collections::BTreeSet;
use std::path::Path;

use netns::catalogue::cases;
use netns::judge::State;
use netns::results::{Found, Results};
use netns::run::{self, Programs};

/// Set by `cargo xtask threats --measure`: what is found becomes the record.
const RECORDING: &str = "NETNS_RECORD";

#[test]
fn every_way_out_is_held_and_what_this_kernel_lacks_is_named() {
    let [techniques, gate] =
        [env!("CARGO_BIN_EXE_techniques"), env!("CARGO_BIN_EXE_stub-gate")].map(Path::new);
    let programs = Programs::beside(techniques, gate);
    let found = run::carry_out(&programs, &cases()).unwrap();
    let leaked: Vec<_> = found.all().filter(|(.., found)| found.state == State::Leaked).collect();
    assert!(leaked.is_empty(), "{leaked:#?}");
    if std::env::var_os(RECORDING).is_some() {
        found.record().unwrap();
    }
    let recorded = Results::recorded().unwrap();
    // Another kernel may lack what this one has, but the same one always has the same.
    if recorded.kernel == found.kernel {
        let changed: Vec<_> =
            states(&recorded).symmetric_difference(&states(&found)).cloned().collect();
        assert!(changed.is_empty(), "run cargo xtask threats --measure: {changed:#?}");
    }
}

/// Each trial with its state.
fn states(results: &Results) -> BTreeSet<String> {
    let told = |(case, trial, found): (&str, &str, &Found)| {
        format!("{case} ({trial}): {}", found.state.word())
    };
    results.all().map(told).collect()
}

#[test]
fn the_record_is_of_this_catalogue() {
    let fresh = Results::of(&cases()).unwrap();
    let recorded = Results::recorded().unwrap();
    assert_eq!(recorded.catalogue(), fresh.catalogue(), "run cargo xtask threats --measure");
}

#[test]
fn no_two_cases_have_the_same_name_and_each_says_what_closes_it() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    for case in &cases {
        assert!(!case.closed_by.is_empty() && !case.group.is_empty(), "{}", case.name);
    }
}

#[test]
fn the_threat_model_shows_every_case() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/threat-model.md");
    let page = std::fs::read_to_string(page).unwrap();
    for case in cases() {
        assert!(
            page.contains(&format!("| `{}` |", case.name)),
            "{}: run cargo xtask threats",
            case.name
        );
    }
}
