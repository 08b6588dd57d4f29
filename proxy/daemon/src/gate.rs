//! The gate's process: what it holds, how it starts and ends, and what it is asked over its socket.

pub mod client;
pub(crate) mod life;
mod master_key;
mod proof;
pub mod protocol;
pub mod socket;
pub mod start;
