//! Answers that are judged whole: one JSON body, or the short text of an error.

use bytes::Bytes;

use super::{Decoder, Heard, HeardKind, Unreadable};
use crate::json::{Document, Value};
use crate::leaves::{self, Leaf};

/// The most bytes of an answer that is held until it is complete.
pub(crate) const MAX_BODY: usize = 32 << 20;

/// Reads what a whole JSON body says, all but its bytes and texts.
pub(crate) type Says = fn(Value<'_, '_>) -> Heard;

/// A body that is read once it is complete.
pub(crate) struct Whole {
    body: Vec<u8>,
    says: Option<Says>,
}

impl Whole {
    /// A JSON body; anything else is an error.
    pub(crate) const fn json(says: Says) -> Self {
        Self { body: Vec::new(), says: Some(says) }
    }

    /// A body that may be JSON or any text: an error's.
    pub(crate) const fn any() -> Self {
        Self { body: Vec::new(), says: None }
    }

    fn read(&self) -> Result<Heard, Unreadable> {
        match (Document::parse(&self.body), self.says) {
            (Ok(document), says) => {
                let mut heard = says.map_or_else(
                    || Heard::bare(Bytes::new(), HeardKind::Content),
                    |says| says(document.root()),
                );
                heard.pieces = leaves::pieces(document.root(), |_| Leaf::Complete);
                Ok(heard)
            }
            (Err(fault), Some(_)) => Err(Unreadable::Malformed(fault)),
            (Err(_), None) => {
                let text = String::from_utf8_lossy(&self.body);
                let pieces = leaves::complete([text.as_ref()]);
                Ok(Heard { pieces, ..Heard::bare(Bytes::new(), HeardKind::Content) })
            }
        }
    }
}

impl Decoder for Whole {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Unreadable> {
        if self.body.len() + bytes.len() > MAX_BODY {
            return Err(Unreadable::BodyTooLarge(MAX_BODY as u64));
        }
        self.body.extend_from_slice(bytes);
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Heard>, Unreadable> {
        if self.body.is_empty() {
            return Ok(Vec::new());
        }
        let heard = self.read()?;
        let bytes = Bytes::from(std::mem::take(&mut self.body));
        Ok(vec![Heard { bytes, last: true, ..heard }])
    }

    fn unpacks(&self) -> bool {
        false
    }
}
