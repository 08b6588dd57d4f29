//! AES-256-GCM with a random nonce, and its form in a JSON file.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::VaultError;
use crate::clock::random;

/// A key that seals. It seals so few values (one for each credential that changes) that random nonces
/// do not meet.
pub(super) struct Sealer(Aes256Gcm);

/// A sealed value: nonce, ciphertext, tag.
#[derive(Clone)]
pub(super) struct Sealed(Vec<u8>);

const NONCE: usize = 12;

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    pub(super) fn from_slice(key: &[u8]) -> Result<Self, VaultError> {
        Aes256Gcm::new_from_slice(key).map(Self).or(Err(VaultError::Corrupt))
    }

    pub(super) fn seal(&self, secret: &[u8], bound: &[u8]) -> Result<Sealed, VaultError> {
        let nonce = random::<NONCE>().map_err(VaultError::Random)?;
        let sealed = self.0.encrypt(&Nonce::from(nonce), Payload { msg: secret, aad: bound });
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed.or(Err(VaultError::Corrupt))?);
        Ok(Sealed(bytes))
    }

    pub(super) fn open(
        &self,
        sealed: &Sealed,
        bound: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let Some((nonce, msg)) = sealed.0.split_first_chunk::<NONCE>() else {
            return Err(VaultError::Corrupt);
        };
        let opened = self.0.decrypt(&Nonce::from(*nonce), Payload { msg, aad: bound });
        opened.map(Zeroizing::new).or(Err(VaultError::Corrupt))
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}
