//! The gate: it observes each request of an agent, has it judged, records the decision and carries
//! it out.

pub mod agents;
pub mod answer;
pub mod attached;
pub mod cli;
pub mod clock;
pub mod config;
pub mod exchange;
pub mod folder;
pub mod gate;
pub mod health;
pub mod intake;
pub mod journal;
pub mod keys;
pub mod kills;
mod ledger_view;
pub mod listen;
pub mod metrics;
pub mod money;
mod names;
mod opaque;
mod places;
pub mod policies;
pub mod policy_file;
pub mod rates;
pub mod record;
pub mod route;
pub mod run;
pub mod service;
pub mod service_log;
pub mod subject;
pub mod telemetry;
pub mod terms;
pub mod trust;
pub mod upstream;
pub mod vault;
pub mod yaml;
