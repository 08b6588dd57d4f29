//! Virtual keys: what the agent is given in place of a real key, and whose it is.
//!
//! A run's virtual key is derived from the real one, so that it is the same in every run; a standing key
//! is random and an agent's own. The gate keeps hashes alone. Having a key is not enough: it opens
//! something only for a run that was given it, or for the agent that it was made for.

mod event;
mod origin;
mod standing;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use decide::case::{Bound, Caller, Key, Presented, Timestamp};
use decide::scan::SecretClass;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::vault::{MasterKey, Secret};

pub use event::{Hash, KeyCreated, KeyEvent, KeyIssued, KeyRevoked, KeyUsed, RunClosed};
pub use origin::{Origin, OriginError};
pub use standing::{Condition, CreateError, Created, KeyRow, NewKey, Owner};
pub use state::State;

/// Whose keys a virtual key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `sk-tg-…`, as `OpenAI` writes them.
    Openai,
    /// `sk-ant-tg-…`, as Anthropic writes them.
    Anthropic,
}

impl Shape {
    const ALL: [Self; 2] = [Self::Openai, Self::Anthropic];

    /// What every key of this shape begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Openai => "sk-tg-",
            Self::Anthropic => "sk-ant-tg-",
        }
    }

    /// What the real keys are that look so.
    #[must_use]
    pub const fn class(self) -> SecretClass {
        match self {
            Self::Openai => SecretClass::OpenaiKey,
            Self::Anthropic => SecretClass::AnthropicKey,
        }
    }
}

/// Length of what follows the prefix: 32 bytes in base64 for URLs.
const BODY: usize = 43;

/// Whether `text` is written as a virtual key, of this gate or another.
#[must_use]
pub fn is_virtual(text: &str) -> bool {
    Shape::ALL.into_iter().any(|shape| {
        text.strip_prefix(shape.prefix()).is_some_and(|body| {
            body.len() == BODY
                && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
    })
}

/// Whether a virtual key stands somewhere in `text`.
#[must_use]
pub fn holds_virtual(text: &str) -> bool {
    Shape::ALL.into_iter().any(|shape| {
        // Most values of a head are shorter than any key.
        let long = text.len() >= shape.prefix().len() + BODY;
        long && text.match_indices(shape.prefix()).any(|(at, prefix)| {
            let end = at + prefix.len() + BODY;
            text.get(at..end).is_some_and(is_virtual)
        })
    })
}

/// What a run is to be given.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The credential that the key stands for (`openai`).
    pub credential: &'a str,
    /// The shape of the key.
    pub shape: Shape,
    /// The run.
    pub run: &'a str,
    /// The run's agent, who alone may use it.
    pub agent: &'a str,
    /// When it stops being valid for this run.
    pub expires: Option<Timestamp>,
    /// Requests in all that this run may make with it.
    pub uses: Option<u64>,
}

/// A key as it was given out: the only moment at which the key itself exists in the gate.
#[derive(Debug)]
pub struct Issued {
    /// The key; goes into the command's environment and nowhere else.
    pub key: Secret,
    /// What the ledger keeps.
    pub event: KeyIssued,
}

/// What a request presented, and the use of the key that was entered for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presentation {
    /// The fact that the chain judges.
    pub presented: Presented,
    /// The use that was taken: recorded with the decision if the request goes out, given back by
    /// [`Keys::give_back`] if it does not.
    pub used: Option<KeyUsed>,
}

/// Virtual keys cannot be given out.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// An operator took it back, and it is the same key in every run.
    #[error(
        "the virtual key {id} of the credential {credential} is revoked: exchange the real key for a new one and seal that"
    )]
    Revoked {
        /// The key's id.
        id: String,
        /// The credential.
        credential: String,
    },
}

/// Every virtual key, by its hash.
pub struct Keys {
    derive: hmac::Key,
    fingerprint: hmac::Key,
    state: Mutex<State>,
    /// Fingerprints of the real keys in the vault.
    sealed: Mutex<BTreeMap<Hash, Shape>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of a state folder, whose master key they are derived under.
    #[must_use]
    pub fn new(master: &MasterKey, state: State) -> Self {
        let key = |label: &str| hmac::Key::new(hmac::HMAC_SHA256, master.derive(label).as_ref());
        Self {
            derive: key("virtual key"),
            fingerprint: key("fingerprint of a real key"),
            state: Mutex::new(state),
            sealed: Mutex::default(),
        }
    }

