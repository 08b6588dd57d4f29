//! The way in: what agents open is recognised, their names are answered, and leaves are minted for them.

pub(crate) mod allowance;
pub mod dns;
pub mod hello;
pub mod http;
pub mod mint;
pub mod routed;
pub mod strict;
