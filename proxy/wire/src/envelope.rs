//! What is wrong with the head of a request: framing and routing that two parsers could read differently.

use std::borrow::Cow;

use decide::case::EnvelopeFault;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::dialect::Provider;

/// Headers of which a request has one at most.
const SINGLE: [HeaderName; 7] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    HOST,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    AUTHORIZATION,
    UPGRADE,
];

/// The most bytes of a head that is sent on, as RFC 9113 6.5.2 counts them: with 32 for each field. Servers that take
/// 16 KiB, as many do by default, answer 431 to this much, and close the whole connection, with all that others have
/// open on it, beyond 64 KiB.
pub const HEAD_LIST: u64 = 48 << 10;

/// The fault of a head that is too large to be sent on.
#[must_use]
pub fn oversize(parts: &Parts) -> Option<EnvelopeFault> {
    let field = |size: usize| size as u64 + 32;
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let pseudo = field(target) + field(authority) + 64;
    let fields = parts.headers.iter().map(|(name, value)| field(name.as_str().len() + value.len()));
    (pseudo + fields.sum::<u64>() > HEAD_LIST).then_some(EnvelopeFault::Oversize(HEAD_LIST))
}

/// The faults of a request's head, in the order they are looked for.
///
/// Of a known provider the path decides what an operation costs, so it must be in the one normal form. Elsewhere only
/// what climbs or what parsers cut differently is a fault: `%2f` stands in the name of every scoped npm package.
#[must_use]
pub fn head(parts: &Parts, provider: Option<Provider>) -> Vec<EnvelopeFault> {
    let mut faults = Vec::new();
    upgrade(parts, &mut faults);
    headers(&parts.headers, &mut faults);
    let target = parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    // `OPTIONS *` names no path.
    let form = if provider.is_some() { normal(target) } else { unambiguous(target) };
    if !form && target != "*" && parts.method != Method::CONNECT {
        faults.push(EnvelopeFault::PathForm);
    }
    faults
}

fn upgrade(parts: &Parts, faults: &mut Vec<EnvelopeFault>) {
    if parts.method == Method::CONNECT {
        faults.push(EnvelopeFault::Upgrade("CONNECT".into()));
    }
    if let Some(value) = parts.headers.get(UPGRADE) {
        let name: String = value.to_str().unwrap_or("(not text)").chars().take(32).collect();
        faults.push(EnvelopeFault::Upgrade(name));
    }
}

fn headers(map: &HeaderMap, faults: &mut Vec<EnvelopeFault>) {
    for name in SINGLE {
        let mut values = map.get_all(&name).iter();
        let odd = values.next().is_some_and(|value| !well_formed(&name, value.as_bytes()));
        if odd || values.next().is_some() {
            faults.push(EnvelopeFault::ConflictingHeader(name.as_str().into()));
        }
    }
    if map.contains_key(CONTENT_LENGTH) && map.contains_key(TRANSFER_ENCODING) {
        faults.push(EnvelopeFault::ConflictingHeader("content-length".into()));
    }
}

/// The value is one that every parser reads alike.
fn well_formed(name: &HeaderName, value: &[u8]) -> bool {
    if *name == CONTENT_LENGTH {
        !value.is_empty() && value.len() < 19 && value.iter().all(u8::is_ascii_digit)
    } else if *name == TRANSFER_ENCODING {
        value.eq_ignore_ascii_case(b"chunked")
    } else if *name == HOST {
        !value.is_empty()
            && !value.iter().any(|byte| matches!(byte, b',' | b'@' | b'/' | b'\\' | b' ' | b'\t'))
    } else {
        // Values with other bytes than these are cut or refused by some.
        value.iter().all(|byte| matches!(byte, b' '..=b'~'))
    }
}

/// The path is as short as it can be written: no escapes of what needs none, no empty or dot segment.
fn normal(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    unambiguous(target)
        && !path.contains("//")
        && !escapes(path).any(|byte| matches!(byte, b'/' | b'%') || plain(byte))
}

/// No control, backslash, fragment, broken escape or dot segment, escaped or not.
fn unambiguous(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let bytes_fine =
        target.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\' && byte != b'#');
    let escapes_fine =
        escapes_whole(target) && !escapes(path).any(|byte| matches!(byte, 0..=0x1F | 0x7F | b'\\'));
    path.starts_with('/') && bytes_fine && escapes_fine && !climbs(path)
}

/// A segment is `.` or `..`, escaped or not.
fn climbs(path: &str) -> bool {
    let decoded = |path: &str| {
        path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/")
    };
    let dots = if path.contains('%') { Cow::Owned(decoded(path)) } else { Cow::Borrowed(path) };
    dots.split('/').any(|segment| {
        // `..;` is a parent folder to servers that know path parameters.
        let name = segment.split(';').next().unwrap_or_default();
        matches!(name, "." | "..")
    })
}

