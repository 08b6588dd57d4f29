//! Runs commands in the cage of `examples/cage.rs` on the real kernel, every claim in both forms of a run. The form of
//! root needs root; what is missing is said.
//! `cargo test -p tollgate-launch` builds the examples too; `--test exec` alone would run the old ones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::duplicate_mod,
    clippy::print_stderr,
    clippy::panic,
    reason = "test code: it ends at the first surprise, says aloud what it cannot test, and claims the same of two forms"
)]

mod cage;
mod kernel_programs;
mod user_namespace;
mod user_namespace_of_root;
