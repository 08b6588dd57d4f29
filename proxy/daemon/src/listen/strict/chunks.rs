//! The chunks of a body, cut as every other reader cuts them.

use decide::case::Framing;

/// The most digits of a chunk's size: 4 GiB, far beyond any body's limit, and no reader overflows.
const DIGITS: u8 = 8;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In a chunk's size, after so many digits that mean so much.
    Size {
        digits: u8,
        value: u64,
    },
    /// At the LF after a chunk's size.
    SizeEnd(u64),
    /// In a chunk, with so many bytes to come.
    Inside(u64),
    /// At the CR, then the LF after a chunk.
    Close,
    CloseEnd,
    /// At the CR, then the LF after the last chunk.
    Last,
    LastEnd,
    /// After the body.
    Done,
}

impl Chunks {
    pub(super) const START: Self = Self::Size { digits: 0, value: 0 };

    /// Goes through `bytes` to the body's end or theirs: how many of them belong to the body, and what is wrong with
    /// the one after those.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Option<Framing>) {
        let mut at = 0;
        while *self != Self::Done
            && let Some(&byte) = bytes.get(at)
        {
            if let Self::Inside(left) = *self {
                let here = left.min((bytes.len() - at) as u64);
                *self = if here == left { Self::Close } else { Self::Inside(left - here) };
                at += usize::try_from(here).unwrap_or(usize::MAX);
                continue;
            }
            match self.after(byte) {
                Ok(next) => *self = next,
                Err(fault) => return (at, Some(fault)),
            }
            at += 1;
        }
        (at, None)
    }

    fn after(self, byte: u8) -> Result<Self, Framing> {
        match (self, byte) {
            (Self::Size { digits, value }, _) if byte.is_ascii_hexdigit() && digits < DIGITS => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Ok(Self::Size { digits: digits + 1, value: value * 16 + digit })
            }
            (Self::Size { digits: 1.., value }, b'\r') => Ok(Self::SizeEnd(value)),
            (Self::Size { digits: 1.., .. }, b';' | b' ' | b'\t') => Err(Framing::ChunkExtension),
            (Self::SizeEnd(0), b'\n') => Ok(Self::Last),
            (Self::SizeEnd(size), b'\n') => Ok(Self::Inside(size)),
            (Self::Close, b'\r') => Ok(Self::CloseEnd),
            (Self::CloseEnd, b'\n') => Ok(Self::START),
            (Self::Last, b'\r') => Ok(Self::LastEnd),
            (Self::Last, byte) if byte != b'\n' => Err(Framing::Trailers),
            (Self::LastEnd, b'\n') => Ok(Self::Done),
            _ => Err(Framing::Chunk),
        }
    }
}
