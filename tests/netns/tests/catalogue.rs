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
    let begin = std::time::Instant::now();
    let controls = harness.controls(&all).unwrap();
    broken.push(format!("controls {:?}", begin.elapsed()));
    let mut lacking = Vec::new();
    for case in &all {
        for who in case.who {
            let Some(control) = controls.get(&(case.name, *who)) else { continue };
            if !judge::works(case, control) {
                match judge::excused(case, control) {
                    Ok(_) => lacking.push(case.name),
                    Err(why) => broken.push(format!("{} {who:?}: {why}", case.name)),
                }
            }
        }
    }
    harness.enforce(&all).unwrap();
    let trials = harness.trials(&all).unwrap();
    broken.push(format!("all {:?}", begin.elapsed()));
    for case in &all {
        for who in case.who {
            let Some(sight) = trials.get(&(case.name, *who)) else { continue };
            let faults = judge::faults(case, *who, sight);
            if !faults.is_empty() && !lacking.contains(&case.name) {
                broken.push(format!("{} {who:?} {:?}: {faults:?}", case.name, sight.report));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
