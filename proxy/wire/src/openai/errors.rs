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

/// The event that the official clients raise as an exception. Both read `error`; who knows the
/// Responses API from its documentation reads the flat fields.
pub(super) fn cut(told: &Told<'_>, state: &CutState) -> Bytes {
    if !state.events {
        return Bytes::new();
    }
    let error = error(told);
    if state.endpoint.operation == RESPONSES {
        let data = json!({
            "type": "error",
            "code": code(told),
            "message": refusal::message(told),
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
    json!({
        "message": refusal::message(told),
        "type": kind(reason),
        "param": param(reason),
        "code": code(told),
    })
}

const fn kind(reason: &Reason) -> &'static str {
    match reason.class() {
        Class::Unauthenticated => "authentication_error",
        Class::Forbidden => "permission_error",
        Class::Malformed => "invalid_request_error",
        Class::Exhausted => "insufficient_quota",
        Class::Throttled => "requests",
        Class::Unavailable => "server_error",
    }
}

/// The provider's own code where clients act on it: none of them repeats a request whose quota is spent.
fn code(told: &Told<'_>) -> String {
    match told.refusal.reason.class() {
        Class::Unauthenticated => "invalid_api_key".into(),
        Class::Exhausted => "insufficient_quota".into(),
        Class::Throttled => "rate_limit_exceeded".into(),
        Class::Forbidden | Class::Malformed | Class::Unavailable => {
            format!("tollgate_{}", told.refusal.rule.name())
        }
    }
}

fn param(reason: &Reason) -> Option<&'static str> {
    matches!(reason, Reason::ModelNotAllowed { .. } | Reason::Unpriced(_)).then_some("model")
}
