//! The gate: it observes each request of an agent, has it judged, records the decision and carries
//! it out.

pub mod answer;
pub mod cli;
pub mod clock;
pub mod exchange;
pub mod folder;
pub mod gate;
mod ledger_view;
pub mod policy_file;
pub mod record;
pub mod trust;
