//! The decision core: given what is known about one exchange, what happens to it.
//!
//! Nothing here reads a clock, draws a random number, opens a file or awaits. A decision is a
//! function of a [`Case`] and a [`Policy`], so a recorded case can be judged again, years later,
//! and must come out the same.
//!
//! Start reading at [`chain`]: it is the list of rules, in order.

#![no_std]
#![deny(clippy::float_arithmetic)]

extern crate alloc;
#[cfg(test)]
extern crate std;
// A fixture that the benches read too names this package as they do.
#[cfg(test)]
extern crate self as tollgate_decide;

pub mod case;
pub mod chain;
pub mod policy;
pub mod rule;
pub mod scan;
pub mod stage;
mod stages;
pub mod stream;
pub mod verdict;

pub use case::{Case, Known, Missing, RequestContext};
pub use chain::{Band, Chain, Decision, Judging, Outcome, Refusal};
pub use policy::Policy;
pub use rule::{Rule, RuleId};
pub use stage::Stage;
pub use verdict::{Class, Reason, Setting, Verdict};

#[cfg(test)]
mod testkit;
