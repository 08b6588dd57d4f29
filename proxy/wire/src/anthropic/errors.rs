//! Refusals as the API writes its own errors.

use bytes::Bytes;
use decide::Class;
use decide::Reason;
use http::Response;
use serde_json::{Value, json};

use crate::dialect::Told;
use crate::refusal;

pub(super) fn refuse(told: &Told<'_>) -> Response<Bytes> {
    refusal::response(told, "application/json", error(told).to_string())
}

/// The event that the official clients raise as an exception.
pub(super) fn cut(told: &Told<'_>) -> Bytes {
    Bytes::from(format!("event: error\ndata: {}\n\n", error(told)))
}

fn error(told: &Told<'_>) -> Value {
    let error = json!({ "type": kind(&told.refusal.reason), "message": refusal::message(told) });
    json!({ "type": "error", "error": error, "request_id": told.decision })
}

/// `overloaded_error` would say unavailable better, but clients repeat on that word whatever the headers say.
const fn kind(reason: &Reason) -> &'static str {
    if refusal::too_large(reason) {
        return "request_too_large";
    }
    match reason.class() {
        Class::Unauthenticated => "authentication_error",
        Class::Forbidden => "permission_error",
        Class::Malformed => "invalid_request_error",
        Class::Exhausted | Class::Throttled => "rate_limit_error",
        Class::Unavailable => "api_error",
    }
}
