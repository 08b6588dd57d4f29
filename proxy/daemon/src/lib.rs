//! The gate: it observes each request of an agent, has it judged, records the decision and carries
//! it out.

pub mod answer;
pub mod clock;
pub mod exchange;
pub mod gate;
