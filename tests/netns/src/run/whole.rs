//! From the first control to the last trial, and what that comes to.

use std::collections::BTreeMap;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context as _, Result, bail};
use tollgate_init::mode::Mode;

use super::{Harness, Programs};
use crate::case::{Case, Who};
use crate::judge::{self, Sight};
use crate::results::{Behind, Found, Results, Trial};

/// What was seen, by case and who tried.
pub(super) type Sights = BTreeMap<(&'static str, Who), Sight>;

/// The modes without programs.
const FALLBACKS: [Mode; 2] = [Mode::NftCgroup, Mode::NftUser];

/// Carries out the whole catalogue: the controls, under `exec` and behind the programs in one pod, and at the same time
/// behind each weaker mode in another, because most of it is waiting for what does not come.
///
/// # Errors
/// When the harness fails, or a control does not work for a reason that was not declared: then nothing that
/// follows would mean anything.
pub fn carry_out(programs: &Programs, cases: &[Case]) -> Result<Results> {
    let mut results = Results::of(cases)?;
    let (first, weaker) = thread::scope(|scope| {
        let first = scope.spawn(|| Harness::new(programs.clone())?.strongest(cases));
        let weaker = FALLBACKS.map(|mode| scope.spawn(move || behind(mode, programs, cases)));
        (joined(first), weaker.map(joined))
    });
    let First { controls, under_exec, trials } = first?;
    let excused = excuses(cases, &controls)?;
    enter(&mut results, Behind::Pod(Mode::Kernel), cases, &excused, &trials);
    for (mode, trials) in FALLBACKS.into_iter().zip(weaker) {
        enter(&mut results, Behind::Pod(mode), cases, &excused, &trials?);
    }
    enter(&mut results, Behind::Exec, cases, &excused, &under_exec);
    Ok(results)
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread of the harness panicked"))
}

/// What was seen in the first pod.
struct First {
    controls: Sights,
    under_exec: Sights,
    trials: Sights,
}

impl Harness {
    fn strongest(mut self, cases: &[Case]) -> Result<First> {
        let controls = self.controls(cases)?;
        // Before anything is made of them.
        excuses(cases, &controls)?;
        let under_exec = self.under_exec(cases, &controls)?;
        self.enforce(Mode::Kernel, cases)?;
        Ok(First { controls, under_exec, trials: self.trials(cases)? })
    }
}

/// What is seen behind this mode.
fn behind(mode: Mode, programs: &Programs, cases: &[Case]) -> Result<Sights> {
    let mut harness = Harness::new(programs.clone())?;
    let trials = harness.enforce(mode, cases).and_then(|()| harness.trials(cases));
    trials.with_context(|| format!("mode {mode}"))
}

/// Why cases whose control did not work could not.
fn excuses(cases: &[Case], controls: &Sights) -> Result<BTreeMap<(&'static str, Who), String>> {
    let mut excuses = BTreeMap::new();
    let mut broken = Vec::new();
    for case in cases {
        for who in case.who {
            let Some(control) = controls.get(&(case.name, *who)) else { continue };
            if judge::works(case, control) {
                continue;
            }
            match judge::excused(case, control) {
                Ok(why) => drop(excuses.insert((case.name, *who), why)),
                Err(why) => broken.push(format!("{} ({who:?}): {why}", case.name)),
            }
        }
    }
    anyhow::ensure!(broken.is_empty(), "controls that did not work:\n{}", broken.join("\n"));
    Ok(excuses)
}

fn enter(
    results: &mut Results,
    behind: Behind,
    cases: &[Case],
    excused: &BTreeMap<(&'static str, Who), String>,
    trials: &Sights,
) {
    for case in cases {
        for who in case.who {
            let Some(sight) = trials.get(&(case.name, *who)) else { continue };
            let faults = match behind {
                Behind::Exec => judge::faults_under_exec(case, sight),
                Behind::Pod(mode) => judge::faults(case, *who, mode, sight),
            };
            let left = match behind {
                Behind::Pod(mode) if !judge::denied(case, *who, sight) => case.left_open(mode),
                Behind::Pod(_) | Behind::Exec => None,
            };
            let found = match excused.get(&(case.name, *who)) {
                // What left all the same is no less a leak.
                Some(why) if sight.frames.is_empty() => Found::not_run(why.clone()),
                _ if left.is_some() && faults.is_empty() => {
                    Found::leaked(&["it is declared not to hold, and does".to_owned()])
                }
                _ if let Some(why) = left => Found::left(sight, why),
                _ if faults.is_empty() => Found::held(&sight.report),
                _ => Found::leaked(&faults),
            };
            results.enter(case.name, Trial { behind, who: *who }, found);
        }
    }
}
