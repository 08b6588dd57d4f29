//! What HTTP/2 leaves to a client that means harm.

use super::door::body;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RESET, SETTINGS, WINDOW_UPDATE,
    fields, frame, head, integer, request,
};
use super::{Attack, Case, Door, Expect};

fn marked(name: &str) -> String {
    body(&format!("say:attack-{name}"), false)
}

/// A request that is in order but for these fields.
fn with(door: &Door, name: &str, changed: &[(&str, &[u8])], more: &[(&[u8], &[u8])]) -> Vec<u8> {
    request(1, &fields(door, changed, more), &marked(name))
}

fn path(door: &Door, name: &str, after: &[u8]) -> Vec<u8> {
    with(door, name, &[(":path", &[door.path().as_bytes(), after].concat())], &[])
}

const fn case(name: &'static str, expect: Expect, frames: fn(&Door, &str) -> Vec<u8>) -> Case {
    Case { name, expect, carried: 0, attack: Attack::Frames(frames) }
}

const fn ended(name: &'static str, frames: fn(&Door, &str) -> Vec<u8>) -> Case {
    case(name, Expect::Ended, frames)
}

/// What harms nobody, so that the request in it may pass.
const fn carried(name: &'static str, frames: fn(&Door, &str) -> Vec<u8>) -> Case {
    Case { carried: 1, ..case(name, Expect::Harmless, frames) }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = floods();
    all.extend(heads());
    all.extend(bodies());
    all
}

/// The odd numbers from one, which are a client's streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number * 2 + 1)
}

/// A head of one field that a table keeps, named again so many times: a byte each.
fn bomb(door: &Door) -> Vec<u8> {
    let mut block = fields(door, &[], &[]);
    // A literal with indexing (RFC 7541 6.2.1), and then 62: the newest entry of the table.
    let value = vec![b'x'; 3900];
    block.extend([0x40, 1, b'x']);
    block.extend(integer(value.len(), 7));
    block.extend(&value);
    block.extend(vec![0xBE; 40_000]);
    block
}

fn floods() -> Vec<Case> {
    vec![
        ended("rapid_reset", |door, name| {
            let block = fields(door, &[], &[]);
            let reset = |id| [head(id, 0, &block), frame(RESET, 0, id, &[0, 0, 0, 8])].concat();
            let all: Vec<u8> = streams(4000).flat_map(reset).collect();
            [all, with(door, name, &[], &[])].concat()
        }),
        ended("continuation_flood", |door, _| {
            let begun = frame(HEADERS, END_STREAM, 1, &fields(door, &[], &[]));
            [begun, frame(CONTINUATION, 0, 1, b"").repeat(20_000)].concat()
        }),
        ended("continuation_without_end", |door, _| {
            let begun = frame(HEADERS, END_STREAM, 1, &fields(door, &[], &[]));
            let more = super::frames::field(b"x", &[b'y'; 8000]);
            [begun, frame(CONTINUATION, 0, 1, &more).repeat(200)].concat()
        }),
        ended("hpack_bomb", |door, _| head(1, END_STREAM, &bomb(door))),
        ended("header_200k", |d, n| with(d, n, &[], &[(b"x-large", &vec![b'x'; 200 << 10])])),
        case("h2_header_70k", Expect::Refused("envelope"), |d, n| {
            with(d, n, &[], &[(b"x-large", &vec![b'x'; 70 << 10])])
        }),
        case("h2_header_50k", Expect::Refused("envelope"), |d, n| {
            with(d, n, &[], &[(b"x-large", &vec![b'x'; 50 << 10])])
        }),
        ended("empty_data_flood", |door, _| {
            let begun = head(1, 0, &fields(door, &[], &[]));
            [begun, frame(DATA, 0, 1, b"").repeat(20_000)].concat()
        }),
        carried("ping_flood", |door, name| {
            [frame(PING, 0, 0, &[0; 8]).repeat(20_000), with(door, name, &[], &[])].concat()
        }),
        carried("settings_flood", |door, name| {
            [frame(SETTINGS, 0, 0, b"").repeat(20_000), with(door, name, &[], &[])].concat()
        }),
        ended("window_overflow", |door, _| {
            let begun = head(1, 0, &fields(door, &[], &[]));
            [begun, frame(WINDOW_UPDATE, 0, 0, &[0x7F, 0xFF, 0xFF, 0xFF]).repeat(4)].concat()
        }),
        carried("window_never_opens", |door, name| {
            // SETTINGS_INITIAL_WINDOW_SIZE is 4.
            let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            [closed, with(door, name, &[], &[])].concat()
        }),
        ended("too_many_streams", |door, _| {
            let block = fields(door, &[], &[]);
            streams(4000).skip(1).chain([1]).flat_map(|id| head(id, 0, &block)).collect()
        }),
    ]
}

