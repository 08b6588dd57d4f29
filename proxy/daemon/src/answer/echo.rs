//! A real key that was put into a request is sought in its answer, in the forms in which an upstream may repeat it.
//!
//! The scanner knows secrets by their shape; this knows one by its value, whatever its shape: as it is, in base64 at
//! any offset, in percent form and in JSON escapes, across any pieces. Observe makes no difference: what the gate
//! put in does not come back out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use decide::scan::SecretClass;
use decide::{Reason, Refusal};
use http::HeaderMap;
use memchr::{memchr2, memmem};
use wire::{Heard, HeardKind};
use zeroize::Zeroizing;

use super::secrets_refusal;
use crate::vault::Secret;

/// How a key begins that everybody has: an issuer's prefix says nothing of it.
const PREFIX: usize = 8;
/// The bytes after it that are the violation. Nobody writes so many of a key that is only hinted at (`sk-…abcd`).
const PROOF: usize = 24;
/// So many bytes of a needle make an event wait: fewer are met in any text.
const WAITS_AT: usize = 8;
/// The track of an answer whose texts are not told apart.
const BYTES: &str = "\0bytes";

/// Texts from this length on are searched as a whole, and step by step only where they meet others.
const LONG: usize = 256;
/// Bytes of the longest needle: [`PROOF`] bytes in base64.
const LONGEST: usize = PROOF * 4 / 3;
/// The key as it is, and at three offsets in two alphabets of base64.
const NEEDLES: usize = 7;

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
    bytes: Zeroizing<[u8; LONGEST]>,
    length: u8,
    /// How much still matches where the next byte does not.
    back: [u8; LONGEST],
}

/// How far one text has come.
#[derive(Default)]
struct Track {
    at: [u8; NEEDLES],
    /// The same for the key as it is, in the text without its escapes.
    unescaped: u8,
    escape: Escape,
    /// The event since which something waits.
    since: Option<u64>,
}

