//! W3C trace context: read strictly, continued as a child, and written back only where it was.
//!
//! <https://www.w3.org/TR/trace-context/>, sections 3.2 and 3.3.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that names the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header in which tracing systems keep what is theirs.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The flag that says that the caller records this trace.
const SAMPLED: u8 = 1;
/// Members of a `tracestate` (section 3.3.1.1).
const MEMBERS: usize = 32;
/// Bytes of a `tracestate` that a span carries on. Section 3.3.1.5 asks for 512 at least.
const STATE: usize = 512;

/// An id of 16 bytes that is not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub(crate) [u8; 16]);

/// An id of 8 bytes that is not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub(crate) [u8; 8]);

impl TraceId {
    /// The id, unless it is all zero.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// In lower-case hex, as headers and records write it.
    #[must_use]
    pub fn hex(self) -> String {
        hex(&self.0)
    }
}

impl SpanId {
    /// The id, unless it is all zero.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }
}

/// What a valid `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub parent: SpanId,
    /// The flags as they came; those that version 00 does not define are handed on too.
    pub flags: u8,
}

impl TraceParent {
    /// The caller's trace. `None` where there is no `traceparent`, more than one, or an invalid one.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [version] = bytes::<1>(known.get(..2)?)?;
        // A later version may say more, after another dash; this one does not.
        let whole = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        let dashes = [2, 35, 52].into_iter().all(|at| known.get(at) == Some(&b'-'));
        if !whole || !dashes {
            return None;
        }
        let [flags] = bytes::<1>(known.get(53..55)?)?;
        Some(Self {
            trace: TraceId::new(bytes(known.get(3..35)?)?)?,
            parent: SpanId::new(bytes(known.get(36..52)?)?)?,
            flags,
        })
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The header of a request that `span` makes in this trace, in version 00.
    pub(crate) fn continued_by(self, span: SpanId) -> Option<HeaderValue> {
        let text = format!("00-{}-{}-{:02x}", self.trace.hex(), hex(&span.0), self.flags);
        HeaderValue::from_str(&text).ok()
    }
}

/// The `tracestate` of a request, joined from its headers; `None` where there is none, or it is invalid or longer than a
/// span carries.
#[must_use]
pub fn trace_state(headers: &HeaderMap) -> Option<String> {
    let mut joined = String::new();
    for value in headers.get_all(TRACESTATE) {
        let value = value.to_str().ok()?;
        if joined.len().saturating_add(value.len()) >= STATE {
            return None;
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(value);
    }
    let mut keys = Vec::new();
    for member in joined.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MEMBERS {
            return None;
        }
        keys.push(key);
    }
    (!keys.is_empty()).then_some(joined)
}

/// Section 3.3.1.3.1: a name of up to 256 characters, or one of up to 241 of a system of up to 14.
fn is_key(key: &str) -> bool {
    let name = |part: &str, longest: usize, digit_first: bool| {
        (1..=longest).contains(&part.len())
            && part
                .bytes()
                .next()
                .is_some_and(|c| c.is_ascii_lowercase() || digit_first && c.is_ascii_digit())
            && part.bytes().all(|c| {
                c.is_ascii_lowercase()
                    || c.is_ascii_digit()
                    || matches!(c, b'_' | b'-' | b'*' | b'/')
            })
    };
    match key.split_once('@') {
        Some((tenant, system)) => name(tenant, 241, true) && name(system, 14, false),
        None => name(key, 256, false),
    }
}

/// Section 3.3.1.3.2: printable ASCII without comma and equals sign, at most 256 characters, not ending in a space.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && !value.ends_with(' ')
        && value.bytes().all(|c| (0x20..=0x7e).contains(&c) && !matches!(c, b',' | b'='))
}

/// `N` bytes from lower-case hex.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let pairs = text.chunks_exact(2);
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (digit(*pair.first()?)?, digit(*pair.get(1)?)?);
        *byte = high << 4 | low;
    }
    Some(bytes)
}

const fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&str]) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        TraceParent::read(&headers)
    }

    fn state(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACESTATE, value.parse().unwrap());
        }
        trace_state(&headers)
    }

    #[test]
    fn a_traceparent_is_read_and_continued() {
        let read = read(&[PARENT]).unwrap();
        assert_eq!(read.trace.hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(read.is_sampled());
        let child = read.continued_by(SpanId::new([0xab; 8]).unwrap()).unwrap();
        assert_eq!(child, "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01");
    }

    #[test]
    fn flags_that_nobody_defined_yet_are_handed_on() {
        let read = read(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe"]).unwrap();
        assert!(!read.is_sampled());
        let child = read.continued_by(SpanId::new([1; 8]).unwrap()).unwrap();
        assert!(child.to_str().unwrap().ends_with("-fe"));
    }

    #[test]
    fn an_invalid_traceparent_is_none() {
        for invalid in [
            "",
            "00",
            // All zero.
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            // Upper case.
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            // Too short, too long, not hex, other separators, the version that is none.
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-010",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        ] {
            assert_eq!(read(&[invalid]), None, "{invalid:?}");
        }
        assert_eq!(read(&[PARENT, PARENT]), None, "two are none");
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later";
        assert_eq!(read(&[later]), read(&[PARENT]));
    }

    #[test]
    fn a_tracestate_is_joined_and_an_invalid_one_is_none() {
        let both = state(&["rojo=00f067aa0ba902b7", "t61rcwkgmze@vendor=x, ,congo=y"]);
        assert_eq!(both.as_deref(), Some("rojo=00f067aa0ba902b7,t61rcwkgmze@vendor=x, ,congo=y"));
        for invalid in ["a", "A=1", "a=", "a=1,a=2", "1a=2", "a=b=c", "t@1x=2", "a=\u{7f}"] {
            let mut headers = HeaderMap::new();
            headers.append(
                TRACESTATE,
                HeaderValue::from_bytes(invalid.as_bytes())
                    .unwrap_or(HeaderValue::from_static("=")),
            );
            assert_eq!(trace_state(&headers), None, "{invalid:?}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(state(&[&many.join(",")]), None);
        assert!(state(&[&many[..32].join(",")]).is_some());
        assert_eq!(state(&[&format!("a={}", "x".repeat(257))]), None);
        let long = format!("a={},b={},c=1", "x".repeat(256), "y".repeat(256));
        assert_eq!(state(&[&long]), None, "longer than a span carries");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_accepted_is_what_would_be_written(value in "(00|01)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}") {
            if let Some(parent) = TraceParent::parse(value.as_bytes()) {
                let again = parent.continued_by(parent.parent).unwrap();
                proptest::prop_assert_eq!(&again.to_str().unwrap()[2..], &value[2..]);
            }
        }
    }
}
