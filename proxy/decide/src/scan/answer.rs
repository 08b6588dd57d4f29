//! Follows the texts of one answer across events of any size.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::SecretClass;
use super::automaton::Automaton;
use super::unescape::Unescape;
use crate::Missing;

/// What one event added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// Classes found complete, in order of appearance.
    pub found: Vec<SecretClass>,
    /// The earliest event that holds a byte of a candidate that may still become a finding. That
    /// event and all later ones wait; `None` lets everything go.
    pub waits_from: Option<u64>,
}

/// The most texts that one answer may have; no provider's answer comes near it.
pub const TRACKS_MAX: usize = 4096;

/// Every text of one answer, by track (choice, kind, item). Its memory is bounded by
/// [`TRACKS_MAX`] and the longest proof.
#[derive(Debug, Default)]
pub struct AnswerScanner {
    tracks: BTreeMap<String, Track>,
    /// Tracks with a candidate, by the number that they were given, with its event.
    waiting: BTreeMap<usize, u64>,
}

#[derive(Debug, Default)]
struct Track {
    number: usize,
    /// The text as it is.
    plain: Automaton,
    /// The text after one more level of JSON escapes, once it was asked for.
    decoded: Option<(Unescape, Automaton)>,
}

impl AnswerScanner {
    /// Reads the piece of `text` that event number `event` adds to `track`. Event numbers never
    /// fall.
    ///
    /// # Errors
    ///
    /// [`Missing::Malformed`] when the answer has more than [`TRACKS_MAX`] tracks.
    pub fn push(&mut self, event: u64, track: &str, text: &str) -> Result<Sight, Missing> {
        self.scan(event, track, text, false)
    }

    /// Like [`AnswerScanner::push`], for a text that is itself JSON (a tool call's arguments): it is
    /// read as it is and also after decoding its string escapes, which may be split over events.
    ///
    /// # Errors
    ///
    /// As [`AnswerScanner::push`].
    pub fn push_escaped(&mut self, event: u64, track: &str, text: &str) -> Result<Sight, Missing> {
        self.scan(event, track, text, true)
    }

    /// The answer is over: what might have become a finding did not.
    pub fn end(&mut self) -> Sight {
        self.tracks.clear();
        self.waiting.clear();
        Sight::default()
    }

    /// The earliest event that still waits, over all tracks.
    #[must_use]
    pub fn waits_from(&self) -> Option<u64> {
        self.waiting.values().min().copied()
    }

    fn scan(
        &mut self,
        event: u64,
        track: &str,
        text: &str,
        escaped: bool,
    ) -> Result<Sight, Missing> {
        let count = self.tracks.len();
        if !self.tracks.contains_key(track) {
            if count >= TRACKS_MAX {
                return Err(Missing::Malformed);
            }
            self.tracks.insert(track.into(), Track { number: count, ..Track::default() });
        }
        let Some(track) = self.tracks.get_mut(track) else { return Err(Missing::Malformed) };
        let found = track.scan(event, text, escaped);
        match track.oldest() {
            Some(oldest) => self.waiting.insert(track.number, oldest),
            None => self.waiting.remove(&track.number),
        };
        Ok(Sight { found, waits_from: self.waits_from() })
    }
}

impl Track {
    fn scan(&mut self, event: u64, text: &str, escaped: bool) -> Vec<SecretClass> {
        let mut found = Vec::new();
        self.plain.push(
            text.as_bytes(),
            |_| event,
            |hit| {
                found.push(hit.pattern.class);
                None
            },
        );
        if escaped {
            let (unescape, decoded) = self.decoded.get_or_insert_default();
            unescape.push(event, text, |origin, bytes| {
                decoded.push(
                    bytes,
                    |_| origin,
                    |hit| {
                        // A secret without escapes is complete in both readings.
                        if !found.contains(&hit.pattern.class) {
                            found.push(hit.pattern.class);
                        }
                        None
                    },
                );
            });
        }
        found
    }

    fn oldest(&self) -> Option<u64> {
        let decoded = self.decoded.as_ref().map(|(unescape, decoded)| {
            [unescape.open_since(), decoded.oldest()].into_iter().flatten().min()
        });
        [self.plain.oldest(), decoded.flatten()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