    /// Gives a run the virtual key of `real`. The same real key has the same virtual key in every run.
    ///
    /// # Errors
    ///
    /// The key was revoked.
    pub fn issue(&self, real: &Secret, wanted: &Wanted<'_>) -> Result<Issued, IssueError> {
        let fingerprint = self.fingerprint_of(real.reveal());
        let key = self.derived(fingerprint, wanted.shape);
        let hash = Hash::of(key.reveal());
        let mut state = self.lock();
        if let Some(known) = state.keys.get(&hash).filter(|known| known.revoked) {
            let (id, credential) = (known.id.clone(), wanted.credential.to_owned());
            return Err(IssueError::Revoked { id, credential });
        }
        let event = KeyIssued {
            id: hash.key_id(),
            hash,
            credential: wanted.credential.to_owned(),
            fingerprint,
            run: wanted.run.to_owned(),
            agent: wanted.agent.to_owned(),
            expires: wanted.expires.map(|at| at.0),
            uses: wanted.uses,
        };
        state.apply(&KeyEvent::Issued(event.clone()));
        Ok(Issued { key, event })
    }

    /// What `candidates`, the values found in a request's credential places, are to `caller`. A use of
    /// the key is entered here, before anything is judged, so that concurrent requests cannot share the
    /// last one.
    #[must_use]
    pub fn present(&self, candidates: &[&str], caller: &Caller, now: Timestamp) -> Presentation {
        let none = |presented| Presentation { presented, used: None };
        match candidate(candidates) {
            Candidate::None => none(Presented::Nothing),
            Candidate::Several => none(Presented::Ambiguous),
            Candidate::One(key) => {
                let hash = Hash::of(key.as_bytes());
                self.enter(hash, caller, now).unwrap_or_else(|| none(Presented::Unknown))
            }
        }
    }

    /// `None` where the key is not known, or was given to no run but others of the same agent.
    fn enter(&self, hash: Hash, caller: &Caller, now: Timestamp) -> Option<Presentation> {
        let mut state = self.lock();
        if let Some((stored, key)) = state.standing.get_key_value(&hash) {
            if !bool::from(stored.0.ct_eq(&hash.0)) {
                return None;
            }
            let presentation = standing::presentation(key, caller, now);
            if let Some(used) = &presentation.used {
                state.apply(&KeyEvent::Used(used.clone()));
            }
            return Some(presentation);
        }
        let (stored, known) = state.keys.get_key_value(&hash)?;
        // The tree compares byte by byte, which tells about a hash, not about a key; this settles it.
        if !bool::from(stored.0.ct_eq(&hash.0)) {
            return None;
        }
        let mut key = Key {
            id: known.id.clone(),
            credential: known.credential.clone(),
            agent: caller.agent.clone(),
            expires: None,
            uses_left: None,
            revoked: known.revoked,
            bound: Bound::Run,
        };
        let own = known.grants.get(&caller.run).filter(|grant| grant.agent == caller.agent);
        let Some(grant) = own.cloned() else {
            let other = known.grants.values().find(|grant| grant.agent != caller.agent)?;
            key.agent.clone_from(&other.agent);
            return Some(Presentation { presented: Presented::Key(key), used: None });
        };
        key.expires = grant.expires.map(Timestamp);
        key.uses_left = grant.uses.map(|uses| uses.saturating_sub(grant.used));
        let live = !key.revoked
            && key.expires.is_none_or(|end| now < end)
            && key.uses_left.is_none_or(|left| left > 0);
        let used = live.then(|| KeyUsed { id: key.id.clone(), run: caller.run.clone() });
        if let Some(used) = &used {
            state.apply(&KeyEvent::Used(used.clone()));
        }
        Some(Presentation { presented: Presented::Key(key), used })
    }

