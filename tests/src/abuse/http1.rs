//! Requests that two servers would cut differently.

use super::door::body;
use super::{Attack, Case, Door, Expect};

/// A request that is refused for what `more` adds to its head, with a second one hidden in its body.
fn hidden(door: &Door, name: &str, more: &str) -> Vec<u8> {
    let first = body(&format!("say:attack-{name}"), false);
    let second = door.request(&format!("say:smuggled-{name}"));
    let chunked = format!("{:x}\r\n{first}\r\n0\r\n\r\n{second}", first.len());
    let more = more.replace("LENGTH", &chunked.len().to_string());
    (door.head(&more) + &chunked).into_bytes()
}

/// A chunked body, framed as `chunks` says, and a second request behind it.
fn chunked(door: &Door, name: &str, chunks: impl Fn(&str) -> String) -> Vec<u8> {
    let first = body(&format!("say:attack-{name}"), false);
    let second = door.request(&format!("say:smuggled-{name}"));
    (door.head("Transfer-Encoding: chunked\r\n") + &chunks(&first) + &second).into_bytes()
}

/// A request with this head and no body, and a second one behind it.
fn bare(door: &Door, name: &str, head: &str) -> Vec<u8> {
    let head = head.replace("PATH", &door.path()).replace("FIELDS", &door.fields());
    (head + &door.request(&format!("say:smuggled-{name}"))).into_bytes()
}

/// A field of so many bytes.
fn large(door: &Door, name: &str, bytes: usize) -> Vec<u8> {
    let body = body(&format!("say:attack-{name}"), false);
    let more = format!("X-Large: {}\r\nContent-Length: {}\r\n", "x".repeat(bytes), body.len());
    (door.head(&more) + &body).into_bytes()
}

const fn refused(name: &'static str, bytes: fn(&Door, &str) -> Vec<u8>) -> Case {
    Case { name, expect: Expect::Closed("envelope"), carried: 0, attack: Attack::Bytes(bytes) }
}

/// The same, for what other words say, or on a connection that stays.
const fn but(expect: Expect, case: Case) -> Case {
    Case { expect, ..case }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = lengths();
    all.extend(lines());
    all.extend(bodies());
    all
}

