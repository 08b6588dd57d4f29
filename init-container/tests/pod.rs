//! A pod as the kernel sees one: a network and a cgroup of its own, a world beside it, a stand-in for its gate.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "what stages a test ends it at the first surprise"
)]

#[path = "pod/floor.rs"]
mod floor;
#[path = "pod/gate.rs"]
mod gate;
#[path = "pod/inbound.rs"]
mod inbound;
#[path = "pod/install.rs"]
mod install;
#[path = "pod/node.rs"]
mod node;
#[path = "pod/world.rs"]
mod world;