impl Echo {
    /// Seeks `secret`. `None` for one that is too short to be told from ordinary text.
    pub(crate) fn of(secret: &Secret, class: SecretClass) -> Option<Self> {
        let key = secret.reveal();
        let inner = key.get(PREFIX..).filter(|inner| inner.len() >= PROOF)?;
        let mut needles = Vec::with_capacity(NEEDLES);
        needles.push(Needle::of(|bytes| {
            bytes.iter_mut().zip(inner.iter().take(PROOF)).map(|(to, from)| *to = *from).count()
        }));
        // Where the key stands in what was encoded is unknown: a group of three bytes may begin at any.
        for offset in 0..3 {
            let Some(group) = inner.get(offset..offset + PROOF) else { continue };
            let encoded = |alphabet: &GeneralPurpose| {
                Needle::of(|bytes| alphabet.encode_slice(group, bytes).unwrap_or_default())
            };
            let (standard, url) = (encoded(&STANDARD_NO_PAD), encoded(&URL_SAFE_NO_PAD));
            if standard.bytes() != url.bytes() {
                needles.push(url);
            }
            needles.push(standard);
        }
        let mut first = [false; 256];
        for byte in needles.iter().filter_map(|needle| needle.bytes().first()) {
            if let Some(mark) = first.get_mut(usize::from(*byte)) {
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
        // No form of the key is shorter than its proof.
        for value in headers.values().filter(|value| value.len() >= PROOF) {
            if Track::default().read(0, value.as_bytes(), &self.needles, &self.first) {
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
        if !self.tracks.contains_key(track) {
            self.tracks.insert(track.to_owned(), Track::default());
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
    /// What `write` writes and says the length of.
    fn of(write: impl FnOnce(&mut [u8]) -> usize) -> Self {
        let mut bytes = Zeroizing::new([0; LONGEST]);
        let length = write(bytes.as_mut_slice()).min(LONGEST);
        let length = u8::try_from(length).unwrap_or_default();
        let mut needle = Self { bytes, length, back: [0; LONGEST] };
        for end in 1..usize::from(length) {
            let (Some(byte), Some(before)) =
                (needle.bytes.get(end).copied(), needle.back.get(end - 1).copied())
            else {
                break;
            };
            let matched = needle.after(before, byte);
            if let Some(back) = needle.back.get_mut(end) {
                *back = matched;
            }
        }
        needle
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// How much matches after `byte`, where `matched` did before it.
    fn after(&self, mut matched: u8, byte: u8) -> u8 {
        loop {
            if self.bytes().get(usize::from(matched)) == Some(&byte) {
                return matched + 1;
            }
            let Some(shorter) = usize::from(matched).checked_sub(1) else { return 0 };
            matched = self.back.get(shorter).copied().unwrap_or_default();
        }
    }

    fn is_whole(&self, matched: u8) -> bool {
        matched >= self.length
    }

    /// Whether what begins with `bytes` may make an event wait, or is too short to tell.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        let Some(begun) = bytes.first_chunk::<WAITS_AT>() else { return true };
        self.bytes.first_chunk() == Some(begun)
    }
}

/// Takes each of `needles` on through `bytes`, from where it is in `at`. Whether one is complete.
fn follow(needles: &[Needle], first: &[bool; 256], at: &mut [u8], bytes: &[u8]) -> bool {
    if bytes.len() < LONG {
        return step(needles, first, at, bytes);
    }
    // What began before ends within the first bytes, and what ends later begins within the last.
    let (head, _) = bytes.split_at_checked(LONGEST).unwrap_or((bytes, &[]));
    let (_, tail) = bytes.split_at_checked(bytes.len() - LONGEST).unwrap_or((&[], bytes));
    let found = step(needles, first, at, head)
        || needles.iter().any(|needle| memmem::find(bytes, needle.bytes()).is_some());
    at.fill(0);
    found || step(needles, first, at, tail)
}

/// As [`follow`], byte by byte, but for bytes at which nothing begins while nothing is begun.
fn step(needles: &[Needle], first: &[bool; 256], at: &mut [u8], mut bytes: &[u8]) -> bool {
    let mut idle = at.iter().all(|at| *at == 0);
    loop {
        if idle {
            // A beginning of less than what waits is the same as none where the text goes on.
            let begins = |rest: &[u8]| {
                let marked = |byte: &u8| first.get(usize::from(*byte)).copied().unwrap_or_default();
                rest.first().is_some_and(marked)
                    && needles.iter().any(|needle| needle.may_begin(rest))
            };
            while !bytes.is_empty() && !begins(bytes) {
                bytes = bytes.get(1..).unwrap_or_default();
            }
        }
        let Some((&byte, rest)) = bytes.split_first() else { return false };
        bytes = rest;
        let mut found = false;
        for (at, needle) in at.iter_mut().zip(needles) {
            *at = needle.after(*at, byte);
            found |= needle.is_whole(*at);
        }
        if found {
            return true;
        }
        idle = at.iter().all(|at| *at == 0);
    }
}

impl Track {
    /// Whether a needle is complete.
    fn read(&mut self, event: u64, bytes: &[u8], needles: &[Needle], first: &[bool; 256]) -> bool {
        let [before, ..] = self.at;
        if follow(needles, first, &mut self.at, bytes)
            || self.read_unescaped(before, bytes, needles, first)
        {
            return true;
        }
        let waits = |at: &u8| usize::from(*at) >= WAITS_AT;
        let waiting = waits(&self.unescaped) || self.at.iter().any(waits);
        self.since = waiting.then(|| self.since.unwrap_or(event));
        false
    }

    /// The same for the key as it is, without escapes. `before` is how far the key was in the text as it stands.
    fn read_unescaped(
        &mut self,
        before: u8,
        mut bytes: &[u8],
        needles: &[Needle],
        first: &[bool; 256],
    ) -> bool {
        let key = needles.get(..1).unwrap_or_default();
        let at = std::slice::from_mut(&mut self.unescaped);
        let mut plain = before == at.first().copied().unwrap_or_default();
        while !bytes.is_empty() {
            if self.escape.begun.is_none() {
                let escape = memchr2(b'%', b'\\', bytes).unwrap_or(bytes.len());
                let (run, rest) = bytes.split_at_checked(escape).unwrap_or((bytes, &[]));
                // Without any escape it is the text that was just read.
                if plain && rest.is_empty() {
                    at.iter_mut().zip(self.at).for_each(|(to, read)| *to = read);
                    return false;
                }
                if follow(key, first, at, run) {
                    return true;
                }
                bytes = rest;
            }
            plain = false;
            let Some((&byte, rest)) = bytes.split_first() else { return false };
            bytes = rest;
            let mut found = false;
            self.escape.push(byte, |byte| found = step(key, first, at, &[byte]));
            if found {
                return true;
            }
        }
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
