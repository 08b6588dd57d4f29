//! Text that is released line by line, so that where it was cut on the way changes nothing.

use bytes::Bytes;

use crate::answer::{Decoder, Heard, HeardKind, Piece, Unreadable};

/// The most bytes of one piece; a longer line is more than one.
const MAX_PIECE: usize = 16 << 10;

/// Cuts a text into lines, all on one track.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    /// Bytes of `pending` that hold no line end.
    seen: usize,
}

impl Lines {
    /// The end of the first piece of `pending` after `from`.
    fn end(&mut self, from: usize) -> Option<usize> {
        let limit = from + MAX_PIECE;
        let window = self.pending.get(self.seen..limit.min(self.pending.len())).unwrap_or_default();
        if let Some(line) = window.iter().position(|byte| *byte == b'\n') {
            return Some(self.seen + line + 1);
        }
        self.seen += window.len();
        if self.pending.len() < limit {
            return None;
        }
        let piece = self.pending.get(from..limit).unwrap_or_default();
        Some(from + whole_characters(piece))
    }
}

/// How much of `piece` ends with a whole character; all of it where that is no Unicode.
fn whole_characters(piece: &[u8]) -> usize {
    match std::str::from_utf8(piece) {
        Err(bad) if bad.error_len().is_none() && bad.valid_up_to() > 0 => bad.valid_up_to(),
        Ok(_) | Err(_) => piece.len(),
    }
}

fn heard(bytes: &[u8], last: bool) -> Heard {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let pieces = vec![Piece { track: "text".into(), text, escaped: true }];
    Heard { pieces, last, ..Heard::bare(Bytes::copy_from_slice(bytes), HeardKind::Content) }
}

impl Decoder for Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Unreadable> {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut from = 0;
        while let Some(end) = self.end(from) {
            out.push(heard(self.pending.get(from..end).unwrap_or_default(), false));
            (from, self.seen) = (end, end);
        }
        self.pending.drain(..from);
        self.seen -= from;
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<Heard>, Unreadable> {
        let rest = std::mem::take(&mut self.pending);
        self.seen = 0;
        Ok(if rest.is_empty() { Vec::new() } else { vec![heard(&rest, true)] })
    }

    fn unpacks(&self) -> bool {
        false
    }
}
