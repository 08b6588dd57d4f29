//! One leaf and one TLS configuration a name, made once however many ask at once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use decide::case::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, version};

use super::{Authority, Intermediate, MintError, Root, Roots, Successor, later};

/// How many names are kept. One leaf with its configuration is about 3 KiB.
const KEPT: u64 = 1024;
/// An intermediate is replaced when less than a day of its week is left.
const RENEWED_BEFORE: Duration = Duration::from_hours(24);

/// The leaves of one gate process.
pub struct Leaves {
    provider: Arc<CryptoProvider>,
    signing: RwLock<Signing>,
    /// Counts the changes of the roots. What was made before the last one is made anew.
    changes: AtomicU64,
    made: moka::sync::Cache<Box<str>, Made>,
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves").field("made", &self.made.entry_count()).finish_non_exhaustive()
    }
}

/// The roots, and what signs on their behalf.
#[derive(Clone)]
struct Signing {
    roots: Roots,
    intermediate: Arc<Intermediate>,
}

impl Signing {
    fn of(roots: Roots, now: Timestamp) -> Result<Self, MintError> {
        let intermediate = Arc::new(roots.intermediate(now)?);
        Ok(Self { roots, intermediate })
    }
}

/// A change of the roots that is ready to come into force, and cannot fail any more.
pub struct Change(Signing);

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Change").field(&self.0.roots).finish()
    }
}

#[derive(Clone)]
struct Made {
    config: Result<Arc<ServerConfig>, MintError>,
    /// When it must be made again.
    until: Timestamp,
    /// After which change of the roots it was made.
    change: u64,
}

impl Leaves {
    /// Leaves signed by a new intermediate of the root that signs.
    ///
    /// # Errors
    ///
    /// The intermediate could not be made.
    pub fn new(roots: Roots, now: Timestamp) -> Result<Self, MintError> {
        let signing = RwLock::new(Signing::of(roots, now)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = moka::sync::Cache::builder()
            .max_capacity(KEPT)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .build();
        Ok(Self { provider, signing, changes: AtomicU64::new(0), made })
    }

    /// Every root that agents are to trust, the signing one first.
    #[must_use]
    pub fn roots(&self) -> Vec<Root> {
        self.signing().roots.list()
    }

    /// The same as PEM, for a bundle that agents trust.
    #[must_use]
    pub fn pem(&self) -> String {
        self.roots().into_iter().map(|root| root.pem).collect()
    }

    /// When the next root came and takes over, where there is one.
    #[must_use]
    pub fn successor(&self) -> Option<Successor> {
        self.signing().roots.successor()
    }

    /// Makes ready that `authority` is to succeed the signing root.
    ///
    /// # Errors
    ///
    /// What signs then could not be made.
    pub fn follow_with(
        &self,
        authority: Authority,
        times: Successor,
        now: Timestamp,
    ) -> Result<Change, MintError> {
        let roots = self.signing().roots.followed_by(authority, times);
        Signing::of(roots, now).map(Change)
    }

    /// Makes ready that the next root signs and is the only one; `None` where there is none.
    ///
    /// # Errors
    ///
    /// What signs then could not be made.
    pub fn succeed(&self, now: Timestamp) -> Result<Option<Change>, MintError> {
        let succeeded = self.signing().roots.succeeded();
        succeeded.map(|roots| Signing::of(roots, now).map(Change)).transpose()
    }

    /// Lets a change come into force: connections from now on are answered under it, those that are open stay.
    pub fn put(&self, change: Change) {
        let mut signing = self.signing.write().unwrap_or_else(PoisonError::into_inner);
        *signing = change.0;
        self.changes.fetch_add(1, Ordering::Release);
        drop(signing);
        self.made.invalidate_all();
    }

    fn signing(&self) -> Signing {
        self.signing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Leaves::server_config`], but a leaf that is not there yet is made only if `may_mint` says so.
    ///
    /// # Errors
    ///
    /// As there, and [`MintError::TooMany`].
    pub fn server_config_within(
        &self,
        name: &str,
        now: Timestamp,
        may_mint: impl FnOnce() -> bool,
    ) -> Result<Arc<ServerConfig>, MintError> {
        match self.kept(&normal(name), now) {
            Some(config) => Ok(config),
            None if may_mint() => self.server_config(name, now),
            None => Err(MintError::TooMany),
        }
    }

    /// The TLS configuration with which the gate is `name` to an agent: TLS 1.2 and 1.3, `h2` and `http/1.1`.
    ///
    /// Ask only for a name that policy has admitted. Concurrent callers for one name share one leaf.
    ///
    /// # Errors
    ///
    /// `name` is neither a DNS name nor an address, or signing failed.
    pub fn server_config(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, MintError> {
        let name = normal(name);
        if let Some(config) = self.kept(&name, now) {
            return Ok(config);
        }
        let made = self
            .made
            .entry(name.clone().into())
            .or_insert_with_if(|| self.make(&name, now), |made| !self.is_fresh(made, now))
            .into_value();
        made.config
    }

    /// The configuration of a name, where a leaf for it is there and still good.
    fn kept(&self, name: &str, now: Timestamp) -> Option<Arc<ServerConfig>> {
        self.made.get(name).filter(|made| self.is_fresh(made, now))?.config.ok()
    }

    fn is_fresh(&self, made: &Made, now: Timestamp) -> bool {
        let latest = self.changes.load(Ordering::Acquire);
        made.config.is_ok() && now < made.until && made.change == latest
    }

    fn make(&self, name: &str, now: Timestamp) -> Made {
        // Read before what signs is: a leaf made while the roots change is made again rather than kept.
        let change = self.changes.load(Ordering::Acquire);
        match self.try_make(name, now) {
            Ok((config, until)) => Made { config: Ok(config), until, change },
            Err(error) => Made { config: Err(error), until: now, change },
        }
    }

    fn try_make(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<(Arc<ServerConfig>, Timestamp), MintError> {
        let server_name =
            ServerName::try_from(name).map_err(|_invalid| MintError::Name(name.to_owned()))?;
        let intermediate = self.intermediate(now)?;
        let leaf = intermediate.leaf(&server_name, now)?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // No resumption: most agents keep a connection open or are a new process each time, so tickets would
        // cost two encryptions and a write a connection for nobody; and each connection proves its name anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((Arc::new(config), before(intermediate.expires)))
    }

    /// The intermediate in use, replaced when its week is nearly over.
    fn intermediate(&self, now: Timestamp) -> Result<Arc<Intermediate>, MintError> {
        let held = self.signing().intermediate;
        if now < before(held.expires) {
            return Ok(held);
        }
        let mut place = self.signing.write().unwrap_or_else(PoisonError::into_inner);
        if now >= before(place.intermediate.expires) {
            place.intermediate = Arc::new(place.roots.intermediate(now)?);
        }
        Ok(Arc::clone(&place.intermediate))
    }
}

/// A name as it is kept.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The time by which something that `expires` must have been replaced.
fn before(expires: Timestamp) -> Timestamp {
    Timestamp(expires.0.saturating_sub(later(Timestamp(0), RENEWED_BEFORE).0))
}

#[cfg(test)]
mod tests;
