//! A real key that was put into a request is sought in its answer, in the forms in which an upstream may repeat it.
//!
//! The scanner knows secrets by their shape; this knows one by its value, whatever its shape: as it is, in base64 at
//! any offset, in percent form and in JSON escapes, across any pieces. Observe makes no difference: what the gate
//! put in does not come back out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use decide::scan::SecretClass;
use decide::{Reason, Refusal};
use http::HeaderMap;
use wire::{Heard, HeardKind};
use zeroize::Zeroizing;

use super::secrets_refusal;
use crate::vault::Secret;

/// How a key begins that everybody has: an issuer's prefix says nothing of it.
const PREFIX: usize = 8;
/// The bytes after it that are the violation. Nobody writes so many of a key that is only hinted at (`sk-…abcd`).
const PROOF: usize = 24;
/// So many bytes of a needle make an event wait: fewer are met in any text.
const WAITS_AT: u16 = 8;
/// The track of an answer whose texts are not told apart.
const BYTES: &str = "\0bytes";

/// The key of one exchange, as it is sought.
pub(crate) struct Echo {
    class: SecretClass,
    /// The key as it is, then its other forms.
    needles: Vec<Needle>,
    /// Bytes with which a needle begins.
    first: [bool; 256],
    tracks: BTreeMap<String, Track>,
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Echo").field("class", &self.class).finish_non_exhaustive()
    }
}

/// Bytes that are sought, one after the other (Knuth, Morris, Pratt).
struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    /// How much still matches where the next byte does not.
    back: Vec<u16>,
}

/// How far one text has come.
struct Track {
    at: Vec<u16>,
    /// The same for the key as it is, in the text without its escapes.
    unescaped: u16,
    escape: Escape,
    /// The event since which something waits.
    since: Option<u64>,
}

impl Echo {
    /// Seeks `secret`. `None` for one that is too short to be told from ordinary text.
    pub(crate) fn of(secret: &Secret, class: SecretClass) -> Option<Self> {
        let key = secret.reveal();
        let inner = key.get(PREFIX..).filter(|inner| inner.len() >= PROOF)?;
        let mut needles = vec![Needle::new(inner.get(..PROOF)?.to_vec())];
        // Where the key stands in what was encoded is unknown: a group of three bytes may begin at any.
        for offset in 0..3 {
            let Some(group) = inner.get(offset..offset + PROOF) else { continue };
            let (standard, url) = (STANDARD_NO_PAD.encode(group), URL_SAFE_NO_PAD.encode(group));
            if standard != url {
                needles.push(Needle::new(url.into_bytes()));
            }
            needles.push(Needle::new(standard.into_bytes()));
        }
        let mut first = [false; 256];
        for needle in &needles {
            if let Some(mark) =
                needle.bytes.first().and_then(|byte| first.get_mut(usize::from(*byte)))
            {
                *mark = true;
            }
        }
        Some(Self { class, needles, first, tracks: BTreeMap::new() })
    }

    /// Reads the head of the answer.
    ///
    /// # Errors
    ///
    /// The key stands in a header.
    pub(super) fn head(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        for value in headers.values() {
            let mut track = Track::new(self.needles.len());
            if track.read(0, value.as_bytes(), &self.needles, &self.first) {
                return Err(self.refusal());
            }
        }
        Ok(())
    }

    /// Reads what event number `event` adds.
    ///
    /// # Errors
    ///
    /// The key is complete in it.
    pub(super) fn hear(&mut self, event: u64, heard: &Heard) -> Result<(), Refusal> {
        let mut found = false;
        for piece in &heard.pieces {
            found |= self.read(event, &piece.track, piece.text.as_bytes());
        }
        // What is only counted has no texts.
        if heard.pieces.is_empty() && heard.kind == HeardKind::Content {
            found |= self.read(event, BYTES, &heard.bytes);
        }
        if found { Err(self.refusal()) } else { Ok(()) }
    }

    fn read(&mut self, event: u64, track: &str, bytes: &[u8]) -> bool {
        let count = self.needles.len();
        if !self.tracks.contains_key(track) {
            self.tracks.insert(track.to_owned(), Track::new(count));
        }
        let Some(track) = self.tracks.get_mut(track) else { return true };
        track.read(event, bytes, &self.needles, &self.first)
    }

