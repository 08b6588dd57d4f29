//! Answers with a content-encoding, although the gate asks for none.

use super::{Decoder, Heard, Unreadable};
use crate::encoding::Unpacker;

/// The most bytes that an encoded answer may decode to.
pub(crate) const MAX_DECODED: u64 = 256 << 20;

/// Takes the encoding off before another decoder reads on.
pub(crate) struct Unpacked {
    pub(crate) unpacker: Unpacker,
    pub(crate) inner: Box<dyn Decoder>,
}

impl Decoder for Unpacked {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Unreadable> {
        let decoded = self.unpacker.push(bytes).map_err(Unreadable::Encoding)?;
        self.inner.push(&decoded)
    }

    fn finish(&mut self) -> Result<Vec<Heard>, Unreadable> {
        let decoded = self.unpacker.finish().map_err(Unreadable::Encoding)?;
        let mut heard = self.inner.push(&decoded)?;
        heard.extend(self.inner.finish()?);
        Ok(heard)
    }

    fn unpacks(&self) -> bool {
        true
    }
}
