//! From the first control to the last trial, and what that comes to.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Harness;
use crate::case::{Case, Form, Who};
use crate::judge::{self, Sight};
use crate::results::{Found, Results, Trial};

/// What was seen, by case and who tried.
pub(super) type Sights = BTreeMap<(&'static str, Who), Sight>;

impl Harness {
    /// Carries out the whole catalogue.
    ///
    /// # Errors
    /// When the harness fails, or a control does not work for a reason that was not declared: then nothing that
    /// follows would mean anything.
    pub fn carry_out(mut self, cases: &[Case]) -> Result<Results> {
        let mut results = Results::of(cases)?;
        let controls = self.controls(cases)?;
        let excused = excuses(cases, &controls)?;
        let under_exec = self.under_exec(cases, &controls)?;
        self.enforce(cases)?;
        let trials = self.trials(cases)?;
        enter(&mut results, Form::Pod, cases, &excused, &trials);
        enter(&mut results, Form::Exec, cases, &excused, &under_exec);
        Ok(results)
    }
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
    form: Form,
    cases: &[Case],
    excused: &BTreeMap<(&'static str, Who), String>,
    trials: &Sights,
) {
    for case in cases {
        for who in case.who {
            let Some(sight) = trials.get(&(case.name, *who)) else { continue };
            let faults = match form {
                Form::Exec => judge::faults_under_exec(case, sight),
                Form::Pod | Form::Both => judge::faults(case, *who, sight),
            };
            let found = match excused.get(&(case.name, *who)) {
                // What left all the same is no less a leak.
                Some(why) if sight.frames.is_empty() => Found::not_run(why.clone()),
                _ if faults.is_empty() => Found::held(&sight.report),
                _ => Found::leaked(&faults),
            };
            results.enter(case.name, Trial { form, who: *who }, found);
        }
    }
}
