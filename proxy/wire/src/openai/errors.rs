//! Refusals as the API writes its own errors.

use bytes::Bytes;
use decide::{Class, Reason};
use http::Response;
use serde_json::{Value, json};

use crate::dialect::{CutState, Told};
use crate::refusal;

use super::RESPONSES;

pub(super) fn refuse(told: &Told<'_>) -> Response<Bytes> {
    refusal::response(told, "application/json", json!({ "error": error(told) }).to_string())
}

/// The event that the official clients raise as an exception. Both read `error`; who knows the Responses API from its
/// documentation reads the flat fields.
pub(super) fn cut(told: &Told<'_>, state: &CutState) -> Bytes {
    if !state.events {
        return Bytes::new();
    }
    let error = error(told);
    if state.endpoint.operation == RESPONSES {
        let data = json!({
            "type": "error",
            "code": error["code"],
            "message": error["message"],
            "param": Value::Null,
            "sequence_number": state.released,
            "error": error,
        });
        return Bytes::from(format!("event: error\ndata: {data}\n\n"));
    }
    Bytes::from(format!("data: {}\n\n", json!({ "error": error })))
}

fn error(told: &Told<'_>) -> Value {
    let reason = &told.refusal.reason;
    let (kind, code) = kind(reason);
    let code = code.map_or_else(|| format!("tollgate_{}", told.refusal.rule.name()), str::to_owned);
    json!({ "message": refusal::message(told), "type": kind, "param": param(reason), "code": code })
}

/// Type, and a code where clients act on it: none of them repeats a request whose quota is spent.
const fn kind(reason: &Reason) -> (&'static str, Option<&'static str>) {
    match reason.class() {
        Class::Unauthenticated => ("authentication_error", Some("invalid_api_key")),
        Class::Forbidden => ("permission_error", None),
        Class::Malformed => ("invalid_request_error", None),
        Class::Exhausted => ("insufficient_quota", Some("insufficient_quota")),
        Class::Throttled => ("requests", Some("rate_limit_exceeded")),
        Class::Unavailable => ("server_error", None),
    }
}

fn param(reason: &Reason) -> Option<&'static str> {
    matches!(reason, Reason::ModelNotAllowed { .. } | Reason::Unpriced(_)).then_some("model")
}