fn lengths() -> Vec<Case> {
    vec![
        refused("cl_te", |d, n| {
            hidden(d, n, "Content-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n")
        }),
        refused("te_cl", |d, n| {
            hidden(d, n, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n")
        }),
        refused("cl_cl", |d, n| hidden(d, n, "Content-Length: 4\r\nContent-Length: LENGTH\r\n")),
        refused("cl_list", |d, n| hidden(d, n, "Content-Length: LENGTH, LENGTH\r\n")),
        refused("cl_plus", |d, n| hidden(d, n, "Content-Length: +LENGTH\r\n")),
        refused("cl_hex", |d, n| hidden(d, n, "Content-Length: 0x10\r\n")),
        refused("cl_overflow", |d, n| hidden(d, n, "Content-Length: 18446744073709551620\r\n")),
        refused("cl_space", |d, n| hidden(d, n, "Content-Length : LENGTH\r\n")),
        refused("te_te", |d, n| {
            hidden(d, n, "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n")
        }),
        refused("te_identity", |d, n| hidden(d, n, "Transfer-Encoding: identity\r\n")),
        refused("te_list", |d, n| hidden(d, n, "Transfer-Encoding: gzip, chunked\r\n")),
        refused("te_tab", |d, n| hidden(d, n, "Transfer-Encoding:\x0bchunked\r\n")),
        refused("te_space", |d, n| {
            hidden(d, n, "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n")
        }),
        refused("te_old", |d, n| {
            let bytes = String::from_utf8_lossy(&hidden(d, n, "Transfer-Encoding: chunked\r\n"))
                .replacen("HTTP/1.1", "HTTP/1.0", 1);
            bytes.into_bytes()
        }),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        refused("obs_fold", |d, n| hidden(d, n, "X-A: b\r\n Transfer-Encoding: chunked\r\n")),
        refused("bare_lf", |d, n| hidden(d, n, "X-A: b\nTransfer-Encoding: chunked\r\n")),
        refused("bare_cr", |d, n| hidden(d, n, "X-A: b\rTransfer-Encoding: chunked\r\n")),
        refused("lf_only", |d, n| bare(d, n, "GET PATH HTTP/1.1\nFIELDS\n\n")),
        refused("null_value", |d, n| hidden(d, n, "X-A: b\0c\r\n")),
        refused("empty_name", |d, n| hidden(d, n, ": b\r\nTransfer-Encoding: chunked\r\n")),
        refused("no_colon", |d, n| hidden(d, n, "Transfer-Encoding chunked\r\n")),
        refused("two_hosts", |d, n| hidden(d, n, "Host: evil.example\r\n")),
        but(
            Expect::Closed("destination"),
            refused("no_host", |d, n| {
                let key = format!("GET PATH HTTP/1.1\r\nAuthorization: Bearer {}\r\n\r\n", d.key);
                bare(d, n, &key)
            }),
        ),
        refused("two_spaces", |d, n| bare(d, n, "GET  PATH HTTP/1.1\r\nFIELDS\r\n")),
        refused("space_in_target", |d, n| bare(d, n, "GET PATH x HTTP/1.1\r\nFIELDS\r\n")),
        refused("version_2", |d, n| bare(d, n, "GET PATH HTTP/2.0\r\nFIELDS\r\n")),
        refused("version_09", |d, n| bare(d, n, "GET PATH HTTP/0.9\r\nFIELDS\r\n")),
        refused("header_70k", |d, n| large(d, n, 70 << 10)),
        but(Expect::Refused("envelope"), refused("header_50k", |d, n| large(d, n, 50 << 10))),
        refused("header_2m", |d, n| large(d, n, 2 << 20)),
        refused("header_count", |d, n| hidden(d, n, &"X-A: b\r\n".repeat(5000))),
        // What of it can be read names nobody who asks.
        but(
            Expect::Closed("virtual_key"),
            refused("endless_line", |d, _| {
                format!("GET {}/{}", d.prefix, "a".repeat(100_000)).into()
            }),
        ),
    ]
}

fn bodies() -> Vec<Case> {
    vec![
        refused("chunk_extension", |d, n| {
            chunked(d, n, |body| format!("{:x};a=b\r\n{body}\r\n0\r\n\r\n", body.len()))
        }),
        refused("chunk_lf", |d, n| {
            chunked(d, n, |body| format!("{:x}\n{body}\r\n0\r\n\r\n", body.len()))
        }),
        refused("chunk_spill", |d, n| {
            chunked(d, n, |body| format!("{:x}\r\n{body}X\r\n0\r\n\r\n", body.len()))
        }),
        refused("chunk_size", |d, n| {
            chunked(d, n, |body| format!("0x{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
        }),
        refused("chunk_overflow", |d, n| {
            chunked(d, n, |body| format!("1{:016x}\r\n{body}\r\n0\r\n\r\n", body.len()))
        }),
        refused("trailers", |d, n| {
            chunked(d, n, |body| format!("{:x}\r\n{body}\r\n0\r\nX-A: b\r\n\r\n", body.len()))
        }),
        Case {
            name: "after_close",
            expect: Expect::Harmless,
            carried: 1,
            attack: Attack::Bytes(|d, n| {
                let first = body(&format!("say:attack-{n}"), false);
                let more = format!("Connection: close\r\nContent-Length: {}\r\n", first.len());
                let second = d.request(&format!("say:smuggled-{n}"));
                (d.head(&more) + &first + &second).into_bytes()
            }),
        },
        Case {
            name: "pipelined_fault",
            expect: Expect::Harmless,
            carried: 1,
            attack: Attack::Bytes(|d, n| {
                let mut bytes = d.request(&format!("say:attack-{n}")).into_bytes();
                let more = "Content-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n";
                bytes.extend(hidden(d, &format!("{n}-smuggled-"), more));
                bytes
            }),
        },
    ]
}
