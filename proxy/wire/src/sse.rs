//! Server-sent events, cut out of any chunking with every byte kept.
//!
//! An event ends with its blank line, in whatever of CR, LF and CRLF the server writes. After a blank line that is a
//! lone CR a following LF belongs to the next event: a reader cannot know whether it comes, and where the line before
//! ended in CRLF it waits. So where the stream is cut into events depends on its bytes alone.

use bytes::Bytes;

use crate::answer::Unreadable;

/// The most bytes of one event. A client that reads line by line holds as much.
pub const MAX_EVENT: usize = 8 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its exact bytes, blank line included.
    pub bytes: Bytes,
    /// The `event` field; the last one counts.
    pub name: Option<String>,
    /// The `data` lines, joined by LF; `None` where there is none.
    pub data: Option<String>,
    /// Every line that is no `data`, `event`, `id` or `retry` line, without its end: comments and unknown fields.
    pub rest: Vec<String>,
}

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Vec<u8>,
    /// Bytes of `pending` already looked at.
    seen: usize,
    /// Where in `pending` the line being read begins.
    line: usize,
    /// The line before this one ended in CRLF.
    crlf: bool,
    /// A line of this event has bytes.
    begun: bool,
    started: bool,
}

impl Framer {
    /// The events that `bytes` completes.
    ///
    /// # Errors
    ///
    /// [`Unreadable::EventTooLarge`] where one has more than [`MAX_EVENT`] bytes, [`Unreadable::Malformed`] where one
    /// is not Unicode.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Unreadable> {
        self.pending.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut from = 0;
        while let Some(end) = self.next_end(from) {
            events.push(self.event(from, end)?);
            from = end;
        }
        self.pending.drain(..from);
        self.seen -= from;
        self.line -= from;
        if self.pending.len() > MAX_EVENT { Err(too_large()) } else { Ok(events) }
    }

    /// The event that the stream ends in, where its blank line is missing.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<Option<Event>, Unreadable> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        let event = self.event(0, self.pending.len())?;
        *self = Self { started: true, ..Self::default() };
        Ok(Some(event))
    }

    /// The end of the event that begins at `from`, if it is there.
    fn next_end(&mut self, from: usize) -> Option<usize> {
        loop {
            let unseen = self.pending.get(self.seen..).unwrap_or_default();
            let Some(run) = unseen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.seen = self.pending.len();
                return None;
            };
            self.seen += run;
            let at = self.seen;
            let byte = unseen.get(run).copied().unwrap_or_default();
            let blank = self.blank(from, at);
            let next = self.pending.get(at + 1).copied();
            // A lone CR ends a blank line at once, but only where no LF is due.
            let waits = byte == b'\r' && next.is_none() && (!blank || self.crlf);
            if waits {
                return None;
            }
            let pair = byte == b'\r' && next == Some(b'\n') && (!blank || self.crlf);
            self.seen = at + 1 + usize::from(pair);
            self.line = self.seen;
            if blank {
                (self.crlf, self.begun) = (false, false);
                return Some(self.seen);
            }
            (self.crlf, self.begun) = (pair, true);
        }
    }

    /// The line that ends at `at` has no bytes; a byte order mark that opens the stream is none.
    fn blank(&self, from: usize, at: usize) -> bool {
        let line = self.pending.get(self.line..at).unwrap_or_default();
        line.is_empty() || (!self.started && from == 0 && self.line == 0 && line == b"\xEF\xBB\xBF")
    }

    fn event(&mut self, from: usize, end: usize) -> Result<Event, Unreadable> {
        let bytes = self.pending.get(from..end).unwrap_or_default();
        if bytes.len() > MAX_EVENT {
            return Err(too_large());
        }
        let mut text = std::str::from_utf8(bytes).map_err(|bad| {
            Unreadable::Malformed(decide::case::EnvelopeFault::NotUnicode(bad.valid_up_to() as u64))
        })?;
        if !self.started {
            text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
            self.started = true;
        }
        let mut event = Event {
            bytes: Bytes::copy_from_slice(bytes),
            name: None,
            data: None,
            rest: Vec::new(),
        };
        for line in lines(text) {
            field(&mut event, line);
        }
        Ok(event)
    }
}

const fn too_large() -> Unreadable {
    Unreadable::EventTooLarge(MAX_EVENT as u64)
}

/// The lines of `text`, ended by CR, LF or CRLF. CRLF shows as an empty line more, which means nothing here.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\r', '\n']).filter(|line| !line.is_empty())
}

fn field(event: &mut Event, line: &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let value = value.strip_prefix(' ').unwrap_or(value);
    match name {
        "data" => match &mut event.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => event.data = Some(value.to_owned()),
        },
        "event" => event.name = Some(value.to_owned()),
        // Both reach the client, so they are texts like any other.
        _ => event.rest.push(line.to_owned()),
    }
}

#[cfg(test)]
mod tests;
