//! What every dialect's refusal has in common: status, headers and words.

use bytes::Bytes;
use decide::case::EnvelopeFault;
use decide::{Class, Reason};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::dialect::Told;

const DECISION: HeaderName = HeaderName::from_static("x-tollgate-decision");
const RULE: HeaderName = HeaderName::from_static("x-tollgate-rule");
const TRACE: HeaderName = HeaderName::from_static("x-tollgate-trace");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The status that the official clients turn into their own exception for this class.
pub(crate) fn status(reason: &Reason) -> StatusCode {
    if let Reason::Envelope(EnvelopeFault::Upgrade(_)) = reason {
        return StatusCode::UPGRADE_REQUIRED;
    }
    if too_large(reason) {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    // The request came on a connection that is not this host's (RFC 9110 15.5.20).
    if let Reason::DestinationsDisagree(_) = reason {
        return StatusCode::MISDIRECTED_REQUEST;
    }
    match reason.class() {
        Class::Unauthenticated => StatusCode::UNAUTHORIZED,
        Class::Forbidden => StatusCode::FORBIDDEN,
        Class::Malformed => StatusCode::BAD_REQUEST,
        Class::Exhausted | Class::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The body is what is wrong, and only by its size.
pub(crate) const fn too_large(reason: &Reason) -> bool {
    matches!(reason, Reason::Envelope(EnvelopeFault::Oversize(_) | EnvelopeFault::Bomb(_)))
}

/// The refusal in one sentence for a program's author or a model, and the way that is open.
pub(crate) fn message(told: &Told<'_>) -> String {
    let sentence = format!("{}: {}", told.refusal.rule.name(), told.refusal.reason);
    match told.hint {
        Some(hint) => format!("{}. {hint}", sentence.trim_end_matches('.')),
        None => sentence,
    }
}

/// The answer around `body`.
pub(crate) fn response(
    told: &Told<'_>,
    content_type: &'static str,
    body: String,
) -> Response<Bytes> {
    let reason = &told.refusal.reason;
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status(reason);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    headers.insert(RULE, HeaderValue::from_static(told.refusal.rule.0));
    let texts = [(DECISION, Some(told.decision)), (TRACE, told.trace)];
    for (name, text) in texts {
        if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    if let Reason::TooFast { retry_after, .. } = reason {
        headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after));
    }
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/2.0, HTTP/1.1"));
    }
    response
}
