//! The claims about uid 0 in a run that root makes without capabilities over the host, as in a container.

use crate::cage::{Cage, Form};

pub(crate) fn cage(flags: &[&str]) -> Option<Cage> {
    Cage::of(Form::UserNamespaceOfRoot, flags)
}

#[path = "root.rs"]
mod root;
