//! The gate: it observes each request of an agent, has it judged, records the decision and carries
//! it out.

pub mod answer;
//pub mod cli;
pub mod clock;
pub mod exchange;
pub mod folder;
pub mod gate;
pub mod intake;
pub mod journal;
pub mod keys;
pub mod kills;
pub mod listen;
pub mod metrics;
pub mod money;
mod names;
mod opaque;
mod places;
pub mod rates;
pub mod record;
pub mod run;
pub mod upstream;
pub mod vault;