fn heads() -> Vec<Case> {
    vec![
        ended("two_paths", |d, n| {
            let twice = fields(d, &[], &[]);
            let again = super::frames::field(b":path", b"/v1/models");
            request(1, &[again, twice].concat(), &marked(n))
        }),
        ended("pseudo_after_field", |d, n| with(d, n, &[], &[(b":path", b"/v1/models")])),
        ended("unknown_pseudo", |d, n| with(d, n, &[], &[(b":x", b"y")])),
        ended("no_path", |d, n| with(d, n, &[(":path", b"")], &[])),
        ended("no_method", |d, n| with(d, n, &[(":method", b"")], &[])),
        ended("no_authority", |d, n| with(d, n, &[(":authority", b"")], &[])),
        ended("path_space", |d, n| path(d, n, b" HTTP/1.1")),
        ended("path_crlf", |d, n| path(d, n, b" HTTP/1.1\r\nX: y")),
        ended("path_fragment", |d, n| path(d, n, b"/..;/x")),
        ended("path_relative", |d, n| with(d, n, &[(":path", b"v1/models")], &[])),
        ended("method_crlf", |d, n| with(d, n, &[(":method", b"GET / HTTP/1.1\r\nX:")], &[])),
        ended("authority_userinfo", |d, n| {
            let named = format!("a@{}", d.host);
            with(d, n, &[(":authority", named.as_bytes())], &[])
        }),
        ended("authority_crlf", |d, n| {
            let named = format!("{}\r\nX: y", d.host);
            with(d, n, &[(":authority", named.as_bytes())], &[])
        }),
        ended("other_authority", |d, n| with(d, n, &[(":authority", b"evil.example")], &[])),
        ended("other_host", |d, n| with(d, n, &[], &[(b"host", b"evil.example")])),
        ended("two_h2_hosts", |d, n| {
            let host = d.host.as_bytes();
            with(d, n, &[], &[(b"host", host), (b"host", b"evil.example")])
        }),
        ended("upper_case_name", |d, n| with(d, n, &[], &[(b"X-A", b"y")])),
        ended("name_space", |d, n| with(d, n, &[], &[(b"x a", b"y")])),
        ended("name_colon", |d, n| with(d, n, &[], &[(b"transfer-encoding: x", b"y")])),
        ended("empty_h2_name", |d, n| with(d, n, &[], &[(b"", b"y")])),
        ended("value_crlf", |d, n| {
            with(d, n, &[], &[(b"x-a", b"y\r\nTransfer-Encoding: chunked")])
        }),
        ended("value_null", |d, n| with(d, n, &[], &[(b"x-a", b"y\0z")])),
        ended("connection_field", |d, n| with(d, n, &[], &[(b"connection", b"close")])),
        ended("coding_field", |d, n| with(d, n, &[], &[(b"transfer-encoding", b"chunked")])),
        ended("upgrade_field", |d, n| with(d, n, &[], &[(b"upgrade", b"websocket")])),
        ended("te_field", |d, n| with(d, n, &[], &[(b"te", b"gzip")])),
        ended("h2_connect", |d, n| with(d, n, &[(":method", b"CONNECT")], &[])),
        // RFC 8441: a WebSocket over HTTP/2, which nobody offered.
        ended("extended_connect", |d, n| {
            let connect = fields(d, &[(":method", b"CONNECT")], &[]);
            let protocol = super::frames::field(b":protocol", b"websocket");
            request(1, &[protocol, connect].concat(), &marked(n))
        }),
    ]
}

fn bodies() -> Vec<Case> {
    vec![
        ended("length_too_large", |d, n| with(d, n, &[], &[(b"content-length", b"4000")])),
        ended("length_too_small", |d, n| with(d, n, &[], &[(b"content-length", b"4")])),
        ended("two_lengths", |d, n| {
            let length = marked(n).len().to_string();
            let length = (&b"content-length"[..], length.as_bytes());
            with(d, n, &[], &[length, (b"content-length", b"4")])
        }),
        ended("length_plus", |d, n| {
            let length = format!("+{}", marked(n).len());
            with(d, n, &[], &[(b"content-length", length.as_bytes())])
        }),
        ended("data_without_head", |_, n| frame(DATA, END_STREAM, 1, marked(n).as_bytes())),
        case("pseudo_in_trailers", Expect::Refused("envelope"), |d, n| {
            let mut bytes = head(1, 0, &fields(d, &[], &[]));
            bytes.extend(frame(DATA, 0, 1, marked(n).as_bytes()));
            let trailers = super::frames::field(b":path", b"/v1/models");
            bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers));
            bytes
        }),
    ]
}
