//! Follows the texts of one answer across events of any size.

use alloc::string::String;
use alloc::vec::Vec;

use super::SecretClass;

/// What one event added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// Classes found complete, in order of appearance.
    pub found: Vec<SecretClass>,
    /// The earliest event that holds a byte of a candidate that may still become a finding. That
    /// event and all later ones wait; `None` lets everything go.
    pub waits_from: Option<u64>,
}

/// Every text of one answer, by track (choice, kind, item).
#[derive(Debug, Default)]
pub struct AnswerScanner {
    _private: (),
}

impl AnswerScanner {
    /// Reads the piece of `text` that event number `event` adds to `track`.
    pub fn push(&mut self, event: u64, track: &str, text: &str) -> Sight {
        let (_, _, _): (u64, &str, String) = (event, track, text.into());
        Sight::default()
    }
}
