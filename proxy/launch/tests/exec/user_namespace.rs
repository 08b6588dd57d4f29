//! The claims about a run that a user without privileges makes.

use crate::cage::{Cage, Form};

pub(crate) const FORM: Form = Form::UserNamespace;
/// Users that a command can be run as.
pub(crate) const UIDS: &[&str] = &["1000"];
/// How a connection to the intake by its own name ends: ECONNREFUSED.
pub(crate) const INTAKE_BY_NAME: &str = "error 111";

pub(crate) fn cage(flags: &[&str]) -> Option<Cage> {
    Cage::of(FORM, flags)
}

#[path = "command.rs"]
mod command;
#[path = "connects.rs"]
mod connects;
#[path = "inside.rs"]
mod inside;
#[path = "network.rs"]
mod network;
mod obstacles;
#[path = "places.rs"]
mod places;
#[path = "programs.rs"]
mod programs;
mod rules;
#[path = "terminal.rs"]
mod terminal;
#[path = "unix.rs"]
mod unix;
