//! Finds every secret in a text that is at hand whole.

use alloc::vec::Vec;
use core::ops::Range;

use super::SecretClass;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The class.
    pub class: SecretClass,
    /// The bytes of the text that are the secret, to its end and not only to its proof.
    pub at: Range<usize>,
}

/// Every secret in `text`, in order, without overlap.
#[must_use]
pub fn find(text: &str) -> Vec<Found> {
    super::patterns::find(text.as_bytes())
}
