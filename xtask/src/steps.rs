//! A chore is a row of steps, each with a bound, and its log ends with how long each took.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bound::within;
use crate::shell::say;

/// One part of a chore.
pub(crate) struct Step {
    /// Its name in the log.
    pub name: &'static str,
    /// How many minutes it may take, many times what it takes on two slow processors.
    pub minutes: u64,
    /// What to look at where it takes longer.
    pub remedy: &'static str,
}

/// The steps of a chore so far.
pub(crate) struct Steps {
    began: Instant,
    taken: RefCell<Vec<(&'static str, Duration)>>,
}

impl Steps {
    /// The chore begins.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), taken: RefCell::default() }
    }

    /// Takes a step, within its time.
    pub(crate) fn step<T>(&self, step: &Step, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Step { name, minutes, remedy } = *step;
        say(format_args!("== {name}"));
        let late = format!("{name} did not end within {minutes} minutes: {remedy}");
        let began = Instant::now();
        let done = within(Duration::from_mins(minutes), &late, work);
        let took = began.elapsed();
        let how = if done.is_ok() { "took" } else { "failed after" };
        say(format_args!("== {name} {how} {:.1} s", took.as_secs_f64()));
        self.taken.borrow_mut().push((name, took));
        done
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        for (name, took) in self.taken.borrow().iter() {
            say(format_args!("{:>8.1} s  {name}", took.as_secs_f64()));
        }
        say(format_args!("{:>8.1} s  in all", self.began.elapsed().as_secs_f64()));
    }
}