const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The bytes that the escapes of `text` mean.
fn escapes(text: &str) -> impl Iterator<Item = u8> {
    text.split('%').skip(1).filter_map(|after| u8::from_str_radix(after.get(..2)?, 16).ok())
}

fn escapes_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{EnvelopeFault, HEAD_LIST, Provider, head, oversize};

    fn faults(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<EnvelopeFault> {
        faults_at(method, target, headers, Some(Provider::OpenAi))
    }

    fn faults_at(
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        at: Option<Provider>,
    ) -> Vec<EnvelopeFault> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        head(&request.body(()).unwrap().into_parts().0, at)
    }

    #[test]
    fn an_ordinary_request_has_no_fault() {
        let headers = [
            ("host", "api.openai.com"),
            ("content-length", "12"),
            ("content-type", "application/json"),
        ];
        assert_eq!(faults("POST", "/v1/messages?beta=true", &headers), []);
        assert_eq!(faults("GET", "/v1/models/ft%3Agpt", &[]), []);
        assert_eq!(faults("OPTIONS", "*", &[]), []);
    }

    #[test]
    fn headers_that_stand_twice_or_contradict_are_faults() {
        for (one, other) in [
            (("content-length", "1"), ("content-length", "1")),
            (("content-length", "1"), ("content-length", "2")),
            (("content-length", "1"), ("transfer-encoding", "chunked")),
            (("content-length", "+1"), ("x-a", "b")),
            (("content-length", "1, 1"), ("x-a", "b")),
            (("transfer-encoding", "gzip, chunked"), ("x-a", "b")),
            (("transfer-encoding", "chunked"), ("transfer-encoding", "identity")),
            (("host", "a"), ("host", "b")),
            (("host", "a,b"), ("x-a", "b")),
            (("host", "u@b"), ("x-a", "b")),
            (("content-encoding", "gzip"), ("content-encoding", "br")),
            (("content-type", "application/json"), ("content-type", "text/plain")),
            (("authorization", "Bearer a"), ("authorization", "Bearer b")),
        ] {
            let found = faults("POST", "/v1/responses", &[one, other]);
            assert!(
                matches!(found.as_slice(), [EnvelopeFault::ConflictingHeader(_)]),
                "{one:?} {other:?}: {found:?}"
            );
        }
    }

    #[test]
    fn a_head_that_would_break_the_connection_it_is_sent_on_is_too_large() {
        let parts = |target: usize, value: usize| {
            let uri = format!("https://a/{}", "x".repeat(target));
            let request = Request::builder().uri(uri).header("x", "y".repeat(value));
            request.body(()).unwrap().into_parts().0
        };
        // Target, authority, method and scheme count as fields; names and values with 32 bytes each.
        let rest = 33 + 33 + 64 + 33;
        let most = usize::try_from(HEAD_LIST).unwrap() - rest;
        assert_eq!(oversize(&parts(0, most)), None);
        assert_eq!(oversize(&parts(most, 0)), None);
        assert_eq!(oversize(&parts(0, most + 1)), Some(EnvelopeFault::Oversize(HEAD_LIST)));
        assert_eq!(oversize(&parts(1, most)), Some(EnvelopeFault::Oversize(HEAD_LIST)));
    }

    #[test]
    fn an_upgrade_is_a_fault_by_name() {
        let upgrade = |name: &str| vec![EnvelopeFault::Upgrade(name.into())];
        assert_eq!(
            faults("GET", "/v1/responses", &[("upgrade", "websocket")]),
            upgrade("websocket")
        );
        assert_eq!(faults("CONNECT", "example.com:443", &[]), upgrade("CONNECT"));
    }

    #[test]
    fn a_provider_path_has_one_form() {
        for target in [
            "/v1/../v1/files",
            "/v1/./files",
            "/v1/%2e%2e/files",
            "/v1/.%2E/x",
            "/v1//responses",
            "/v1/models/a%2fb",
            "/v1/%72esponses",
            "/v1/models/a%5Cb",
            "/v1/models/a%00",
            "/v1/models/a%0A",
            "/v1/models/%25",
            "/v1/a;/..;/b",
            "/v1/models/a%zz",
            "/v1/models/a%2",
        ] {
            assert_eq!(faults("GET", target, &[]), [EnvelopeFault::PathForm], "{target}");
        }
    }

    #[test]
    fn elsewhere_only_what_climbs_is_a_fault() {
        for target in ["/@babel%2fcore", "/web/2020/https://example.com/", "/a%20b", "/x?u=../y"] {
            assert_eq!(faults_at("GET", target, &[], None), [], "{target}");
        }
        for target in ["/a/..%2fb", "/a/%2e%2e/b", "/a%5c..", "/a%0d%0ab", "/a%"] {
            assert_eq!(faults_at("GET", target, &[], None), [EnvelopeFault::PathForm], "{target}");
        }
    }
}
