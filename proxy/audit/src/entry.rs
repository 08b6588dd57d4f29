//! One entry: what it says, and the bytes that are hashed and stored.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::wire::{Cursor, Malformed};

/// First bytes of every encoded entry: three letters of domain separation and the format version.
const MAGIC: [u8; 4] = *b"TGE\x01";

/// Length that says "unknown" where the length of an identity stands.
const UNKNOWN: u16 = u16::MAX;

/// Longest identity in bytes; a longer one is refused at append.
pub const MAX_IDENTITY: usize = 1024;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands for the hash before the first entry.
    pub const ZERO: Hash = Hash([0; 32]);

    /// The RFC 6962 leaf hash of `encoded`: SHA-256 of a zero byte and the bytes.
    pub(crate) fn of_leaf(encoded: &[u8]) -> Hash {
        Hash(Sha256::new().chain_update([0]).chain_update(encoded).finalize().into())
    }

    /// In hexadecimal digits.
    fn digits(&self) -> [u8; 64] {
        let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        digits
    }

    /// Plain SHA-256.
    pub(crate) fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 64 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a hash has 64 hexadecimal digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digits = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
            *byte = u8::from_str_radix(digits, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Hash(bytes))
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal),+ $(,)?) => {
        /// What an entry is about. The numbers are part of the format: none is ever reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Kind { $($(#[doc = $doc])+ $name = $number),+ }

        impl Kind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            fn from_number(number: u8) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)+ _ => None }
            }
        }
    };
}

kinds! {
    /// What was decided about an exchange, before anything of it left.
    Decision = 1,
    /// How an exchange ended and what it cost.
    Outcome = 2,
    /// Many equal refusals of one second, counted (see [`crate::Flood`]).
    Refusals = 3,
    /// A kill switch was set.
    Kill = 4,
    /// A kill switch was lifted.
    Unkill = 5,
    /// A virtual key was issued, narrowed, revoked or rotated.
    Key = 6,
    /// A budget was set, raised or released.
    Budget = 7,
    /// Any other act of an operator, an accepted loss among them.
    Operator = 8,
    /// An approval was asked for, given, denied or used.
    Approval = 9,
    /// An agent was registered, changed or quarantined.
    Agent = 10,
    /// Policy or configuration came into force.
    Policy = 11,
    /// A run began or ended.
    Run = 12,
    /// A large fact that other entries name by digest (a tool set, a rule trail).
    Fact = 13,
    /// The event pipe left something out.
    Drops = 14,
    /// The views at the end of a segment, by digest. Written by the ledger itself.
    Snapshot = 15,
    /// A torn tail was cut off at start-up. Written by the ledger itself.
    Recovered = 16,
    /// Something tried to go past the gate, and the kernel refused it.
    Attempt = 17,
    /// A connection from outside to what an agent serves is over.
    Inbound = 18,
}

impl Kind {
    /// Whether the reserve for operators is open to this kind: it still commits on a full disk.
    #[must_use]
    pub const fn may_use_reserve(self) -> bool {
        matches!(
            self,
            Kind::Kill
                | Kind::Unkill
                | Kind::Operator
                | Kind::Budget
                | Kind::Recovered
                | Kind::Snapshot
        )
    }
}

