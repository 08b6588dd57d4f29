//! Puts a pod behind its gate, proves that nothing of it leaves otherwise, and exits.

pub mod floor;
pub mod mode;
pub mod net;
pub mod nft;
pub mod place;
pub mod ports;
pub mod probes;
