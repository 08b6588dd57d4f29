//! The way out: names are resolved and classified, upstreams are dialled and verified, connections are kept.

pub mod address;
pub mod connect;
pub mod headers;
mod own;
pub mod pool;
pub mod resolve;

use decide::{Reason, Refusal, RuleId};

use pool::UpstreamError;

/// What the caller is told of an upstream that did not answer as it should.
#[must_use]
pub fn refusal(error: &UpstreamError) -> Refusal {
    upstream_refusal(error.to_string())
}

/// What the caller is told of an upstream that broke off in the middle of its answer.
#[must_use]
pub fn broken(host: &str) -> Refusal {
    upstream_refusal(format!("{host} broke off in the middle of its answer"))
}

/// What the caller is told of an upstream that says nothing.
#[must_use]
pub fn silent(host: &str) -> Refusal {
    upstream_refusal(format!("{host} did not begin to answer"))
}

fn upstream_refusal(what: String) -> Refusal {
    Refusal { rule: RuleId("filtering/destination"), reason: Reason::Upstream(what) }
}
