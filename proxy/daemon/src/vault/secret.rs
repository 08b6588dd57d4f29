//! A secret in memory.

use std::fmt;

use zeroize::Zeroizing;

/// A secret in memory: wiped when dropped, and never shown by anything that prints values.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret over. Nothing is copied.
    #[must_use]
    pub const fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The secret's bytes.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text.into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
