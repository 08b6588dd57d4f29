//! The golden files and how they are read.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use http::{Method, Request, Response};
use tollgate_wire::{AnswerTerms, Decoder, Dialect, Heard, Provider, Unreadable, dialect};

use decide::case::Endpoint;

/// The folders: dialect, operation's method and path.
pub(crate) const SUITES: [(&str, Option<Provider>, &str); 5] = [
    ("openai-chat", Some(Provider::OpenAi), "/v1/chat/completions"),
    ("openai-responses", Some(Provider::OpenAi), "/v1/responses"),
    ("openai-embeddings", Some(Provider::OpenAi), "/v1/embeddings"),
    ("anthropic-messages", Some(Provider::Anthropic), "/v1/messages?beta=true"),
    ("plain", None, "/some/path"),
];

pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) target: &'static str,
    pub(crate) endpoint: Endpoint,
    pub(crate) body: Vec<u8>,
    pub(crate) extension: String,
}

/// Every golden file of one kind, `requests` or `answers`.
pub(crate) fn all(kind: &str) -> Vec<Golden> {
    let mut found = Vec::new();
    for (suite, provider, target) in SUITES {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(suite).join(kind);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let dialect = dialect(provider);
            found.push(Golden {
                name: format!("{suite}__{}", file.file_name().unwrap().to_str().unwrap()),
                dialect,
                target,
                endpoint: dialect.endpoint(&Method::POST, &target.parse().unwrap()),
                body: std::fs::read(&file).unwrap(),
                extension: file.extension().unwrap().to_str().unwrap().to_owned(),
            });
        }
    }
    assert!(found.len() >= 12, "golden files are missing");
    found
}

pub(crate) fn head(target: &str) -> http::request::Parts {
    let request = Request::post(target).header("content-type", "application/json; charset=utf-8");
    request.body(()).unwrap().into_parts().0
}

impl Golden {
    pub(crate) fn decoder(&self, terms: AnswerTerms) -> Box<dyn Decoder> {
        let media = match self.extension.as_str() {
            "sse" => "text/event-stream; charset=utf-8",
            "html" => "text/html",
            _ => "application/json",
        };
        let status = if self.name.contains("__error") { 429 } else { 200 };
        self.answered(terms, status, &[("content-type", media)])
            .expect("a golden answer can be followed")
    }

    pub(crate) fn answered(
        &self,
        terms: AnswerTerms,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Result<Box<dyn Decoder>, Unreadable> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        self.dialect.answer(&self.endpoint, &terms, &response.body(()).unwrap().into_parts().0)
    }

    pub(crate) fn hear(&self, body: &[u8]) -> Result<Vec<Heard>, Unreadable> {
        self.hear_pieces([body])
    }

    pub(crate) fn hear_pieces<'a>(
        &self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Heard>, Unreadable> {
        let mut decoder = self.decoder(AnswerTerms::default());
        let mut heard = Vec::new();
        for piece in pieces {
            heard.extend(decoder.push(piece)?);
        }
        heard.extend(decoder.finish()?);
        Ok(heard)
    }
}

/// What was heard, for a snapshot. Golden files hold no secret, so their texts may show.
pub(crate) fn written(heard: &[Heard]) -> String {
    let mut out = String::new();
    for (number, event) in heard.iter().enumerate() {
        let last = if event.last { " last" } else { "" };
        writeln!(out, "{number} {:?} {} bytes{last}", event.kind, event.bytes.len()).unwrap();
        for piece in &event.pieces {
            let mark = if piece.escaped { " (json)" } else { "" };
            writeln!(out, "    {}{mark} {:?}", piece.track, piece.text).unwrap();
        }
        for call in &event.calls {
            writeln!(out, "    calls {} on {}", call.name, call.track).unwrap();
        }
        if !event.objects.is_empty() {
            writeln!(out, "    gives {}", event.objects.join(" ")).unwrap();
        }
        if let Some(usage) = &event.usage {
            writeln!(out, "    {usage:?}").unwrap();
        }
    }
    out
}
