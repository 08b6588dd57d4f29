//! The claims about a run that root makes.

use crate::cage::{Cage, Form};

pub(crate) const FORM: Form = Form::KernelPrograms;
/// Users that a command can be run as.
pub(crate) const UIDS: &[&str] = &["0", "1000"];
/// How a connection to the intake by its own name ends: EPERM.
pub(crate) const INTAKE_BY_NAME: &str = "error 1";

pub(crate) fn cage(flags: &[&str]) -> Option<Cage> {
    Cage::of(FORM, flags)
}

mod cgroup;
#[path = "command.rs"]
mod command;
#[path = "connects.rs"]
mod connects;
#[path = "inside.rs"]
mod inside;
#[path = "network.rs"]
mod network;
#[path = "places.rs"]
mod places;
#[path = "programs.rs"]
mod programs;
#[path = "root.rs"]
mod root;
#[path = "terminal.rs"]
mod terminal;
#[path = "unix.rs"]
mod unix;
