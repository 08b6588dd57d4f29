//! The keys of a ledger, all from one master key, and the envelopes they close.

use std::fmt;
use std::io;
use std::sync::Arc;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::wire::{Cursor, Malformed};

/// Fills bytes with randomness fit for keys. An error refuses what needed it.
pub type Random = Arc<dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync>;

/// The key under which everything of a ledger is sealed. It is zeroed when dropped and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// Takes 32 bytes of key material that is uniformly random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        MasterKey(bytes)
    }

    /// A key for one purpose. SHA-256 over a label and a uniform key of fixed length is a sound
    /// derivation, and no derived key is ever public.
    fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let digest = Sha256::new()
            .chain_update(b"tollgate ledger v1 ")
            .chain_update(purpose)
            .chain_update([0])
            .chain_update(self.0)
            .finalize();
        Zeroizing::new(digest.into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(sealed)")
    }
}

/// AES-256-GCM under one key.
pub(crate) struct Cipher(Aes256Gcm);

pub(crate) const TAG: usize = 16;
pub(crate) const NONCE: usize = 12;

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Cipher {
        Cipher(Aes256Gcm::new(key.into()))
    }

    /// Replaces `bytes` by ciphertext and tag.
    pub(crate) fn close(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        self.0
            .encrypt_in_place(nonce.into(), aad, bytes)
            .ok()
            .ok_or(Malformed("it is too long to be sealed"))
    }

    /// Replaces `bytes` by ciphertext, and returns the tag.
    pub(crate) fn close_detached(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG], Malformed> {
        self.0
            .encrypt_inout_detached(nonce.into(), aad, bytes.into())
            .map(Into::into)
            .ok()
            .ok_or(Malformed("it is too long to be sealed"))
    }

    /// Replaces ciphertext and tag by the plaintext.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        bytes: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        self.0
            .decrypt_in_place(nonce.into(), aad, bytes)
            .ok()
            .ok_or(Malformed("it does not decrypt"))
    }
}

/// What is derived from the master key. Each key has one purpose.
pub(crate) struct Keys {
    /// Wraps the data keys of segments and snapshots.
    wrap: Cipher,
    /// Seals the high-water mark.
    pub(crate) mark: Cipher,
    /// Signs checkpoints.
    pub(crate) signer: SigningKey,
}

/// Length of a wrapped secret of `length` bytes: nonce, ciphertext, tag.
pub(crate) const fn wrapped(length: usize) -> usize {
    NONCE + length + TAG
}

impl Keys {
    pub(crate) fn of(master: &MasterKey) -> Keys {
        Keys {
            wrap: Cipher::new(&master.derive("wrap")),
            mark: Cipher::new(&master.derive("high-water mark")),
            signer: SigningKey::from_bytes(&master.derive("checkpoint signature")),
        }
    }

    /// Seals `secret` under the wrapping key, as nonce, ciphertext and tag.
    pub(crate) fn wrap(&self, random: &Random, aad: &[u8], secret: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        let mut sealed = Vec::with_capacity(secret.len() + TAG);
        sealed.extend_from_slice(secret);
        self.wrap.close(&nonce, aad, &mut sealed).map_err(io::Error::other)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what [`Keys::wrap`] sealed.
    pub(crate) fn unwrap(
        &self,
        aad: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let mut cursor = Cursor::new(wrapped);
        let nonce = cursor.array()?;
        let mut secret = Zeroizing::new(cursor.rest().to_vec());
        self.wrap.open(&nonce, aad, &mut secret)?;
        Ok(secret)
    }

    /// Seals `bytes` under a fresh data key, which is wrapped in front of them.
    pub(crate) fn envelope(
        &self,
        random: &Random,
        aad: &[u8],
        mut bytes: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        let mut key = Zeroizing::new([0; 32]);
        random(key.as_mut_slice())?;
        let mut sealed = self.wrap(random, aad, key.as_slice())?;
        // One message under a key that is used once: a fixed nonce is a fresh one.
        Cipher::new(&key).close(&[0; NONCE], aad, &mut bytes).map_err(io::Error::other)?;
        sealed.append(&mut bytes);
        Ok(sealed)
    }

    /// Opens what [`Keys::envelope`] sealed.
    pub(crate) fn open_envelope(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut cursor = Cursor::new(sealed);
        let key = self.unwrap(aad, cursor.bytes(wrapped(32))?)?;
        let key = Zeroizing::new(Cursor::new(&key).array()?);
        let mut bytes = cursor.rest().to_vec();
        Cipher::new(&key).open(&[0; NONCE], aad, &mut bytes)?;
        Ok(bytes)
    }
}
