//! The keys as a value: what the events so far add up to, and how each is found at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::event::{Hash, KeyCreated, KeyEvent, KeyIssued, KeyUsed};
use super::origin::Origin;

/// The keys as a value, built from events alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct State {
    /// Keys that runs are given, by their hash.
    pub(super) keys: BTreeMap<Hash, Known>,
    /// Standing keys, by their hash.
    pub(super) standing: BTreeMap<Hash, Standing>,
    #[serde(skip)]
    index: Index,
}

/// A state as a snapshot has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    keys: BTreeMap<Hash, Known>,
    #[serde(default)]
    standing: BTreeMap<Hash, Standing>,
}

/// Where a key is found by what else names it. It follows from the keys, so no snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Index {
    /// By id.
    ids: BTreeMap<String, Hash>,
    /// By name; of several in turn, the newest: the others are dead.
    names: BTreeMap<String, (u64, Hash)>,
    /// By the fingerprint of the real key.
    fingerprints: BTreeMap<Hash, BTreeSet<Hash>>,
    /// By the run that was given them.
    runs: BTreeMap<String, BTreeSet<Hash>>,
}

/// The virtual key of one real key, as runs are given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) credential: String,
    pub(super) fingerprint: Hash,
    pub(super) revoked: bool,
    /// By run.
    pub(super) grants: BTreeMap<String, Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) agent: String,
    pub(super) expires: Option<u64>,
    pub(super) uses: Option<u64>,
    pub(super) used: u64,
}

/// A key that an operator made for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) credential: String,
    pub(super) agent: String,
    pub(super) at: u64,
    pub(super) expires: Option<u64>,
    pub(super) uses: Option<u64>,
    /// In all runs of its agent together.
    pub(super) used: u64,
    pub(super) from: Vec<Origin>,
    pub(super) revoked: bool,
    pub(super) by: String,
}

impl Standing {
    /// Neither taken back nor expired at `now`. Uses do not count: a refused request gives one back.
    pub(super) fn is_live(&self, now: u64) -> bool {
        !self.revoked && self.expires.is_none_or(|end| now < end)
    }
}

impl From<Stored> for State {
    fn from(Stored { keys, standing }: Stored) -> Self {
        let mut index = Index::default();
        for (hash, known) in &keys {
            index.known(*hash, known);
            for run in known.grants.keys() {
                index.runs.entry(run.clone()).or_default().insert(*hash);
            }
        }
        for (hash, key) in &standing {
            index.standing(*hash, key);
        }
        Self { keys, standing, index }
    }
}

impl Index {
    fn known(&mut self, hash: Hash, known: &Known) {
        self.ids.insert(known.id.clone(), hash);
        self.fingerprints.entry(known.fingerprint).or_default().insert(hash);
    }

    fn standing(&mut self, hash: Hash, key: &Standing) {
        self.ids.insert(key.id.clone(), hash);
        let newest = self.names.entry(key.name.clone()).or_insert((key.at, hash));
        *newest = (*newest).max((key.at, hash));
    }
}

impl State {
    /// Adds one event.
    pub fn apply(&mut self, event: &KeyEvent) {
        match event {
            KeyEvent::Issued(issued) => self.issued(issued),
            KeyEvent::Created(created) => self.created(created),
            KeyEvent::Used(used) => {
                if let Some(count) = self.count(used) {
                    *count = count.saturating_add(1);
                }
            }
            KeyEvent::Revoked(revoked) => {
                let Some(hash) = self.index.ids.get(&revoked.id) else { return };
                if let Some(known) = self.keys.get_mut(hash) {
                    known.revoked = true;
                }
                if let Some(key) = self.standing.get_mut(hash) {
                    key.revoked = true;
                }
            }
            KeyEvent::Closed(closed) => {
                for hash in self.index.runs.remove(&closed.run).unwrap_or_default() {
                    if let Some(known) = self.keys.get_mut(&hash) {
                        known.grants.remove(&closed.run);
                    }
                }
            }
        }
    }

    fn issued(&mut self, issued: &KeyIssued) {
        let known = self.keys.entry(issued.hash).or_insert_with(|| Known {
            id: issued.id.clone(),
            credential: issued.credential.clone(),
            fingerprint: issued.fingerprint,
            revoked: false,
            grants: BTreeMap::new(),
        });
        self.index.known(issued.hash, known);
        self.index.runs.entry(issued.run.clone()).or_default().insert(issued.hash);
        known.credential.clone_from(&issued.credential);
        known.grants.entry(issued.run.clone()).or_insert_with(|| Grant {
            agent: issued.agent.clone(),
            expires: issued.expires,
            uses: issued.uses,
            used: 0,
        });
    }

    fn created(&mut self, created: &KeyCreated) {
        let key = self.standing.entry(created.hash).or_insert_with(|| Standing {
            id: created.id.clone(),
            name: created.name.clone(),
            credential: created.credential.clone(),
            agent: created.agent.clone(),
            at: created.at,
            expires: created.expires,
            uses: created.uses,
            used: 0,
            from: created.from.clone(),
            revoked: false,
            by: created.by.clone(),
        });
        self.index.standing(created.hash, key);
    }

    /// How often the key was used under the terms that `used` falls under.
    pub(super) fn count(&mut self, used: &KeyUsed) -> Option<&mut u64> {
        let hash = self.index.ids.get(&used.id)?;
        if let Some(key) = self.standing.get_mut(hash) {
            return Some(&mut key.used);
        }
        self.keys.get_mut(hash)?.grants.get_mut(&used.run).map(|grant| &mut grant.used)
    }

    /// The hash of the key with this id.
    pub(super) fn by_id(&self, id: &str) -> Option<Hash> {
        self.index.ids.get(id).copied()
    }

    /// The newest standing key of this name.
    pub(super) fn by_name(&self, name: &str) -> Option<&Standing> {
        let (_, hash) = self.index.names.get(name)?;
        self.standing.get(hash)
    }

    /// The keys that a run was given.
    pub(super) fn given_to(&self, run: &str) -> impl Iterator<Item = &Known> {
        let hashes = self.index.runs.get(run).into_iter().flatten();
        hashes.filter_map(|hash| self.keys.get(hash))
    }

    /// A key that stands for the real key with this fingerprint.
    pub(super) fn by_fingerprint(&self, fingerprint: &Hash) -> Option<&Known> {
        self.keys.get(self.index.fingerprints.get(fingerprint)?.first()?)
    }
}
