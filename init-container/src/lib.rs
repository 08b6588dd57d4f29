//! Puts a pod behind its gate, proves that nothing of it leaves otherwise, and exits.

pub mod capability;
pub mod cli;
pub mod floor;
pub mod install;
pub mod mesh;
pub mod mode;
pub mod net;
pub mod nft;
pub mod node;
pub mod place;
pub mod pod_file;
pub mod ports;
pub mod probes;
pub mod remove;
pub mod state;
pub mod validate;
