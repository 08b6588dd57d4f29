// What each fuzz target does with its input. Compiled by the fuzz crate and, over the kept corpus, by `tests/corpus.rs`.
// The first byte of `encoding`, `request` and `answer` chooses which reader is meant.

use crate::wire::encoding::{Unpacker, codings, decode};
use crate::wire::json::Document;
use crate::wire::sse::Framer;
use crate::wire::{
    Amendment, AnswerTerms, Dialect, Heard, Provider, dialect, redactions, scan_request, splice,
};
use bytes::Bytes;
use http::{Method, Request, Response};

/// A strict read either fails or gives values whose spans are inside the body and nest.
pub(crate) fn json(input: &[u8]) {
    let Ok(document) = Document::parse(input) else { return };
    let mut open = vec![document.root()];
    while let Some(value) = open.pop() {
        let span = value.span();
        assert!(span.start <= span.end && span.end <= input.len(), "a span is outside the body");
        let inner = value.items().chain(value.members().map(|(_, member)| member));
        for part in inner {
            let at = part.span();
            assert!(span.start < at.start && at.end < span.end, "a part is outside its whole");
            open.push(part);
        }
    }
}

/// Every byte comes out again, in the same events however the stream is cut.
pub(crate) fn sse(input: &[u8]) {
    let cut = |size: usize| {
        let mut framer = Framer::default();
        let mut events = Vec::new();
        for piece in input.chunks(size) {
            events.extend(framer.push(piece).ok()?);
        }
        events.extend(framer.finish().ok()?);
        Some(events)
    };
    let (whole, bytes) = (cut(usize::MAX), cut(1));
    assert_eq!(whole, bytes, "the cut changed the events");
    if let Some(events) = whole {
        let out: Vec<u8> = events.iter().flat_map(|event| event.bytes.to_vec()).collect();
        assert_eq!(out, input, "bytes were lost");
    }
}

/// Decoding ends, within its limit, alike whole and in pieces.
pub(crate) fn encoding(input: &[u8]) {
    const LIMIT: u64 = 1 << 16;
    const NAMES: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "deflate, zstd"];
    let Some((first, body)) = input.split_first() else { return };
    let Some(name) = NAMES.get(usize::from(*first) % NAMES.len()) else { return };
    let whole = decode(Some(name), &Bytes::copy_from_slice(body), LIMIT).ok();
    let pieces = || {
        let mut unpacker = Unpacker::new(&codings(name).ok()?, LIMIT).ok()?;
        let mut out = Vec::new();
        for byte in body {
            out.extend(unpacker.push(&[*byte]).ok()?);
        }
        out.extend(unpacker.finish().ok()?);
        Some(Bytes::from(out))
    };
    assert!(whole.as_ref().is_none_or(|out| out.len() as u64 <= LIMIT), "the limit does not hold");
    assert_eq!(whole, pieces(), "pieces decode to something else");
}

/// The operations that are read, and the media type of their streams.
fn operation(choice: u8) -> (&'static dyn Dialect, &'static str) {
    match choice % 5 {
        0 => (dialect(Some(Provider::OpenAi)), "/v1/chat/completions"),
        1 => (dialect(Some(Provider::OpenAi)), "/v1/responses"),
        2 => (dialect(Some(Provider::OpenAi)), "/v1/embeddings"),
        3 => (dialect(Some(Provider::Anthropic)), "/v1/messages"),
        _ => (dialect(None), "/some/path"),
    }
}

/// Reading ends; what is amended or redacted is still one strict document, and nothing is left to redact.
pub(crate) fn request(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let (dialect, target) = operation(*first);
    let Ok(request) = Request::post(target).header("content-type", "application/json").body(())
    else {
        return;
    };
    let head = request.into_parts().0;
    let endpoint = dialect.endpoint(&Method::POST, &head.uri);
    let reading = dialect.read(&endpoint, &head, body);
    let Some(document) = &reading.document else { return };
    let amendment = Amendment { include_usage: true, output_limit: Some(99) };
    let amended = splice(body, &dialect.amend(&endpoint, &reading, &amendment));
    assert!(Document::parse(&amended).is_ok(), "an amendment broke the body");
    let scanned = scan_request(&head, dialect.places(), Some(document), body);
    let clean = splice(body, &redactions(&scanned));
    assert!(Document::parse(&clean).is_ok(), "a redaction broke the body");
}

/// What is heard does not depend on how the answer was cut, and holds every byte of it.
pub(crate) fn answer(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let (dialect, target) = operation(*first);
    let media = if first & 0x80 == 0 { "text/event-stream" } else { "application/json" };
    let hear = |size: usize| -> Option<Vec<Heard>> {
        let response = Response::builder().header("content-type", media).body(()).ok()?;
        let endpoint = dialect.endpoint(&Method::POST, &target.parse().ok()?);
        let mut decoder =
            dialect.answer(&endpoint, &AnswerTerms::default(), &response.into_parts().0).ok()?;
        let mut heard = Vec::new();
        for piece in body.chunks(size) {
            heard.extend(decoder.push(piece).ok()?);
        }
        heard.extend(decoder.finish().ok()?);
        Some(heard)
    };
    let (whole, pieces) = (hear(usize::MAX), hear(3));
    assert_eq!(whole, pieces, "the cut changed what is heard");
    if let Some(heard) = whole {
        let out: Vec<u8> = heard.iter().flat_map(|event| event.bytes.to_vec()).collect();
        assert_eq!(out, body, "bytes were lost");
    }
}
