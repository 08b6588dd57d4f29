//! Follows the requests of one connection through its bytes.

use decide::case::EnvelopeFault;

use super::chunks::Chunks;
use super::head::{self, HEAD_BYTES, Head, Length, Search};

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A head.
    Head(Search),
    /// A body of which so many bytes are to come.
    Body(u64),
    /// A chunked body.
    Chunked(Chunks),
    /// A tunnel that may be opened.
    Tunnel,
    /// Nothing that is read.
    Over,
}

/// Where a connection stands in its requests.
#[derive(Debug)]
pub(super) struct Scanner {
    part: Part,
    /// The head that was read last said that no request follows.
    last: bool,
    /// Heads that were let through.
    heads: u64,
}

/// What follows the bytes that pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Whatever comes next.
    More,
    /// The beginning of a head, to be shown again with what comes after it.
    Partial,
    /// A head of so many bytes that can be read in two ways.
    BadHead(usize, EnvelopeFault),
    /// The body goes on in a way that can be read in two.
    BadBody(EnvelopeFault),
    /// What is a tunnel's, if it is opened.
    Tunnel,
    /// Nothing that belongs to a request.
    Over,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { part: Part::Head(Search::default()), last: false, heads: 0 }
    }

    /// The number of the request whose bytes come, from zero.
    pub(super) fn request(&self) -> u64 {
        match self.part {
            Part::Head(_) => self.heads,
            Part::Body(_) | Part::Chunked(_) | Part::Tunnel | Part::Over => {
                self.heads.saturating_sub(1)
            }
        }
    }

    /// How many of `bytes` pass, and what the rest is. Of a partial head all bytes are shown again.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> (usize, Then) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match &mut self.part {
                Part::Head(search) => match whole(search, rest) {
                    Ok(Some((length, head))) => {
                        at += length;
                        self.begin(head);
                    }
                    Ok(None) => return (at, Then::Partial),
                    Err((length, fault)) => {
                        let then = Then::BadHead(length, fault);
                        return (at, then);
                    }
                },
                Part::Body(left) => {
                    let here = (*left).min(rest.len() as u64);
                    at += usize::try_from(here).unwrap_or(rest.len());
                    *left -= here;
                    if *left == 0 {
                        self.end();
                    }
                }
                Part::Chunked(chunks) => {
                    let (here, fault) = chunks.advance(rest);
                    let done = *chunks == Chunks::Done;
                    at += here;
                    if let Some(fault) = fault {
                        return (at, Then::BadBody(EnvelopeFault::Framing(fault)));
                    }
                    if done {
                        self.end();
                    }
                }
                Part::Tunnel => return (at, Then::Tunnel),
                Part::Over => return (at, Then::Over),
            }
        }
        (at, Then::More)
    }

    fn begin(&mut self, head: Head) {
        self.heads += 1;
        self.last = head.last;
        match head.length {
            _ if head.tunnel => self.part = Part::Tunnel,
            Length::Exact(0) => self.end(),
            Length::Exact(left) => self.part = Part::Body(left),
            Length::Chunked => self.part = Part::Chunked(Chunks::START),
        }
    }

    fn end(&mut self) {
        self.part = if self.last { Part::Over } else { Part::Head(Search::default()) };
    }
}

/// The head that `bytes` begin with once it is whole, and its length.
fn whole(
    search: &mut Search,
    bytes: &[u8],
) -> Result<Option<(usize, Head)>, (usize, EnvelopeFault)> {
    let most = bytes.len().min(HEAD_BYTES);
    let most = bytes.get(..most).unwrap_or(bytes);
    let Some(end) = search.end(most) else {
        return if most.len() < HEAD_BYTES {
            Ok(None)
        } else {
            Err((most.len(), EnvelopeFault::Oversize(HEAD_BYTES as u64)))
        };
    };
    let head = bytes.get(..end).unwrap_or_default();
    head::read(head).map(|read| Some((end, read))).map_err(|fault| (end, fault))
}
