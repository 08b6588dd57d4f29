//! The strings of an answer and where the scanner follows each of them.

use std::borrow::Cow;
use std::fmt::Write;

use crate::answer::Piece;
use crate::json::{Kind, Text, Value};

/// A complete string this short holds no secret: the shortest proof, an AWS key id, has 20 bytes.
const TOO_SHORT: usize = 16;

/// The track of complete strings.
const COMPLETE: &str = "complete";

/// The track of complete strings that look like JSON.
const COMPLETE_JSON: &str = "complete/json";

/// One step from a value to a part of it.
#[derive(Debug, Clone)]
pub(crate) enum Step<'b> {
    Key(Cow<'b, str>),
    Index(usize),
}

/// How the scanner reads one string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Opaque by its dialect's documentation: signatures, encrypted reasoning, media, padding.
    Inert,
    /// The whole of a text.
    Complete,
    /// The next piece of the text on this track; `true` where that text is JSON.
    Delta(String, bool),
    /// The next piece of a text that no dialect names; its track is its path.
    Unknown,
}

/// Keys whose strings are opaque wherever they stand.
const OPAQUE: [&str; 8] = [
    "signature",
    "encrypted_content",
    "encrypted_index",
    "obfuscation",
    "b64_json",
    "partial_image_b64",
    "encrypted_stdout",
    "embedding",
];

/// A key that names an opaque string in every dialect.
pub(crate) fn opaque(path: &[Step<'_>]) -> bool {
    matches!(path.last(), Some(Step::Key(key)) if OPAQUE.contains(&key.as_ref()))
        // Embeddings in base64 stand in an array too.
        || matches!(path, [.., Step::Key(key), Step::Index(_)] if key == "embedding")
}

/// The pieces of every string and key of `root`.
pub(crate) fn pieces<'b>(root: Value<'_, 'b>, leaf: impl Fn(&[Step<'b>]) -> Leaf) -> Vec<Piece> {
    let mut walk =
        Walk { leaf, path: Vec::new(), complete: Complete::default(), pieces: Vec::new() };
    walk.value(root);
    let Walk { complete, mut pieces, .. } = walk;
    complete.close(&mut pieces);
    pieces
}

/// Texts outside JSON that are complete.
pub(crate) fn complete<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Piece> {
    let mut complete = Complete::default();
    texts.into_iter().for_each(|text| complete.add(text));
    let mut pieces = Vec::new();
    complete.close(&mut pieces);
    pieces
}

/// Complete strings, each ended by NUL.
#[derive(Default)]
struct Complete {
    plain: String,
    json: String,
}

impl Complete {
    fn add(&mut self, text: &str) {
        if text.len() < TOO_SHORT || crate::scan::is_media(text) {
            return;
        }
        let json = text.contains('\\') && text.trim_start().starts_with(['{', '[', '"']);
        let track = if json { &mut self.json } else { &mut self.plain };
        track.push_str(text);
        track.push('\0');
    }

    fn close(self, pieces: &mut Vec<Piece>) {
        for (track, text, escaped) in
            [(COMPLETE, self.plain, false), (COMPLETE_JSON, self.json, true)]
        {
            if !text.is_empty() {
                pieces.push(Piece { track: track.to_owned(), text, escaped });
            }
        }
    }
}

struct Walk<'b, F> {
    leaf: F,
    path: Vec<Step<'b>>,
    complete: Complete,
    pieces: Vec<Piece>,
}

impl<'b, F: Fn(&[Step<'b>]) -> Leaf> Walk<'b, F> {
    fn value(&mut self, value: Value<'_, 'b>) {
        match value.kind() {
            Kind::String => {
                if let Some(text) = value.as_text() {
                    self.text(&text);
                }
            }
            Kind::Array => {
                for (index, item) in value.items().enumerate() {
                    self.path.push(Step::Index(index));
                    self.value(item);
                    self.path.pop();
                }
            }
            Kind::Object => {
                for (key, member) in value.members() {
                    let key = key.decode();
                    self.complete.add(&key);
                    self.path.push(Step::Key(key));
                    self.value(member);
                    self.path.pop();
                }
            }
            Kind::Null | Kind::Bool | Kind::Number | Kind::Key => {}
        }
    }

    fn text(&mut self, text: &Text<'b>) {
        if opaque(&self.path) {
            return;
        }
        let (track, escaped) = match (self.leaf)(&self.path) {
            Leaf::Inert => return,
            Leaf::Complete => return self.complete.add(&text.decode()),
            Leaf::Delta(track, escaped) => (track, escaped),
            Leaf::Unknown => (written(&self.path), false),
        };
        let text = text.decode();
        if !text.is_empty() {
            self.pieces.push(Piece { track, text: text.into_owned(), escaped });
        }
    }
}

/// A path as a track: `choices[0].delta.note`.
fn written(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                out.push('.');
                out.push_str(key);
            }
            // Writing to a string does not fail.
            Step::Index(index) => write!(out, "[{index}]").unwrap_or_default(),
        }
    }
    out
}
