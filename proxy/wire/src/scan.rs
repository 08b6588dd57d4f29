//! Finds secrets in every text of a request, and says where in the body's bytes each of them stands.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use decide::case::Findings;
use decide::scan::{SecretClass, find};
use http::request::Parts;

use crate::edit::Edit;
use crate::json::escape::{Unescaped, unescape};
use crate::json::{Document, Kind, Text};
use crate::place::{self, Place, Role};

/// What the scanner found in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// The fact that is judged and recorded.
    pub findings: Findings,
    /// Where a splice leaves the request valid; all findings if [`Findings::replaceable`].
    pub splices: Vec<Splice>,
}

/// One finding that can be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// Its bytes in the decoded body.
    pub at: Range<usize>,
    /// Its class.
    pub class: SecretClass,
}

/// Scans path, query, headers and body. `document` is the body where it is JSON, `body` the decoded bytes.
///
/// Places that authenticate are left out: what stands there is judged by what it is, not by how it looks.
#[must_use]
pub fn scan_request(
    head: &Parts,
    places: &[Place],
    document: Option<&Document<'_>>,
    body: &[u8],
) -> Scanned {
    let mut tally = Tally::default();
    match document {
        Some(document) => document.texts().for_each(|(kind, text)| tally.json(kind, &text)),
        None => tally.plain(body),
    }
    tally.target(head, places);
    tally.headers(head, places);
    tally.done()
}

/// One edit a finding: the name of its class in brackets, so that the same secret is always the same text.
#[must_use]
pub fn redactions(scanned: &Scanned) -> Vec<Edit> {
    scanned
        .splices
        .iter()
        .map(|splice| Edit {
            at: splice.at.clone(),
            with: format!("[{}]", splice.class.name()).into_bytes(),
        })
        .collect()
}

#[derive(Default)]
struct Tally {
    splices: Vec<Splice>,
    /// Findings that no splice can take out.
    fixed: BTreeMap<SecretClass, u32>,
}

impl Tally {
    fn json(&mut self, kind: Kind, text: &Text<'_>) {
        let mut found = Vec::new();
        if text.is_escaped() {
            let once = unescape(text.raw());
            if is_media(&once.text) {
                return;
            }
            found.extend(find(&once.text).into_iter().map(|hit| (once.locate(&hit.at), hit.class)));
            found.extend(nested(&once.text, |at| once.locate(at)));
        } else if !is_media(text.raw()) {
            found.extend(find(text.raw()).into_iter().map(|hit| (hit.at, hit.class)));
        }
        let origin = text.span().start;
        for (at, class) in disjoint(found) {
            if kind == Kind::Key {
                // Two keys replaced alike would be one key twice.
                self.fix(class);
            } else {
                self.splices.push(Splice { at: origin + at.start..origin + at.end, class });
            }
        }
    }

    /// A body that is no JSON. Places in it are exact only where it is Unicode.
    fn plain(&mut self, body: &[u8]) {
        match String::from_utf8_lossy(body) {
            Cow::Borrowed(text) => {
                let mut found: Vec<_> =
                    find(text).into_iter().map(|hit| (hit.at, hit.class)).collect();
                found.extend(nested(text, Range::clone));
                self.splices
                    .extend(disjoint(found).into_iter().map(|(at, class)| Splice { at, class }));
            }
            Cow::Owned(text) => self.text(&text),
        }
    }

    fn target(&mut self, head: &Parts, places: &[Place]) {
        self.outside(head.uri.path());
        for pair in head.uri.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.outside(name);
            let name = percent_decoded(name);
            if !authenticates(
                places,
                |kind| matches!(kind, place::Kind::Query(q) if q.eq_ignore_ascii_case(&name)),
            ) {
                self.outside(value);
            }
        }
    }

    fn headers(&mut self, head: &Parts, places: &[Place]) {
        for (name, value) in &head.headers {
            self.text(name.as_str());
            if !authenticates(
                places,
                |kind| matches!(kind, place::Kind::Header(header) if header == name.as_str()),
            ) {
                self.outside(&String::from_utf8_lossy(value.as_bytes()));
            }
        }
    }

    /// A text of the head, as it stands and with its percent escapes read.
    fn outside(&mut self, text: &str) {
        if !text.contains(['%', '+']) {
            return self.text(text);
        }
        let decoded = percent_decoded(text);
        let (raw, meant) = (find(text), find(&decoded));
        let all = if meant.len() >= raw.len() { meant } else { raw };
        for found in all {
            self.fix(found.class);
        }
    }

    fn text(&mut self, text: &str) {
        for found in find(text) {
            self.fix(found.class);
        }
    }

    fn fix(&mut self, class: SecretClass) {
        *self.fixed.entry(class).or_default() += 1;
    }

    fn done(self) -> Scanned {
        let replaceable = self.fixed.is_empty();
        let mut secrets = self.fixed;
        for splice in &self.splices {
            *secrets.entry(splice.class).or_default() += 1;
        }
        Scanned { findings: Findings { secrets, replaceable }, splices: self.splices }
    }
}

/// Findings that show only with one more level of escapes taken away, where `text` looks like JSON.
fn nested(
    text: &str,
    outer: impl Fn(&Range<usize>) -> Range<usize>,
) -> Vec<(Range<usize>, SecretClass)> {
    let json = text.trim_start().starts_with(['{', '[', '"']);
    if !json || !text.contains('\\') {
        return Vec::new();
    }
    let inner: Unescaped = unescape(text);
    find(&inner.text).into_iter().map(|hit| (outer(&inner.locate(&hit.at)), hit.class)).collect()
}

/// A long run of base64 and nothing else: an image, a file, a sound. In a megabyte of it some pattern is met by chance
/// once in a few hundred times, and what is cut out of it is broken.
pub(crate) fn is_media(text: &str) -> bool {
    const LONG: usize = 4096;
    if text.len() <= LONG {
        return false;
    }
    let run = match text.split_once(";base64,") {
        Some((prefix, run)) if prefix.starts_with("data:") && prefix.len() < 128 => run,
        Some(_) | None => text,
    };
    run.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

/// In order and without overlap: what two levels of escapes both show is one finding.
fn disjoint(mut found: Vec<(Range<usize>, SecretClass)>) -> Vec<(Range<usize>, SecretClass)> {
    found.sort_by_key(|(at, _)| (at.start, std::cmp::Reverse(at.end)));
    let mut out: Vec<(Range<usize>, SecretClass)> = Vec::with_capacity(found.len());
    for (at, class) in found {
        match out.last_mut() {
            Some((before, _)) if at.start < before.end => before.end = before.end.max(at.end),
            _ => out.push((at, class)),
        }
    }
    out
}

fn authenticates(places: &[Place], stands: impl Fn(place::Kind) -> bool) -> bool {
    places.iter().any(|place| place.role == Role::Credential && stands(place.kind))
}

pub(crate) fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let escape =
            (*first == b'%').then(|| rest.get(..2)).flatten().and_then(crate::json::escape::hex4);
        if let Some(byte) = escape.and_then(|value| u8::try_from(value).ok()) {
            out.push(byte);
            bytes = rest.get(2..).unwrap_or_default();
        } else {
            out.push(if *first == b'+' { b' ' } else { *first });
            bytes = rest;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
