//! The master key of a state folder, from which every other key of it is derived.

use std::fmt;
use std::os::fd::OwnedFd;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::folder::Folder;
use super::{FILE, VaultError};
use crate::clock::random;

const NAME: &str = "master.key";
const LENGTH: usize = 32;

/// 32 random bytes in `master.key`, mode 0600: who has them has everything in the state folder.
pub struct MasterKey(Zeroizing<[u8; LENGTH]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// The master key of a state folder; made from the system's random numbers the first time.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, is not a master key, can be read by others, or is gone
    /// while there is a vault.
    pub fn open(state: OwnedFd) -> Result<Self, VaultError> {
        let folder = Folder::new(state);
        if let Some(bytes) = folder.read(NAME, 64)? {
            let key = <[u8; LENGTH]>::try_from(bytes.as_slice());
            return key.map(|key| Self(Zeroizing::new(key))).or(Err(VaultError::NoMasterKey));
        }
        if folder.has(FILE)? {
            return Err(VaultError::MasterKeyGone);
        }
        let key = Self(Zeroizing::new(random().map_err(VaultError::Random)?));
        folder.replace(NAME, key.0.as_ref())?;
        Ok(key)
    }

    /// The key of a state folder whose key was read already.
    #[must_use]
    pub fn of(key: &Zeroizing<[u8; LENGTH]>) -> Self {
        Self(key.clone())
    }

    /// A key for one purpose. Two labels have keys that say nothing of each other or of this one.
    #[must_use]
    pub fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        // One block of HKDF-Expand (RFC 5869) over a key that is uniformly random already.
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"tollgate 1 ");
        context.update(label.as_bytes());
        context.update(&[1]);
        let mut derived = Zeroizing::new([0; 32]);
        for (to, from) in derived.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        derived
    }
}
