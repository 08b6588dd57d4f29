//! Answers that are server-sent events.

use bytes::Bytes;
use decide::case::EnvelopeFault;

use super::{Decoder, Heard, HeardKind, Unreadable};
use crate::json::{Document, Value};
use crate::leaves;
use crate::sse::{Event, Framer};

/// What one dialect's events mean. It fills in everything but the bytes.
pub(crate) trait Meaning: Send {
    /// Reads the JSON of one event.
    fn event(&mut self, name: Option<&str>, data: Value<'_, '_>) -> Result<Heard, Unreadable>;
}

/// Cuts a stream into events and asks what each of them means.
pub(crate) struct Stream<M> {
    framer: Framer,
    meaning: M,
}

impl<M: Meaning> Stream<M> {
    pub(crate) fn new(meaning: M) -> Self {
        Self { framer: Framer::default(), meaning }
    }

    fn heard(&mut self, event: &Event) -> Result<Heard, Unreadable> {
        let mut name = event.name.as_deref();
        let mut heard = match event.data.as_deref() {
            None | Some("") => Heard::bare(Bytes::new(), HeardKind::KeepAlive),
            Some("[DONE]") => Heard { last: true, ..Heard::bare(Bytes::new(), HeardKind::Content) },
            Some(data) => {
                let document = Document::parse(data.as_bytes()).map_err(Unreadable::Malformed)?;
                let heard = self.meaning.event(name, document.root())?;
                // Its twin in the data has been read.
                name = name.filter(|name| {
                    document
                        .root()
                        .get("type")
                        .is_none_or(|kind| kind.as_str().as_deref() != Some(name))
                });
                heard
            }
        };
        heard.bytes = event.bytes.clone();
        let texts = event.rest.iter().map(String::as_str).chain(name);
        heard.pieces.extend(leaves::complete(texts));
        Ok(heard)
    }
}

impl<M: Meaning> Decoder for Stream<M> {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, Unreadable> {
        let events = self.framer.push(bytes)?;
        events.iter().map(|event| self.heard(event)).collect()
    }

    fn finish(&mut self) -> Result<Vec<Heard>, Unreadable> {
        match self.framer.finish()? {
            Some(event) => Ok(vec![self.heard(&event)?]),
            None => Ok(Vec::new()),
        }
    }

    fn unpacks(&self) -> bool {
        false
    }
}

/// The event's own name and its data's `type` say the same: clients go by one or the other.
pub(crate) fn agreed(name: Option<&str>, kind: &str) -> Result<(), Unreadable> {
    match name {
        Some(name) if name != kind => {
            Err(Unreadable::Malformed(EnvelopeFault::WrongType("event".into())))
        }
        Some(_) | None => Ok(()),
    }
}
