//! Real keys, sealed: AES-256-GCM under a data key, which the state folder's master key wraps.
//!
//! A secret is opened at the moment of sending and wiped after. What is on disk is worth nothing
//! without the master key, and an entry cannot be passed off as another: its name and its version are
//! bound to it.

pub mod inject;
pub mod known;

mod folder;
mod master;
mod seal;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::random;
use folder::Folder;
use seal::{Sealed, Sealer};

pub use master::MasterKey;
pub use secret::Secret;

/// The file in the state folder.
const FILE: &str = "vault";
/// The format of that file.
const FORMAT: u32 = 1;
/// The vault is read whole; no real one comes near this.
const LARGEST: u64 = 4 << 20;

/// Why the vault cannot be used. None of them says anything of a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file of the state folder cannot be read or written.
    #[error("{file} in the state folder: {cause}")]
    Io {
        /// The file.
        file: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The system has no random numbers to give.
    #[error("no random numbers from the system: {0}")]
    Random(#[source] io::Error),
    /// Others can read a file, or it belongs to somebody else.
    #[error(
        "{file} in the state folder belongs to somebody else, or others may read it: `chown` it to yourself and `chmod 600`, and exchange your keys if that is a surprise"
    )]
    Exposed {
        /// The file.
        file: &'static str,
    },
    /// The master key is not one.
    #[error(
        "master.key in the state folder is not a master key: restore it from a backup, or move the state folder away and start anew"
    )]
    NoMasterKey,
    /// There is a vault, and the key to it is gone.
    #[error(
        "the state folder has a vault and no master.key: restore it from a backup, or remove the vault and seal your keys again"
    )]
    MasterKeyGone,
    /// The vault is damaged, or was sealed under another master key.
    #[error(
        "the vault in the state folder is damaged, or belongs to another master.key: restore both from one backup, or remove the vault and seal your keys again"
    )]
    Corrupt,
    /// The vault has no such credential.
    #[error("the vault holds no credential {0}")]
    Unknown(String),
}

impl VaultError {
    const fn io(file: &'static str) -> impl Fn(io::Error) -> Self {
        move |cause| Self::Io { file, cause }
    }
}

/// The vault of one state folder.
pub struct Vault {
    folder: Folder,
    data: Sealer,
    file: Mutex<File>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// The vault's file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    data_key: Sealed,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u64,
    sealed: Sealed,
}

impl Vault {
    /// Opens the vault of a state folder, or makes an empty one. Nothing is written until the first
    /// secret is sealed.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is damaged, or was sealed under another master key.
    pub fn open(state: OwnedFd, master: &MasterKey) -> Result<Self, VaultError> {
        let folder = Folder::new(state);
        let wrapping = Sealer::new(&master.derive("vault"));
        let Some(bytes) = folder.read(FILE, LARGEST)? else {
            let data = zeroize::Zeroizing::new(random::<32>().map_err(VaultError::Random)?);
            let data_key = wrapping.seal(data.as_ref(), DATA_KEY)?;
            let file = File { format: FORMAT, data_key, entries: BTreeMap::new() };
            return Ok(Self { folder, data: Sealer::new(&data), file: Mutex::new(file) });
        };
        let Ok(file) = serde_json::from_slice::<File>(&bytes) else {
            return Err(VaultError::Corrupt);
        };
        if file.format != FORMAT {
            return Err(VaultError::Corrupt);
        }
        let data = wrapping.open(&file.data_key, DATA_KEY)?;
        let vault = Self { folder, data: Sealer::from_slice(&data)?, file: Mutex::new(file) };
        for name in vault.names() {
            vault.reveal(&name)?;
        }
        Ok(vault)
    }

    /// Seals a secret under `name`, in place of what was there. On disk when this returns.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the vault is then as it was.
    pub fn seal(&self, name: &str, secret: &Secret) -> Result<(), VaultError> {
        let mut file = self.lock();
        if let Some(entry) = file.entries.get(name) {
            let same = self.data.open(&entry.sealed, &bound(name, entry.version))?;
            if same.as_slice() == secret.reveal() {
                return Ok(());
            }
        }
        let version = file.entries.get(name).map_or(0, |entry| entry.version).saturating_add(1);
        let sealed = self.data.seal(secret.reveal(), &bound(name, version))?;
        let mut next = file.clone();
        next.entries.insert(name.to_owned(), Entry { version, sealed });
        self.write(&next)?;
        *file = next;
        Ok(())
    }

    /// The secret sealed under `name`; drop it as soon as it is sent.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged.
    pub fn reveal(&self, name: &str) -> Result<Secret, VaultError> {
        let file = self.lock();
        let entry = file.entries.get(name).ok_or_else(|| VaultError::Unknown(name.to_owned()))?;
        self.data.open(&entry.sealed, &bound(name, entry.version)).map(Secret::new)
    }

    /// The names that have a secret, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().entries.keys().cloned().collect()
    }

    fn write(&self, file: &File) -> Result<(), VaultError> {
        let json =
            serde_json::to_vec(file).map_err(io::Error::from).map_err(VaultError::io(FILE))?;
        self.folder.replace(FILE, &json)
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the wrapped data key is bound to.
const DATA_KEY: &[u8] = b"tollgate vault data key 1";

/// What an entry is bound to.
fn bound(name: &str, version: u64) -> Vec<u8> {
    let mut bound = b"tollgate vault entry 1\0".to_vec();
    bound.extend_from_slice(&version.to_be_bytes());
    bound.extend_from_slice(name.as_bytes());
    bound
}
