//! The whole system under test: an offline provider that speaks as the real ones do, and the clients that meet it.

pub mod abuse;
pub mod bench;
pub mod by;
pub mod caller;
pub mod clients;
pub mod harness;
pub mod pods;
pub mod process;
pub mod proofs;
pub mod provider;
pub mod service;
pub mod soak;
mod trust;
pub mod ways;
