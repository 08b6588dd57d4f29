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

use decide::case::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::random;
use folder::Folder;
use known::Kind;
use seal::{Sealed, Sealer};

pub use master::MasterKey;
pub use secret::Secret;

/// The file in the state folder.
const FILE: &str = "vault";
/// The format of that file.
const FORMAT: u32 = 1;
/// The vault is read whole; no real one comes near this.
const LARGEST: u64 = 4 << 20;
/// The longest name of a credential.
const LONGEST_NAME: usize = 64;

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
    /// The name is taken.
    #[error(
        "the vault holds a credential {0} already: `tollgate credential rotate {0}` exchanges its secret"
    )]
    Taken(String),
    /// A run brought another secret for a credential that an operator keeps.
    #[error(
        "the credential {0} is kept by an operator and is another key than this environment's: unset the variable, or `tollgate credential rotate {0}`"
    )]
    Kept(String),
    /// It is not a name.
    #[error("`{0}` is not a name of a credential: letters, digits and any of . _ - up to 64")]
    Name(String),
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
    /// What an operator said of it; what a run or the gate itself sealed has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
    sealed: Sealed,
}

/// What an operator said of a credential. The secret is bound to it: it decides where the secret goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The provider's name (`openai`).
    provider: String,
    /// When it was added or last exchanged, in microseconds.
    since: u64,
}

