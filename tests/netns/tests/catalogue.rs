//! The catalogue on this kernel.

use netns::catalogue::cases;
use netns::judge;
use netns::run::{Harness, Programs};

#[test]
fn every_way_out_is_held_or_named_as_not_run() {
    let programs = Programs {
        techniques: env!("CARGO_BIN_EXE_techniques").into(),
        gate: env!("CARGO_BIN_EXE_stub-gate").into(),
    };
    let mut harness = Harness::new(programs).unwrap();
    let mut broken = Vec::new();
    let all = cases();
    let controls = harness.controls(&all).unwrap();
    for case in &all {
        for who in case.who {
            let Some(control) = controls.get(&(case.name, *who)) else { continue };
            if !judge::works(case, control) {
                broken.push(format!("{} {who:?}: {:?}", case.name, judge::excused(case, control)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