    /// Gives a use back: the request that took it was refused. A refused request records no use.
    pub fn give_back(&self, used: &KeyUsed) {
        if let Some(count) = self.lock().count(used) {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes a key back for every run, from now on, by its id or a standing key's name; `None` where
    /// there is none.
    pub fn revoke(&self, which: &str, reason: &str, by: &str) -> Option<KeyRevoked> {
        let mut state = self.lock();
        let known = state.by_id(which).map(|_| which.to_owned());
        let id = known.or_else(|| state.by_name(which).map(|key| key.id.clone()))?;
        let revoked = KeyRevoked { id, reason: reason.to_owned(), by: by.to_owned() };
        state.apply(&KeyEvent::Revoked(revoked.clone()));
        Some(revoked)
    }

    /// Whether there is a key with this id.
    #[must_use]
    pub fn is_known(&self, id: &str) -> bool {
        self.lock().by_id(id).is_some()
    }

    /// The ids of the keys that a run was given.
    #[must_use]
    pub fn given_to(&self, run: &str) -> Vec<String> {
        self.lock().given_to(run).map(|known| known.id.clone()).collect()
    }

    /// How many live runs were given keys of a credential.
    #[must_use]
    pub fn runs_with(&self, credential: &str) -> usize {
        let state = self.lock();
        let of = state.keys.values().filter(|known| known.credential == credential);
        of.flat_map(|known| known.grants.keys()).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Ends a run: its keys open nothing more.
    pub fn close(&self, run: &str) -> RunClosed {
        let closed = RunClosed { run: run.to_owned() };
        self.apply(&KeyEvent::Closed(closed.clone()));
        closed
    }

    /// Remembers the real key of a credential, so that it is recognised where it turns up.
    pub fn remember(&self, real: &Secret, shape: Shape) {
        let fingerprint = self.fingerprint_of(real.reveal());
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).insert(fingerprint, shape);
    }

    /// Whose real key `text` is, where the vault holds it or a run's virtual key stands for it.
    #[must_use]
    pub fn recognise(&self, text: &str) -> Option<Shape> {
        let fingerprint = self.fingerprint_of(text.as_bytes());
        let sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shape) = sealed.get(&fingerprint) {
            return Some(*shape);
        }
        drop(sealed);
        let state = self.lock();
        let known = state.by_fingerprint(&fingerprint)?;
        crate::vault::known::named(&known.credential).map(|kind| kind.shape)
    }

    /// Adds an event of the ledger, in its order.
    pub fn apply(&self, event: &KeyEvent) {
        self.lock().apply(event);
    }

    /// The keys as a value.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// The keys as JSON.
    ///
    /// # Errors
    ///
    /// They cannot be written as JSON.
    pub fn snapshot(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.state())
    }

    /// Keys as a snapshot wrote them.
    ///
    /// # Errors
    ///
    /// The bytes are no snapshot of keys.
    pub fn restore(master: &MasterKey, snapshot: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self::new(master, serde_json::from_slice(snapshot)?))
    }

    fn fingerprint_of(&self, real: &[u8]) -> Hash {
        Hash::from_tag(&hmac::sign(&self.fingerprint, real))
    }

    fn derived(&self, fingerprint: Hash, shape: Shape) -> Secret {
        let mut context = hmac::Context::with_key(&self.derive);
        context.update(shape.prefix().as_bytes());
        context.update(&fingerprint.0);
        written(shape, context.sign().as_ref())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The virtual keys among the values of a request's credential places.
enum Candidate<'a> {
    None,
    One(&'a str),
    Several,
}

fn candidate<'a>(candidates: &[&'a str]) -> Candidate<'a> {
    let mut found = candidates.iter().copied().filter(|text| is_virtual(text));
    match found.next() {
        None => Candidate::None,
        Some(first) if found.any(|other| other != first) => Candidate::Several,
        Some(first) => Candidate::One(first),
    }
}

/// A virtual key of this shape, made of 32 bytes.
fn written(shape: Shape, bytes: &[u8]) -> Secret {
    let body = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes));
    let mut key = Zeroizing::new(Vec::with_capacity(shape.prefix().len() + BODY));
    key.extend_from_slice(shape.prefix().as_bytes());
    key.extend_from_slice(body.as_bytes());
    Secret::new(key)
}

impl Hash {
    fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    fn from_tag(tag: &hmac::Tag) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// An id that is safe to print: the first 64 bits of the hash.
    fn key_id(self) -> String {
        let hex = self.to_string();
        format!("k_{}", hex.get(..16).unwrap_or(&hex))
    }
}
