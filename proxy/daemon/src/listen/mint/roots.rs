//! The root that signs and, while it is exchanged for another, the one that will.
//!
//! From the beginning of a rotation to its end both are handed out, and the old one signs: who trusts only the
//! old one notices nothing. The chain then holds a certificate of the old root under the new one as well, so who
//! trusts only the new one is served too.

use std::sync::Arc;

use decide::case::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Authority, Intermediate, MintError};

/// The roots of a deployment.
#[derive(Debug, Clone)]
pub struct Roots {
    signs: Arc<Authority>,
    next: Option<Next>,
}

#[derive(Debug, Clone)]
struct Next {
    authority: Arc<Authority>,
    times: Successor,
}

/// When a root that is to succeed the signing one came, and when it takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// Since when it is handed out.
    pub since: Timestamp,
    /// The declared end of the overlap; `None` waits for an operator's word.
    pub until: Option<Timestamp>,
}

/// One root, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
    /// Its certificate, PEM.
    pub pem: String,
    /// Set for the one that does not sign yet.
    pub next: Option<Successor>,
}

impl From<Authority> for Roots {
    /// The one root of a deployment.
    fn from(authority: Authority) -> Self {
        Self { signs: Arc::new(authority), next: None }
    }
}

impl Roots {
    /// The same, with one that is to succeed it. One that was to succeed it before is forgotten.
    #[must_use]
    pub fn followed_by(&self, authority: Authority, times: Successor) -> Self {
        let next = Some(Next { authority: Arc::new(authority), times });
        Self { signs: Arc::clone(&self.signs), next }
    }

    /// The successor alone; `None` where there is none.
    #[must_use]
    pub fn succeeded(&self) -> Option<Self> {
        let next = self.next.as_ref()?;
        Some(Self { signs: Arc::clone(&next.authority), next: None })
    }

    /// When the successor came and takes over, where there is one.
    #[must_use]
    pub fn successor(&self) -> Option<Successor> {
        self.next.as_ref().map(|next| next.times)
    }

    /// Every root, the signing one first.
    #[must_use]
    pub fn list(&self) -> Vec<Root> {
        let next = self.next.iter().map(|next| (&next.authority, Some(next.times)));
        std::iter::once((&self.signs, None))
            .chain(next)
            .map(|(authority, next)| Root {
                fingerprint: authority.fingerprint(),
                pem: authority.pem(),
                next,
            })
            .collect()
    }

    /// A new intermediate of the signing root, with what makes its leaves hold under the next root too.
    pub(super) fn intermediate(&self, now: Timestamp) -> Result<Intermediate, MintError> {
        let mut intermediate = self.signs.intermediate(now)?;
        if let Some(next) = &self.next {
            intermediate.above.push(next.authority.vouch_for(&self.signs, now)?);
        }
        Ok(intermediate)
    }
}

impl Authority {
    /// SHA-256 of the certificate, hex: what `openssl x509 -fingerprint -sha256` shows with colons.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        crate::trust::hex(&Sha256::digest(self.certificate()).into())
    }
}
