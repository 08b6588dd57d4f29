//! The pinned programs of a pod on the real kernel: each hook with what it refuses and what it must not.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "what stages a test ends it at the first surprise"
)]

mod attempts;
mod exemption;
#[path = "../common/group.rs"]
mod group;
mod install;
mod leaving;
mod ports;
mod stage;
mod upgrade;
mod xdp;
