//! Standing keys: made by an operator for an agent, and not tied to a run.

#[cfg(test)]
mod tests;

use decide::case::{Bound, Key, Presented, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::event::{Hash, KeyCreated, KeyEvent, KeyUsed};
use super::origin::Origin;
use super::state::Standing;
use super::{Caller, Keys, Presentation, Shape, written};
use crate::vault::Secret;

/// The longest name of a key.
const LONGEST_NAME: usize = 64;
/// What every id begins with, and so no name.
const ID: &str = "k_";

/// A standing key, as an operator asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// What it is called; no two live keys share a name.
    pub name: String,
    /// The agent, who alone may use it.
    pub agent: String,
    /// The credential that it stands for.
    pub credential: String,
    /// When it stops being valid.
    pub expires: Option<Timestamp>,
    /// Requests in all, in all runs of the agent together.
    pub uses: Option<u64>,
    /// Where it may be used from; nothing named leaves that to the agent's contract.
    pub from: Vec<Origin>,
    /// Who asks.
    pub by: String,
}

/// A standing key as it was made: the only moment at which the key itself exists in the gate.
#[derive(Debug)]
pub struct Created {
    /// The key; goes to who asked and nowhere else.
    pub key: Secret,
    /// What the ledger keeps.
    pub event: KeyCreated,
}

/// A standing key cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A live key has the name.
    #[error(
        "the name {name} is taken by the key {id}, which is live: `tollgate key revoke {id} --reason TEXT`, or choose another"
    )]
    Taken {
        /// The name.
        name: String,
        /// The key's id.
        id: String,
    },
    /// It is not a name.
    #[error(
        "`{0}` is not a name of a key: letters, digits and any of . _ - / @ up to 64, and not k_ at the beginning"
    )]
    Name(String),
    /// It would be dead when it is made.
    #[error("the key would have expired before it is made")]
    Expired,
    /// It would open nothing.
    #[error("a key of no uses opens nothing")]
    NoUses,
}

/// Whose a standing key is and where it may be used from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The key's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The agent that it was made for.
    pub agent: String,
    /// The credential that it stands for.
    pub credential: String,
    /// Where it may be used from.
    pub from: Vec<Origin>,
}

/// How a standing key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It opens.
    Live,
    /// Its time is over.
    Expired,
    /// It was used as often as it may be.
    UsedUp,
    /// An operator took it back.
    Revoked,
}

/// A standing key, as it is listed. Nothing in it opens anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The agent that it was made for.
    pub agent: String,
    /// The credential that it stands for.
    pub credential: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops being valid.
    pub expires: Option<Timestamp>,
    /// Requests in all.
    pub uses: Option<u64>,
    /// Requests so far.
    pub used: u64,
    /// Where it may be used from.
    pub from: Vec<Origin>,
    /// How it stands.
    pub condition: Condition,
    /// Who made it.
    pub by: String,
}

impl KeyRow {
    fn of(key: &Standing, now: Timestamp) -> Self {
        let condition = if key.revoked {
            Condition::Revoked
        } else if !key.is_live(now.0) {
            Condition::Expired
        } else if key.uses.is_some_and(|uses| key.used >= uses) {
            Condition::UsedUp
        } else {
            Condition::Live
        };
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            agent: key.agent.clone(),
            credential: key.credential.clone(),
            created: Timestamp(key.at),
            expires: key.expires.map(Timestamp),
            uses: key.uses,
            used: key.used,
            from: key.from.clone(),
            condition,
            by: key.by.clone(),
        }
    }
}

impl Keys {
    /// Makes a standing key of `random`, known from now on and given to nobody yet: it is to be committed
    /// to the ledger before it is, and [`Keys::forget`] takes it back where it cannot be.
    ///
    /// # Errors
    ///
    /// What was asked for makes no key.
    pub fn create(
        &self,
        asked: NewKey,
        shape: Shape,
        random: &[u8; 32],
        now: Timestamp,
    ) -> Result<Created, CreateError> {
        let NewKey { name, agent, credential, expires, uses, from, by } = asked;
        if !is_name(&name) {
            return Err(CreateError::Name(name));
        }
        if expires.is_some_and(|end| end <= now) {
            return Err(CreateError::Expired);
        }
        if uses == Some(0) {
            return Err(CreateError::NoUses);
        }
        let key = written(shape, random);
        let hash = Hash::of(key.reveal());
        let mut state = self.lock();
        if let Some(taken) = state.by_name(&name).filter(|key| key.is_live(now.0)) {
            return Err(CreateError::Taken { name, id: taken.id.clone() });
        }
        let event = KeyCreated {
            id: hash.key_id(),
            name,
            hash,
            credential,
            agent,
            at: now.0,
            expires: expires.map(|at| at.0),
            uses,
            from,
            by,
        };
        state.apply(&KeyEvent::Created(event.clone()));
        Ok(Created { key, event })
    }

