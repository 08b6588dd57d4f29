//! Runs commands in the cage of `examples/cage.rs` on the real kernel. Needs root; says so where it is missing.
//! `cargo test -p tollgate-launch` builds the examples too; `--test exec` alone would run the old ones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::panic,
    reason = "test code: it ends at the first surprise, and says aloud what it cannot test"
)]

mod cage;
mod command;
mod connects;
mod inside;
mod network;
mod root;
mod terminal;
mod unix;
