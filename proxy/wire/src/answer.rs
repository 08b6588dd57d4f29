//! What is heard of an answer: events with their exact bytes, the texts in them, usage and calls.

use std::collections::BTreeMap;

use bytes::Bytes;
use decide::case::EnvelopeFault;

pub(crate) mod choose;
pub(crate) mod counted;
pub(crate) mod stream;
pub(crate) mod unpack;
pub(crate) mod whole;

/// Follows one answer. Bytes are given as they arrive; how they were cut never changes what is heard.
pub trait Decoder: Send {
    /// Reads the next bytes of the answer.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the answer cannot be followed; nothing of it after the last [`Heard`] may be released.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Unreadable>;

    /// The answer is over.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where it ends in the middle of something that cannot be read without its rest.
    fn finish(&mut self) -> Result<Vec<Heard>, Unreadable>;

    /// The bytes of [`Heard`] have no content-encoding any more: the answer's `content-encoding`, `content-length`,
    /// `content-md5` and `digest` headers do not describe them and are to be dropped.
    fn unpacks(&self) -> bool;
}

/// One event of an answer, the unit of release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The exact bytes of the event, free of content-encoding. Those of all events together are the answer.
    pub bytes: Bytes,
    /// What kind of event it is.
    pub kind: HeardKind,
    /// Every text in it that is to be scanned.
    pub pieces: Vec<Piece>,
    /// What the provider has counted so far, where this event says so. It replaces what was heard before.
    pub usage: Option<Usage>,
    /// The model that the answer names, where this event counts or is the whole answer.
    pub model: Option<String>,
    /// Ids of objects at the provider that this run is now given.
    pub objects: Vec<String>,
    /// Tool calls that begin here.
    pub calls: Vec<ToolCall>,
    /// The provider has nothing more to say.
    pub last: bool,
}

impl Heard {
    /// An event that holds nothing but its bytes.
    pub(crate) const fn bare(bytes: Bytes, kind: HeardKind) -> Self {
        Self {
            bytes,
            kind,
            pieces: Vec::new(),
            usage: None,
            model: None,
            objects: Vec::new(),
            calls: Vec::new(),
            last: false,
        }
    }

    /// Notes the name of the model that `holder` gives, if it gives one.
    pub(crate) fn model_in(&mut self, holder: crate::json::Value<'_, '_>) {
        self.model =
            holder.get("model").and_then(|name| name.as_str()).map(std::borrow::Cow::into_owned);
    }
}

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardKind {
    /// Part of the answer: waits behind an event that waits.
    Content,
    /// Keeps the connection alive and says nothing: may overtake what waits.
    KeepAlive,
    /// There only because the gate asked for it: taken out again.
    Withheld,
}

/// A text in an event. The texts of one track, in order, are one text for the scanner.
///
/// A string that is complete ends in NUL, which no secret contains, so that no candidate lives on behind it.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where the text belongs: choice and kind, or its path in the JSON.
    pub track: String,
    /// The text.
    pub text: String,
    /// The text is itself JSON (a tool call's arguments): its strings have one more level of escapes.
    pub escaped: bool,
}

impl std::fmt::Debug for Piece {
    /// Without the text, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece")
            .field("track", &self.track)
            .field("bytes", &self.text.len())
            .field("escaped", &self.escaped)
            .finish()
    }
}

/// A tool call of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The track on which its arguments arrive.
    pub track: String,
    /// The tool.
    pub name: String,
}

/// Tokens as the provider counts them, in disjoint classes: their sum is what the exchange used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input tokens that came from no cache and went into none.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache that lives five minutes.
    pub cache_write_5m: u64,
    /// Input tokens written to a cache that lives an hour.
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Calls of tools that the provider ran and bills apart, by name (`web_search`).
    pub server_tools: BTreeMap<String, u64>,
    /// The service tier that did the work, where it says so.
    pub service_tier: Option<String>,
}

/// Why an answer cannot be followed. Nothing of it is released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The type is none that this operation answers with.
    #[error("the answer's content-type {0} is not one this operation has")]
    ContentType(String),
    /// Its content-encoding cannot be read, or it decodes to too much.
    #[error("the answer cannot be decoded: {0}")]
    Encoding(EnvelopeFault),
    /// An event or a body is not what its type says.
    #[error("the answer is malformed: {0}")]
    Malformed(EnvelopeFault),
    /// One event is larger than the gate holds.
    #[error("an event of the answer is larger than {0} bytes")]
    EventTooLarge(u64),
    /// A body that is judged whole is larger than the gate holds.
    #[error("the answer is larger than {0} bytes")]
    BodyTooLarge(u64),
}
