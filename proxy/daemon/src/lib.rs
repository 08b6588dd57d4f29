//! The gate: it observes each request of an agent, has it judged, records the decision and carries
//! it out.

pub mod clock;
pub mod listen;
pub mod upstream;
