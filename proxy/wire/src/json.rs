//! A strict reader of JSON: what it accepts, every parser reads alike.
//!
//! It refuses duplicate keys at any depth (after unescaping), text that is not Unicode, lone surrogates, NUL in a key,
//! numbers beyond a double, more than [`MAX_DEPTH`] levels, and anything before or after the one value. Values are
//! spans of the body, so that an edit can leave all other bytes alone.

use std::borrow::Cow;
use std::ops::Range;

use decide::case::EnvelopeFault;

pub(crate) mod escape;
mod reader;

/// Levels of nesting that are read.
pub const MAX_DEPTH: u32 = 128;

/// Values of one document. A body of the largest size that is nothing but brackets would otherwise need many times its
/// own size; no documented request comes near this.
pub const MAX_NODES: usize = 2_000_000;

/// The largest integer that every parser holds exactly, 2^53.
const MAX_EXACT: u64 = 1 << 53;

/// A body that is one JSON value.
pub struct Document<'b> {
    text: &'b str,
    nodes: Vec<Node>,
}

impl std::fmt::Debug for Document<'_> {
    /// Without the content, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.text.len())
            .field("nodes", &self.nodes.len())
            .finish()
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number; inside an array, the run of numbers that stand side by side.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
    /// The key of a member; never met as a value.
    Key,
}

/// In pre-order; a member is a key followed by its value. Spans leave the quotes of strings out.
#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    escaped: bool,
    start: u32,
    end: u32,
    /// The node after this one and everything in it.
    next: u32,
}

impl<'b> Document<'b> {
    /// Reads `body`.
    ///
    /// # Errors
    ///
    /// The first fault, with its place.
    pub fn parse(body: &'b [u8]) -> Result<Self, EnvelopeFault> {
        reader::read(body)
    }

    /// The value that the body is.
    #[must_use]
    pub const fn root(&self) -> Value<'_, 'b> {
        Value { document: self, node: 0 }
    }

    /// The body.
    #[must_use]
    pub const fn text(&self) -> &'b str {
        self.text
    }

    fn node(&self, index: u32) -> Option<Node> {
        self.nodes.get(index as usize).copied()
    }

    /// Every string and every key, in order of appearance, with its place in the tree.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (Kind, Text<'b>)> + '_ {
        self.nodes
            .iter()
            .filter(|node| matches!(node.kind, Kind::String | Kind::Key))
            .map(|node| (node.kind, self.text_of(*node)))
    }

    fn text_of(&self, node: Node) -> Text<'b> {
        let at = node.start as usize;
        Text {
            raw: self.text.get(at..node.end as usize).unwrap_or_default(),
            at,
            escaped: node.escaped,
        }
    }
}

/// A value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Value<'d, 'b> {
    document: &'d Document<'b>,
    node: u32,
}

impl<'d, 'b> Value<'d, 'b> {
    fn here(&self) -> Node {
        // A `Value` is only made for a node that exists.
        self.document.node(self.node).unwrap_or(Node {
            kind: Kind::Null,
            escaped: false,
            start: 0,
            end: 0,
            next: self.node + 1,
        })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.here().kind
    }

    /// Its bytes in the body, the quotes of a string included.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        let node = self.here();
        let quotes = usize::from(node.kind == Kind::String);
        node.start as usize - quotes..node.end as usize + quotes
    }

    /// The member of an object; `None` also where this is no object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Self> {
        self.members().find_map(|(name, value)| (name.decode() == key).then_some(value))
    }

    /// The member of an object; a member that is `null` counts as absent.
    #[must_use]
    pub fn given(&self, key: &str) -> Option<Self> {
        self.get(key).filter(|value| value.kind() != Kind::Null)
    }

    /// The members of an object; none where this is no object.
    pub fn members(self) -> impl Iterator<Item = (Text<'b>, Self)> + use<'d, 'b> {
        let node = self.here();
        let document = self.document;
        let mut key = if node.kind == Kind::Object { self.node + 1 } else { node.next };
        std::iter::from_fn(move || {
            if key >= node.next {
                return None;
            }
            let name = document.text_of(document.node(key)?);
            let value = Self { document, node: key + 1 };
            key = value.here().next;
            Some((name, value))
        })
    }

    /// The elements of an array; none where this is no array.
    pub fn items(self) -> impl Iterator<Item = Self> + use<'d, 'b> {
        let node = self.here();
        let document = self.document;
        let mut at = if node.kind == Kind::Array { self.node + 1 } else { node.next };
        std::iter::from_fn(move || {
            if at >= node.next {
                return None;
            }
            let value = Self { document, node: at };
            at = value.here().next;
            Some(value)
        })
    }

    /// A string.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'b, str>> {
        self.as_text().map(|text| text.decode())
    }

    /// A string with its place.
    #[must_use]
    pub fn as_text(&self) -> Option<Text<'b>> {
        let node = self.here();
        (node.kind == Kind::String).then(|| self.document.text_of(node))
    }

    /// A whole number that every parser holds exactly, written without fraction or exponent.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        let node = self.here();
        if node.kind != Kind::Number {
            return None;
        }
        let raw = self.document.text.get(node.start as usize..node.end as usize)?;
        if !raw.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        raw.parse().ok().filter(|number| *number <= MAX_EXACT)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        let node = self.here();
        // The shorter of the two words is `true`.
        (node.kind == Kind::Bool).then_some(node.end - node.start == 4)
    }
}

/// A string or key as it stands in the body.
#[derive(Clone, Copy)]
pub struct Text<'b> {
    raw: &'b str,
    at: usize,
    escaped: bool,
}

impl std::fmt::Debug for Text<'_> {
    /// Without the content, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").field("at", &self.at).field("bytes", &self.raw.len()).finish()
    }
}

impl<'b> Text<'b> {
    /// The string that it means.
    #[must_use]
    pub fn decode(&self) -> Cow<'b, str> {
        if self.escaped {
            Cow::Owned(escape::unescape(self.raw).text)
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// Its bytes in the body, without the quotes.
    #[must_use]
    pub const fn span(&self) -> Range<usize> {
        self.at..self.at + self.raw.len()
    }

    pub(crate) const fn raw(&self) -> &'b str {
        self.raw
    }

    pub(crate) const fn is_escaped(&self) -> bool {
        self.escaped
    }
}

/// A text of an agent as an error or a record may show it: cut, and without the secret it may hold.
pub(crate) fn shown(text: &str, most: usize) -> String {
    match decide::scan::find(text).first() {
        Some(found) => format!("({})", found.class.name()),
        None => text.chars().take(most).collect(),
    }
}

#[cfg(test)]
mod tests;