/// A credential in the vault, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whose it is; `None` where this version knows no such provider.
    pub provider: Option<String>,
    /// When an operator added or last exchanged it; `None` for one that a run brought.
    pub since: Option<Timestamp>,
    /// How often it was sealed.
    pub version: u64,
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

    /// Seals a secret of a run, or of the gate itself, under `name`, in place of what was there. On disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// An operator keeps another secret under that name, or the file cannot be written; the vault is then
    /// as it was.
    pub fn seal(&self, name: &str, secret: &Secret) -> Result<(), VaultError> {
        let mut file = self.lock();
        if let Some(entry) = file.entries.get(name) {
            let same = self.data.open(&entry.sealed, &bound(name, entry))?;
            if same.as_slice() == secret.reveal() {
                return Ok(());
            }
            if entry.kept.is_some() {
                return Err(VaultError::Kept(name.to_owned()));
            }
        }
        self.put(&mut file, name, None, secret).map(drop)
    }

    /// Seals a credential of a provider under a new name, or takes one over that a run brought. On disk when this returns, with its version.
    ///
    /// # Errors
    ///
    /// The name is none or taken, or the file cannot be written; the vault is then as it was.
    pub fn add(
        &self,
        name: &str,
        provider: &Kind,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<u64, VaultError> {
        let mut file = self.lock();
        free(&file, name)?;
        let kept = Kept { provider: provider.name.to_owned(), since: now.0 };
        self.put(&mut file, name, Some(kept), secret)
    }

    /// Whether [`Vault::add`] would take this name.
    ///
    /// # Errors
    ///
    /// It is none, or taken.
    pub fn can_add(&self, name: &str) -> Result<(), VaultError> {
        free(&self.lock(), name)
    }

    /// Whether an operator keeps this credential, so that no run replaces it.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        is_kept(&self.lock(), name)
    }

    /// Whether `secret` is the one sealed under `name`.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged.
    pub fn holds(&self, name: &str, secret: &Secret) -> Result<bool, VaultError> {
        Ok(self.reveal(name)?.reveal() == secret.reveal())
    }

    /// Exchanges the secret of a credential, which stays of the same provider. The next request that is
    /// sent has the new one. On disk when this returns, with its version.
    ///
    /// # Errors
    ///
    /// There is no such credential, or the file cannot be written; the vault is then as it was.
    pub fn rotate(&self, name: &str, secret: &Secret, now: Timestamp) -> Result<u64, VaultError> {
        let mut file = self.lock();
        let unknown = || VaultError::Unknown(name.to_owned());
        let entry = file.entries.get(name).filter(|_| is_name(name)).ok_or_else(unknown)?;
        let provider = provider_of(name, entry).ok_or_else(unknown)?.name.to_owned();
        self.put(&mut file, name, Some(Kept { provider, since: now.0 }), secret)
    }

    /// Forgets a credential and its secret.
    ///
    /// # Errors
    ///
    /// There is no such credential, or the file cannot be written; the vault is then as it was.
    pub fn remove(&self, name: &str) -> Result<(), VaultError> {
        let mut file = self.lock();
        let mut next = file.clone();
        let removed = next.entries.remove(name).filter(|_| is_name(name));
        removed.ok_or_else(|| VaultError::Unknown(name.to_owned()))?;
        self.write(&next)?;
        *file = next;
        Ok(())
    }

    /// Whose credential `name` is: what was said when it was added, else by its own name.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&'static Kind> {
        provider_of(name, self.lock().entries.get(name)?)
    }

    /// Every credential, by name, without its secret.
    #[must_use]
    pub fn credentials(&self) -> Vec<Listed> {
        let file = self.lock();
        let named = file.entries.iter().filter(|(name, _)| is_name(name));
        named
            .map(|(name, entry)| Listed {
                name: name.clone(),
                provider: provider_of(name, entry).map(|kind| kind.name.to_owned()),
                since: entry.kept.as_ref().map(|kept| Timestamp(kept.since)),
                version: entry.version,
            })
            .collect()
    }

    /// Seals `secret` under `name`, in one write of the whole file.
    fn put(
        &self,
        file: &mut File,
        name: &str,
        kept: Option<Kept>,
        secret: &Secret,
    ) -> Result<u64, VaultError> {
        let version = file.entries.get(name).map_or(0, |entry| entry.version).saturating_add(1);
        let sealed = self.data.seal(secret.reveal(), &bound_to(name, version, kept.as_ref()))?;
        let mut next = file.clone();
        next.entries.insert(name.to_owned(), Entry { version, kept, sealed });
        self.write(&next)?;
        *file = next;
        Ok(version)
    }

    /// The secret sealed under `name`; drop it as soon as it is sent.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged.
    pub fn reveal(&self, name: &str) -> Result<Secret, VaultError> {
        let file = self.lock();
        let entry = file.entries.get(name).ok_or_else(|| VaultError::Unknown(name.to_owned()))?;
        self.data.open(&entry.sealed, &bound(name, entry)).map(Secret::new)
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
fn bound(name: &str, entry: &Entry) -> Vec<u8> {
    bound_to(name, entry.version, entry.kept.as_ref())
}

/// What is kept for an operator is bound in a form of its own, so that nobody can take the provider off
/// an entry, or put one on.
fn bound_to(name: &str, version: u64, kept: Option<&Kept>) -> Vec<u8> {
    let Some(Kept { provider, since }) = kept else {
        let mut bound = b"tollgate vault entry 1\0".to_vec();
        bound.extend_from_slice(&version.to_be_bytes());
        bound.extend_from_slice(name.as_bytes());
        return bound;
    };
    let mut bound = b"tollgate vault entry 2\0".to_vec();
    bound.extend_from_slice(&version.to_be_bytes());
    bound.extend_from_slice(&since.to_be_bytes());
    // No name holds a zero.
    bound.extend_from_slice(provider.as_bytes());
    bound.push(0);
    bound.extend_from_slice(name.as_bytes());
    bound
}

fn is_kept(file: &File, name: &str) -> bool {
    file.entries.get(name).is_some_and(|entry| entry.kept.is_some())
}

fn free(file: &File, name: &str) -> Result<(), VaultError> {
    if !is_name(name) {
        return Err(VaultError::Name(name.to_owned()));
    }
    if is_kept(file, name) { Err(VaultError::Taken(name.to_owned())) } else { Ok(()) }
}

fn provider_of(name: &str, entry: &Entry) -> Option<&'static Kind> {
    known::named(entry.kept.as_ref().map_or(name, |kept| kept.provider.as_str()))
}

/// The gate's own secrets have names with a slash, so that no operator's word reaches them.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits)
}
