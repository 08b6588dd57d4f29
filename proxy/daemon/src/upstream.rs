//! The way out: names are resolved and classified, upstreams are dialled and verified, connections are kept.

pub mod address;
pub mod connect;
pub mod headers;
pub mod pool;
pub mod resolve;