    /// Takes a standing key back that the ledger did not take: nobody was given it.
    pub fn forget(&self, created: &KeyCreated) {
        let revoked = super::KeyRevoked::of(&created.id);
        self.apply(&KeyEvent::Revoked(revoked));
    }

    /// Every standing key, by name, the newest of a name first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<KeyRow> {
        let state = self.lock();
        let mut rows: Vec<KeyRow> =
            state.standing.values().map(|key| KeyRow::of(key, now)).collect();
        drop(state);
        rows.sort_by(|one, other| {
            one.name
                .cmp(&other.name)
                .then(other.created.cmp(&one.created))
                .then(one.id.cmp(&other.id))
        });
        rows
    }

    /// The standing key with this id, or the newest one of this name.
    #[must_use]
    pub fn show(&self, which: &str, now: Timestamp) -> Option<KeyRow> {
        let state = self.lock();
        let by_id = state.by_id(which).and_then(|hash| state.standing.get(&hash));
        by_id.or_else(|| state.by_name(which)).map(|key| KeyRow::of(key, now))
    }

    /// The key of this id as a fact, as it stands; `None` where there is no standing key of it.
    #[must_use]
    pub fn fact(&self, id: &str) -> Option<Key> {
        let state = self.lock();
        state.by_id(id).and_then(|hash| state.standing.get(&hash)).map(fact)
    }

    /// The ids of the live standing keys of a credential.
    #[must_use]
    pub fn standing_for(&self, credential: &str, now: Timestamp) -> Vec<String> {
        let state = self.lock();
        let live = |key: &&Standing| key.credential == credential && key.is_live(now.0);
        state.standing.values().filter(live).map(|key| key.id.clone()).collect()
    }

    /// Whose the one virtual key among `candidates` is, the values found in a request's credential
    /// places. `None` where there is none, more than one, or one that is no standing key of this gate.
    /// Whether it still opens anything is for the chain to say.
    #[must_use]
    pub fn owner(&self, candidates: &[&str]) -> Option<Owner> {
        let super::Candidate::One(text) = super::candidate(candidates) else { return None };
        let hash = Hash::of(text.as_bytes());
        let state = self.lock();
        let (stored, key) = state.standing.get_key_value(&hash)?;
        bool::from(stored.0.ct_eq(&hash.0)).then(|| Owner {
            id: key.id.clone(),
            name: key.name.clone(),
            agent: key.agent.clone(),
            credential: key.credential.clone(),
            from: key.from.clone(),
        })
    }
}

/// What a standing key is to `caller`, and the use that is to be entered for it.
pub(super) fn presentation(key: &Standing, caller: &Caller, now: Timestamp) -> Presentation {
    let left = key.uses.map(|uses| uses.saturating_sub(key.used));
    let opens = key.is_live(now.0) && left.is_none_or(|left| left > 0);
    let used = (opens && key.agent == caller.agent)
        .then(|| KeyUsed { id: key.id.clone(), run: caller.run.clone() });
    Presentation { presented: Presented::Key(fact(key)), used }
}

/// A standing key as a fact. What binds its use is for whoever knows the caller to say.
fn fact(key: &Standing) -> Key {
    Key {
        id: key.id.clone(),
        credential: key.credential.clone(),
        agent: key.agent.clone(),
        expires: key.expires.map(Timestamp),
        uses_left: key.uses.map(|uses| uses.saturating_sub(key.used)),
        revoked: key.revoked,
        bound: Bound::Bearer,
    }
}

/// Whether `text` can be typed, told from an id, and shown as it is.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/@".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with(ID)
}
