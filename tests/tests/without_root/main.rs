//! The proofs of `exec` once more, by a user without privileges, in whose form of a run there are no kernel programs.
//!
//! `e2e::by` tells from this suite's name who runs the gate; the proofs are the files of the other suites.

#[path = "../around.rs"]
mod around;
#[path = "../secrets.rs"]
mod secrets;
#[path = "../terminal/main.rs"]
mod terminal;

mod said;
