//! Puts a pod behind its gate, proves that nothing of it leaves otherwise, and exits.

pub mod capability;
pub mod floor;
pub mod mesh;
pub mod mode;
pub mod net;
pub mod nft;
pub mod place;
pub mod pod_file;
pub mod ports;
pub mod probes;
