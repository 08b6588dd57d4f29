//! One leaf and one TLS configuration a name, made once however many ask at once.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use decide::case::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, version};

use super::{Authority, Intermediate, MintError, later};

/// How many names are kept. One leaf with its configuration is about 3 KiB.
const KEPT: u64 = 1024;
/// An intermediate is replaced when less than a day of its week is left.
const RENEWED_BEFORE: Duration = Duration::from_hours(24);

/// The leaves of one gate process.
pub struct Leaves {
    authority: Authority,
    provider: Arc<CryptoProvider>,
    intermediate: RwLock<Arc<Intermediate>>,
    made: moka::sync::Cache<Box<str>, Made>,
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves").field("made", &self.made.entry_count()).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Made {
    config: Result<Arc<ServerConfig>, MintError>,
    /// When it must be made again.
    until: Timestamp,
}

impl Leaves {
    /// Leaves signed by a new intermediate of `authority`.
    ///
    /// # Errors
    ///
    /// The intermediate could not be made.
    pub fn new(authority: Authority, now: Timestamp) -> Result<Self, MintError> {
        let intermediate = RwLock::new(Arc::new(authority.intermediate(now)?));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = moka::sync::Cache::builder()
            .max_capacity(KEPT)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .build();
        Ok(Self { authority, provider, intermediate, made })
    }

    /// The root that agents trust.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
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
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let fresh = |made: &Made| made.config.is_ok() && now < made.until;
        if let Some(Made { config: Ok(config), .. }) = self.made.get(name.as_str()).filter(fresh) {
            return Ok(config);
        }
        let made = self
            .made
            .entry(name.clone().into())
            .or_insert_with_if(|| self.make(&name, now), |made| !fresh(made))
            .into_value();
        made.config
    }

    fn make(&self, name: &str, now: Timestamp) -> Made {
        match self.try_make(name, now) {
            Ok((config, until)) => Made { config: Ok(config), until },
            Err(error) => Made { config: Err(error), until: now },
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
        let held = Arc::clone(&self.intermediate.read().unwrap_or_else(PoisonError::into_inner));
        if now < before(held.expires) {
            return Ok(held);
        }
        let mut place = self.intermediate.write().unwrap_or_else(PoisonError::into_inner);
        if now >= before(place.expires) {
            *place = Arc::new(self.authority.intermediate(now)?);
        }
        Ok(Arc::clone(&place))
    }
}

/// The time by which something that `expires` must have been replaced.
fn before(expires: Timestamp) -> Timestamp {
    Timestamp(expires.0.saturating_sub(later(Timestamp(0), RENEWED_BEFORE).0))
}