macro_rules! identities {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Whom an entry is about. `None` is written as unknown, never as empty text.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Who { $($(#[doc = $doc])+ pub $name: Option<String>),+ }

        impl Who {
            fn fields(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
                [$((stringify!($name), self.$name.as_deref())),+].into_iter()
            }

            fn read(cursor: &mut Cursor<'_>) -> Result<Who, Malformed> {
                // Struct fields are evaluated in the order written, which is the order encoded.
                Ok(Who { $($name: identity(cursor)?),+ })
            }
        }
    };
}

identities! {
    /// The tenant of a shared deployment.
    tenant,
    /// The workspace within the tenant.
    workspace,
    /// The project.
    project,
    /// The environment (production, staging).
    environment,
    /// The team that answers for the agent.
    team,
    /// The agent's id.
    agent,
    /// The agent's decentralised identifier.
    did,
    /// The virtual key's id, never the key.
    key,
    /// The run.
    run,
    /// Where the agent runs: node, pod, host.
    runtime_target,
    /// The connector or tool server.
    connector,
    /// The process: command name and pid as the gate saw them.
    process,
}

fn identity(cursor: &mut Cursor<'_>) -> Result<Option<String>, Malformed> {
    match cursor.u16()? {
        UNKNOWN => Ok(None),
        length if usize::from(length) <= MAX_IDENTITY => {
            cursor.text(usize::from(length)).map(|text| Some(text.to_owned()))
        }
        _ => Err(Malformed("an identity is too long")),
    }
}

/// Room that is made for a body at once; few need more.
const ROOM: usize = 2048;

/// What an entry says, as JSON. The caller sees to it that no content of a request or answer and
/// no secret is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Box<str>);

impl Body {
    /// Writes `value` as JSON.
    ///
    /// # Errors
    /// When `value` cannot be JSON, such as a map whose keys are not text.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Body, serde_json::Error> {
        let mut bytes = Vec::with_capacity(ROOM);
        serde_json::to_writer(&mut bytes, value)?;
        let text = String::from_utf8(bytes).map_err(serde::ser::Error::custom)?;
        Ok(Body(text.into()))
    }

    /// Reads the JSON as a `T`.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// A large fact that many entries name by digest, such as the trail of a rule that hardly changes.
///
/// It is an entry of its own ([`Kind::Fact`]), once in each segment that names it and before the
/// first entry there that does. So a segment that is kept can be read without any before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    draft: Draft,
    digest: Hash,
}

impl Fact {
    /// A fact that says `body`.
    #[must_use]
    pub fn of(body: Body) -> Fact {
        let digest = Fact::digest_of(&body);
        let draft = Draft { kind: Kind::Fact, who: Who::default(), body, commitment: None };
        Fact { draft, digest }
    }

    /// The name of a fact that says `body`: the SHA-256 of its JSON text.
    #[must_use]
    pub fn digest_of(body: &Body) -> Hash {
        Hash::of(body.as_str().as_bytes())
    }

    /// Its name.
    #[must_use]
    pub const fn digest(&self) -> Hash {
        self.digest
    }

    /// The entry that it is.
    pub(crate) const fn draft(&self) -> &Draft {
        &self.draft
    }
}

/// A salted SHA-256 commitment to a payload that lies elsewhere and may be erased there.
///
/// The salt lies with the payload: once both are gone the commitment tells nothing, not even to
/// someone who guesses the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commitment(Hash);

impl Commitment {
    /// Commits to `payload` under `salt`, which is fresh for each payload.
    #[must_use]
    pub fn to(salt: &[u8; 32], payload: &[u8]) -> Commitment {
        Commitment(Hash(Sha256::new().chain_update(salt).chain_update(payload).finalize().into()))
    }

    /// Whether `payload` under `salt` is what was committed to.
    #[must_use]
    pub fn opens(&self, salt: &[u8; 32], payload: &[u8]) -> bool {
        Commitment::to(salt, payload) == *self
    }
}

/// What a caller asks to be entered; the ledger adds number, time and links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it is about.
    pub kind: Kind,
    /// Whom it is about.
    pub who: Who,
    /// What it says.
    pub body: Body,
    /// The payload it commits to, if there is one.
    pub commitment: Option<Commitment>,
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, from 0 without a gap.
    pub seq: u64,
    /// The hash of the entry before, [`Hash::ZERO`] for the first.
    pub prev: Hash,
    /// Microseconds since the Unix epoch; never less than the entry before.
    pub time: u64,
    /// What it is about.
    pub kind: Kind,
    /// Whom it is about.
    pub who: Who,
    /// What it says.
    pub body: Body,
    /// The payload it commits to, if there is one.
    pub commitment: Option<Commitment>,
    /// Its own hash: the RFC 6962 leaf hash of the encoded entry, which is all of the above.
    pub hash: Hash,
}

impl Entry {
    /// Makes the entry and the bytes that are hashed and stored, appended to `out`.
    pub(crate) fn seal(draft: Draft, seq: u64, prev: Hash, time: u64, out: &mut Vec<u8>) -> Entry {
        let start = out.len();
        let Draft { kind, who, body, commitment } = draft;
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(&prev.0);
        out.extend_from_slice(&time.to_be_bytes());
        out.push(kind as u8);
        for (_, value) in who.fields() {
            // `Draft::measure` has refused what does not fit.
            let length = value.map_or(UNKNOWN, |text| u16::try_from(text.len()).unwrap_or(UNKNOWN));
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
        out.push(u8::from(commitment.is_some()));
        if let Some(Commitment(hash)) = &commitment {
            out.extend_from_slice(&hash.0);
        }
        let length = u32::try_from(body.0.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(body.0.as_bytes());
        let hash = Hash::of_leaf(out.get(start..).unwrap_or_default());
        Entry { seq, prev, time, kind, who, body, commitment, hash }
    }

    /// Reads an encoded entry. There is exactly one encoding of an entry; anything else is
    /// malformed.
    pub(crate) fn decode(encoded: &[u8]) -> Result<Entry, Malformed> {
        let mut cursor = Cursor::new(encoded);
        if cursor.array::<4>()? != MAGIC {
            return Err(Malformed("not an entry of format version 1"));
        }
        let seq = cursor.u64()?;
        let prev = Hash(cursor.array()?);
        let time = cursor.u64()?;
        let kind = Kind::from_number(cursor.u8()?).ok_or(Malformed("an unknown kind of entry"))?;
        let who = Who::read(&mut cursor)?;
        let commitment = match cursor.u8()? {
            0 => None,
            1 => Some(Commitment(Hash(cursor.array()?))),
            _ => return Err(Malformed("a commitment is neither there nor absent")),
        };
        let length = usize::try_from(cursor.u32()?).ok().ok_or(Malformed("a body is too long"))?;
        let body = Body(cursor.text(length)?.into());
        cursor.end()?;
        Ok(Entry { seq, prev, time, kind, who, body, commitment, hash: Hash::of_leaf(encoded) })
    }
}

impl Draft {
    /// The length of the encoded entry, or the name of the identity that is too long.
    pub(crate) fn measure(&self) -> Result<usize, &'static str> {
        let mut length = MAGIC.len() + 8 + 32 + 8 + 1 + 1 + 4 + self.body.0.len();
        for (name, value) in self.who.fields() {
            let bytes = value.map_or(0, str::len);
            if bytes > MAX_IDENTITY {
                return Err(name);
            }
            length += 2 + bytes;
        }
        Ok(length + if self.commitment.is_some() { 32 } else { 0 })
    }
}

#[cfg(test)]
mod tests;
