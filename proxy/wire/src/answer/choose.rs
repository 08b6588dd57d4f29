//! Which decoder follows an answer, by its status, type and encoding.

use decide::case::EndpointClass;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;

use super::counted::Counted;
use super::unpack::{MAX_DECODED, Unpacked};
use super::whole::{Says, Whole};
use super::{Decoder, Unreadable};
use crate::dialect::AnswerTerms;
use crate::encoding::{Unpacker, codings};

/// What kind of body a content-type announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Events,
    Json,
    Text,
    Other,
}

/// The media type of an answer, in lower case and without parameters; empty where there is none.
pub(crate) fn media_type(head: &Parts) -> String {
    let value =
        head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The charset is one in which the bytes of a secret are its characters.
pub(crate) fn readable_charset(head: &Parts) -> bool {
    let value =
        head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.to_ascii_lowercase();
    !["utf-16", "utf16", "utf-32", "utf32", "utf-7", "ucs-2", "iso-2022", "hz-gb"]
        .iter()
        .any(|name| value.contains(name))
}

/// What kind of body a media type announces.
pub(crate) fn media(name: &str) -> Media {
    const TEXTS: [&str; 9] = [
        "application/xml",
        "application/javascript",
        "application/x-javascript",
        "application/ecmascript",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
        "application/x-www-form-urlencoded",
        "application/graphql",
    ];
    let (kind, subtype) = name.split_once('/').unwrap_or((name, ""));
    if name == "text/event-stream" {
        Media::Events
    } else if subtype.ends_with("json") || subtype.contains("json-seq") {
        Media::Json
    } else if kind == "text"
        || name.is_empty()
        || subtype.ends_with("+xml")
        || TEXTS.contains(&name)
    {
        Media::Text
    } else {
        Media::Other
    }
}

/// The decoder for a provider's answer.
pub(crate) fn provider(
    class: EndpointClass,
    terms: AnswerTerms,
    head: &Parts,
    events: impl FnOnce() -> Box<dyn Decoder>,
    says: Says,
) -> Result<Box<dyn Decoder>, Unreadable> {
    if terms.head_only {
        return Ok(Box::new(Counted));
    }
    let name = media_type(head);
    let failed = head.status.is_client_error() || head.status.is_server_error();
    let inner: Box<dyn Decoder> = match media(&name) {
        Media::Events => events(),
        Media::Json if !failed => Box::new(Whole::json(says)),
        Media::Json | Media::Text | Media::Other if failed => Box::new(Whole::any()),
        // Nobody bills for it, and it is held and scanned whole all the same.
        Media::Text if class != EndpointClass::Priced => Box::new(Whole::any()),
        Media::Json | Media::Text | Media::Other => {
            return Err(Unreadable::ContentType(if name.is_empty() {
                "(none)".into()
            } else {
                shown(&name)
            }));
        }
    };
    unpacked(head, inner)
}

/// `inner` behind the answer's content-encoding.
pub(crate) fn unpacked(
    head: &Parts,
    inner: Box<dyn Decoder>,
) -> Result<Box<dyn Decoder>, Unreadable> {
    let mut values = head.headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(inner) };
    let twice = values.next().is_some();
    let name = value.to_str().unwrap_or("(not text)");
    let list = codings(if twice { "(two headers)" } else { name }).map_err(Unreadable::Encoding)?;
    if list.is_empty() {
        return Ok(inner);
    }
    let unpacker = Unpacker::new(&list, MAX_DECODED).map_err(Unreadable::Encoding)?;
    Ok(Box::new(Unpacked { unpacker, inner }))
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
