//! Answers that have no body, and answers that are only counted.

use bytes::Bytes;

use super::{Decoder, Heard, HeardKind, Unreadable};

/// Lets the bytes through as they come; what is in them is not read.
pub(crate) struct Counted;

impl Decoder for Counted {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Unreadable> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Heard::bare(Bytes::copy_from_slice(bytes), HeardKind::Content)])
    }

    fn finish(&mut self) -> Result<Vec<Heard>, Unreadable> {
        Ok(Vec::new())
    }

    fn unpacks(&self) -> bool {
        false
    }
}
