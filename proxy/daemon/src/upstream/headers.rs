//! Headers that belong to one connection, or to the gate, stay on their side of it; no header is added.

use http::header::{ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderName, HeaderValue};

/// What the gate wants of a provider's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// The agent's own `accept-encoding` goes upstream.
    Asked,
    /// Only `identity` is asked for, because the answer is judged.
    Identity,
}

/// Makes an agent's request headers fit to go upstream.
///
/// `expect` goes too: the gate has answered it itself before it read the body.
pub fn outbound(headers: &mut HeaderMap, coding: Coding) {
    strip(headers);
    headers.remove(http::header::EXPECT);
    if coding == Coding::Identity {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// Makes a provider's answer headers fit to go to the agent.
pub fn inbound(headers: &mut HeaderMap) {
    strip(headers);
}

fn strip(headers: &mut HeaderMap) {
    // Most requests hold one header of this kind or none, so one pass looks before anything is removed.
    if !headers.keys().any(stays_here) {
        return;
    }
    let mut gone: Vec<HeaderName> =
        headers.keys().filter(|name| stays_here(name)).cloned().collect();
    gone.extend(named_by_connection(headers));
    for name in gone {
        headers.remove(name);
    }
}

/// Whether a header of this name concerns one connection only (RFC 9110 7.6.1) or is the gate's own.
fn stays_here(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    ) || name.starts_with("proxy-")
        || name.starts_with("x-tollgate-")
}

/// The headers that `Connection` lists, but for those that say where and how long a message is: no sender may
/// take these out of a message that was judged with them.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
        .filter(|name| {
            !matches!(
                name.as_str(),
                "host" | "content-length" | "content-type" | "content-encoding"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_belongs_to_a_connection_or_to_the_gate_stays_behind() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "close, X-Private,Host, content-length"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AA"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("x-tollgate-run", "r"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("authorization", "Bearer x"),
        ]);
        outbound(&mut headers, Coding::Asked);
        assert_eq!(names(&headers), ["authorization", "content-length", "host"]);
    }

    #[test]
    fn end_to_end_headers_pass_untouched_in_value_and_number() {
        let mut headers = map(&[
            ("accept", "*/*"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("accept-encoding", "gzip"),
        ]);
        let before = headers.clone();
        outbound(&mut headers, Coding::Asked);
        assert_eq!(headers, before);
        inbound(&mut headers);
        assert_eq!(headers, before);
    }

    #[test]
    fn a_judged_answer_is_asked_for_in_identity_only() {
        let mut headers = map(&[("accept-encoding", "gzip"), ("accept-encoding", "br")]);
        outbound(&mut headers, Coding::Identity);
        let left: Vec<_> = headers.get_all(ACCEPT_ENCODING).iter().collect();
        assert_eq!(left, ["identity"]);
    }

    #[test]
    fn an_answer_cannot_speak_in_the_gates_name() {
        let mut headers = map(&[("x-tollgate-decision", "forged"), ("content-type", "text/plain")]);
        inbound(&mut headers);
        assert_eq!(names(&headers), ["content-type"]);
    }
}
