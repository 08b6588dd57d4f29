//! Finds every secret in a text that is at hand whole.

use alloc::vec::Vec;
use core::ops::Range;

use super::SecretClass;
use super::automaton::{Automaton, Hit};

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
    let bytes = text.as_bytes();
    let mut found: Vec<Found> = Vec::new();
    Automaton::default().push(
        bytes,
        |at| at as u64,
        |hit| {
            let start = usize::try_from(hit.origin).unwrap_or(0);
            let end = end(bytes, &hit);
            found.push(Found { class: hit.pattern.class, at: start..end });
            Some(end)
        },
    );
    found
}

const END: &[u8] = b"-----END";
const DASHES: &[u8] = b"-----";

/// Where the secret ends: after its END line, or with the last byte that can belong to it.
fn end(bytes: &[u8], hit: &Hit) -> usize {
    let rest = bytes.get(hit.end..).unwrap_or_default();
    let run = rest.iter().take_while(|byte| hit.pattern.rest.has(**byte)).count();
    let mut run = rest.get(..run).unwrap_or_default();
    if hit.pattern.class == SecretClass::PrivateKey
        && let Some(label) = after(run, 0, END)
        && let Some(line) = after(run, label, DASHES)
    {
        run = run.get(..line).unwrap_or(run);
    }
    hit.end + run.len()
}

/// The index after the first `needle` in `bytes` from `from` on.
fn after(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let at = bytes.get(from..)?.windows(needle.len()).position(|window| window == needle)?;
    Some(from + at + needle.len())
}

#[cfg(test)]
mod tests;
