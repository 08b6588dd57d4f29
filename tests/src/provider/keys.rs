//! The real keys are canaries: long enough to pass for keys, unlike anything else, and searched for everywhere.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Serialize;

use super::ask::Dialect;

/// The keys a provider takes for real.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Stands in `Authorization: Bearer`, `sk-proj-CANARY…`.
    pub openai: String,
    /// Stands in `x-api-key`, `sk-ant-api03-CANARY…`.
    pub anthropic: String,
}

/// Whether the real key came with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySeen {
    /// The real key, in its place.
    Real,
    /// No key at all.
    Absent,
    /// Something else in the key's place.
    Other,
}

impl Keys {
    /// The canaries, in the shapes the providers' keys have.
    #[must_use]
    pub fn canaries() -> Self {
        let filler = |letter: &str, len: usize| {
            letter.repeat(len.div_ceil(letter.len())).chars().take(len).collect()
        };
        let (front, back): (String, String) = (filler("q7Zx2", 68), filler("m4Kd9", 74));
        let long: String = filler("w8Rb3", 87);
        Self {
            openai: format!("sk-proj-CANARY{front}T3BlbkFJ{back}"),
            anthropic: format!("sk-ant-api03-CANARY{long}AA"),
        }
    }

    /// What stands in the place of the key, and whether it is the real one.
    pub(super) fn seen(&self, dialect: Dialect, headers: &HeaderMap) -> (KeySeen, String) {
        let bearer = text(headers, AUTHORIZATION.as_str())
            .map(|value| value.trim_start_matches("Bearer ").to_owned());
        let (found, real) = match dialect {
            Dialect::Anthropic => (text(headers, "x-api-key").or(bearer), &self.anthropic),
            Dialect::Chat | Dialect::Responses => (bearer, &self.openai),
        };
        match found {
            None => (KeySeen::Absent, String::new()),
            Some(key) if key == *real => (KeySeen::Real, key),
            Some(key) => (KeySeen::Other, key),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