    /// The earliest event that holds a part of what may still become the key.
    pub(super) fn waits_from(&self) -> Option<u64> {
        self.tracks.values().filter_map(|track| track.since).min()
    }

    fn refusal(&self) -> Refusal {
        secrets_refusal(Reason::Secret(self.class))
    }
}

impl Needle {
    fn new(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes);
        let mut needle = Self { back: Vec::with_capacity(bytes.len()), bytes };
        needle.back.push(0);
        for end in 1..needle.bytes.len() {
            let (Some(byte), Some(before)) =
                (needle.bytes.get(end).copied(), needle.back.get(end - 1).copied())
            else {
                break;
            };
            let matched = needle.after(before, byte);
            needle.back.push(matched);
        }
        needle
    }

    /// How much matches after `byte`, where `matched` did before it.
    fn after(&self, mut matched: u16, byte: u8) -> u16 {
        loop {
            if self.bytes.get(usize::from(matched)) == Some(&byte) {
                return matched + 1;
            }
            let Some(shorter) = usize::from(matched).checked_sub(1) else { return 0 };
            matched = self.back.get(shorter).copied().unwrap_or_default();
        }
    }

    fn is_whole(&self, matched: u16) -> bool {
        usize::from(matched) >= self.bytes.len()
    }
}

impl Track {
    fn new(needles: usize) -> Self {
        Self { at: vec![0; needles], unescaped: 0, escape: Escape::default(), since: None }
    }

    /// Whether a needle is complete.
    fn read(&mut self, event: u64, bytes: &[u8], needles: &[Needle], first: &[bool; 256]) -> bool {
        let mut idle = self.at.iter().all(|at| *at == 0);
        let starts = |byte: u8| first.get(usize::from(byte)).copied().unwrap_or_default();
        let mut found = false;
        for &byte in bytes {
            if !idle || starts(byte) {
                for (at, needle) in self.at.iter_mut().zip(needles) {
                    *at = needle.after(*at, byte);
                    found |= needle.is_whole(*at);
                }
                idle = self.at.iter().all(|at| *at == 0);
            }
            if let Some(needle) = needles.first() {
                let unescaped = &mut self.unescaped;
                self.escape.push(byte, |byte| {
                    if *unescaped > 0 || starts(byte) {
                        *unescaped = needle.after(*unescaped, byte);
                        found |= needle.is_whole(*unescaped);
                    }
                });
            }
            if found {
                return true;
            }
        }
        let waits = self.unescaped >= WAITS_AT || self.at.iter().any(|at| *at >= WAITS_AT);
        self.since = waits.then(|| self.since.unwrap_or(event));
        false
    }
}

/// An escape that is not complete: `%2`, `\u00`.
#[derive(Default)]
struct Escape {
    begun: Option<Begun>,
}

#[derive(Clone, Copy)]
enum Begun {
    /// `%`, with the value and the number of its digits.
    Percent(u8, u8),
    /// Any number of `\`, as one that was escaped itself has several.
    Backslash,
    /// `\u`, likewise.
    Unicode(u16, u8),
}

impl Escape {
    /// Reads one byte and gives on what is known by then. What turns out to be no escape is no part of a key: it is
    /// passed over.
    fn push(&mut self, byte: u8, mut give: impl FnMut(u8)) {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        self.begun = match (self.begun, digit) {
            (Some(Begun::Percent(value, 1)), Some(digit)) => {
                give((value << 4) | digit);
                None
            }
            (Some(Begun::Percent(_, 0)), Some(digit)) => Some(Begun::Percent(digit, 1)),
            (Some(Begun::Unicode(value, 3)), Some(digit)) => {
                // Beyond one byte it is nothing that stands in a key.
                give(u8::try_from((value << 4) | u16::from(digit)).unwrap_or_default());
                None
            }
            (Some(Begun::Unicode(value, digits)), Some(digit)) => {
                Some(Begun::Unicode((value << 4) | u16::from(digit), digits + 1))
            }
            (Some(Begun::Backslash), _) if byte == b'u' => Some(Begun::Unicode(0, 0)),
            (_, _) if byte == b'%' => Some(Begun::Percent(0, 0)),
            (_, _) if byte == b'\\' => Some(Begun::Backslash),
            (None | Some(Begun::Backslash | Begun::Percent(..) | Begun::Unicode(..)), _) => {
                give(byte);
                None
            }
        };
    }
}

#[cfg(test)]
mod tests;
