//! What of a faulty head can be read is made into a harmless one, so that its refusal is recorded like any other.

use http::{HeaderName, HeaderValue, Method, Uri};

use super::head::{is_token, trimmed};

/// Fields that say where a request ends, or what of it is yet to come; of the harmless request nothing is.
const LEFT_OUT: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// The most fields and bytes that are taken over.
const FIELDS: usize = 64;
const BYTES: usize = 16 << 10;

/// A whole head without a body, after which the connection closes: method and target where they can be read, the first
/// readable Host, and the fields that stand whole on one line.
pub(super) fn harmless(head: &[u8]) -> Vec<u8> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| {
        let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |at| at + 1);
        line.get(..end).unwrap_or_default()
    });
    let (method, target) = asked(lines.next().unwrap_or_default());
    let fields: Vec<(&[u8], &[u8])> = lines.filter_map(field).collect();
    let named = fields.iter().find(|(name, value)| is(name, "host") && !value.is_empty());
    let mut whole = Vec::with_capacity(1024);
    for part in [method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\nconnection: close\r\n"]
    {
        whole.extend_from_slice(part);
    }
    let mut push = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            whole.extend_from_slice(part);
        }
    };
    if let Some((name, value)) = named {
        push(name, value);
    }
    let mut left = BYTES;
    let others = fields.iter().filter(|(name, _)| !LEFT_OUT.iter().any(|out| is(name, out)));
    for (name, value) in others.take(FIELDS) {
        let Some(rest) = left.checked_sub(name.len() + value.len()) else { break };
        left = rest;
        push(name, value);
    }
    whole.extend_from_slice(b"\r\n");
    whole
}

/// Method and target as far as they can be read. No tunnel is opened for what is faulty.
fn asked(line: &[u8]) -> (String, String) {
    let mut words = line.split(u8::is_ascii_whitespace);
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let method = method.filter(|method| method != Method::CONNECT).unwrap_or(Method::GET);
    let target =
        words.next().filter(|word| word.len() < BYTES && word.iter().all(u8::is_ascii_graphic));
    let target = target.and_then(|word| Uri::try_from(word).ok());
    let target = target.filter(|uri| uri.path().starts_with('/'));
    let target = target.map_or_else(|| "/".to_owned(), |uri| uri.to_string());
    (method.to_string(), target)
}

/// Name and value of a line that is a whole field in its form.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(line.iter().position(|&byte| byte == b':')?)?;
    let value = trimmed(value.get(1..)?);
    let named = name.iter().all(|&byte| is_token(byte)) && HeaderName::from_bytes(name).is_ok();
    (named && HeaderValue::from_bytes(value).is_ok()).then_some((name, value))
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}
