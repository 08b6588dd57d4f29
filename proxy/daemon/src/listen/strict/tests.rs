use std::collections::VecDeque;
use std::task::Waker;

use decide::case::{EnvelopeFault, Framing};
use proptest::prelude::*;

use super::*;

mod hyper_sees;

/// A client that sends these pieces and closes. Between two of them the reader has to wait.
#[derive(Debug)]
struct Client {
    pieces: VecDeque<Vec<u8>>,
    waited: bool,
    written: Vec<u8>,
}

impl Client {
    fn sending(bytes: &[u8], cuts: &[usize]) -> Self {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let pieces = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).collect();
        Self { pieces, waited: true, written: Vec::new() }
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if rest.is_empty() {
            self.waited = false;
        } else {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper would be shown of `bytes`, and the fault with the number of its request.
fn seen(bytes: &[u8], cuts: &[usize], room: usize) -> (Vec<u8>, Option<(u64, EnvelopeFault)>) {
    let client = Client::sending(bytes, cuts);
    let (mut strict, faults) = Strict::new(client);
    let mut passed = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut idle = 0;
    while idle < 100 {
        let mut space = vec![0; room];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut strict).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
            Poll::Ready(result) => {
                result.unwrap();
                idle = 0;
                passed.extend_from_slice(buf.filled());
            }
            Poll::Pending => idle += 1,
        }
    }
    (passed, faults.entered())
}

fn fault(bytes: &str) -> Option<EnvelopeFault> {
    seen(bytes.as_bytes(), &[], 8192).1.map(|(_, fault)| fault)
}

const ORDINARY: &str = "POST /v1/responses?a=b%20c HTTP/1.1\r\nHost: api.openai.com\r\n\
    Authorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn requests_that_have_one_reading_pass_unchanged() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(40_000));
    for whole in [
        ORDINARY,
        "GET / HTTP/1.1\r\nhost:a\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /{\"a\"}|\u{7e} HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t a\tb \t\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tChunked \r\n\r\n4\r\nabcd\r\n0A\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 00003\r\n\r\nabcPUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        &long,
    ] {
        assert_eq!(seen(whole.as_bytes(), &[], 8192), (whole.as_bytes().to_vec(), None), "{whole}");
    }
}

#[test]
fn what_two_servers_could_read_differently_is_a_fault() {
    use EnvelopeFault::Framing as F;
    let conflict = |name: &str| EnvelopeFault::ConflictingHeader(name.into());
    let (length, coding) = (conflict("content-length"), conflict("transfer-encoding"));
    let fields = [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", length.clone()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", length.clone()),
        ("Content-Length: 4\r\nContent-Length: 4", length.clone()),
        ("Content-Length: 4\r\nContent-Length: 5", length.clone()),
        ("Content-Length: 4, 4", length.clone()),
        ("Content-Length: +4", length.clone()),
        ("Content-Length: -1", length.clone()),
        ("Content-Length: 0x4", length.clone()),
        ("Content-Length: 4 4", length.clone()),
        ("Content-Length:", length.clone()),
        ("Content-Length: 18446744073709551617", length.clone()),
        ("Content-Length: \u{664}", length),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", coding.clone()),
        ("Transfer-Encoding: identity", coding.clone()),
        ("Transfer-Encoding: chunked, identity", coding.clone()),
        ("Transfer-Encoding: gzip, chunked", coding.clone()),
        ("Transfer-Encoding: xchunked", coding.clone()),
        ("Transfer-Encoding: \"chunked\"", coding.clone()),
        ("Transfer-Encoding: chunked;q=1", coding.clone()),
        ("Transfer-Encoding:", coding),
        ("Transfer-Encoding: \u{b}chunked", F(Framing::Control)),
        ("Transfer-Encoding : chunked", F(Framing::SpaceBeforeColon)),
        ("Transfer-Encoding\t: chunked", F(Framing::SpaceBeforeColon)),
        ("X: y\r\n Transfer-Encoding: chunked", F(Framing::Folded)),
        ("X: y\r\n\tfolded", F(Framing::Folded)),
        ("X: y\nTransfer-Encoding: chunked", F(Framing::LineEnd)),
        ("X: y\rTransfer-Encoding: chunked", F(Framing::LineEnd)),
        ("X: y\0", F(Framing::Control)),
        ("X: \u{7f}", F(Framing::Control)),
        (": y", F(Framing::FieldName)),
        ("X", F(Framing::FieldName)),
        ("X\u{e9}: y", F(Framing::FieldName)),
        ("X(y): z", F(Framing::FieldName)),
        ("Host: b", conflict("host")),
        ("hOST: a", conflict("host")),
    ];
    for (field, expected) in fields {
        let bytes = format!("POST /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        assert_eq!(fault(&bytes), Some(expected), "{field:?}");
    }
}

#[test]
fn a_request_line_has_one_form() {
    use EnvelopeFault::Framing as F;
    let lines = [
        ("GET  / HTTP/1.1", Framing::RequestLine),
        ("GET /  HTTP/1.1", Framing::RequestLine),
        ("GET\t/\tHTTP/1.1", Framing::RequestLine),
        (" GET / HTTP/1.1", Framing::RequestLine),
        ("GET / b HTTP/1.1", Framing::RequestLine),
        ("GET /", Framing::RequestLine),
        ("GET / HTTP/1.1 ", Framing::RequestLine),
        ("G(T / HTTP/1.1", Framing::RequestLine),
        ("/ HTTP/1.1", Framing::RequestLine),
        ("GET / http/1.1", Framing::RequestLine),
        ("GET / HTTP/1.2", Framing::Version),
        ("GET / HTTP/2.0", Framing::Version),
        ("GET / HTTP/0.9", Framing::Version),
        ("GET /\u{e9} HTTP/1.1", Framing::Target),
        ("GET \\x HTTP/1.1", Framing::Target),
        ("GET /\0 HTTP/1.1", Framing::Control),
        ("GET /\n HTTP/1.1", Framing::LineEnd),
        ("GET /\r HTTP/1.1", Framing::LineEnd),
    ];
    for (line, expected) in lines {
        let bytes = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(fault(&bytes), Some(F(expected)), "{line:?}");
    }
}

#[test]
fn a_whole_head_has_one_form() {
    use EnvelopeFault::Framing as F;
    let conflict = |name: &str| EnvelopeFault::ConflictingHeader(name.into());
    for (whole, expected) in [
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", F(Framing::NoHost)),
        ("GET / HTTP/1.1\nHost: a\n\n", F(Framing::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", F(Framing::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", F(Framing::LineEnd)),
        ("\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", F(Framing::LineEnd)),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", F(Framing::RequestLine)),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            conflict("transfer-encoding"),
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
            conflict("content-length"),
        ),
    ] {
        assert_eq!(fault(whole), Some(expected), "{whole:?}");
    }
}

#[test]
fn a_chunked_body_ends_where_every_server_sees_it_end() {
    use Framing::{Chunk, ChunkExtension, Trailers};
    for (body, passes, expected) in [
        ("4;a=b\r\nabcd\r\n0\r\n\r\n", "4", ChunkExtension),
        ("4 \r\nabcd\r\n0\r\n\r\n", "4", ChunkExtension),
        (" 4\r\nabcd\r\n0\r\n\r\n", "", Chunk),
        ("4\nabcd\r\n0\r\n\r\n", "4", Chunk),
        ("4\r\nabcd\n0\r\n\r\n", "4\r\nabcd", Chunk),
        ("4\r\nabcde\r\n0\r\n\r\n", "4\r\nabcd", Chunk),
        ("0x4\r\nabcd\r\n", "0", Chunk),
        ("-1\r\n", "", Chunk),
        ("\r\n", "", Chunk),
        ("000000004\r\nabcd\r\n", "00000000", Chunk),
        ("4\r\rabcd", "4\r", Chunk),
        ("0\r\nX: y\r\n\r\n", "0\r\n", Trailers),
        ("0\r\n\nGET", "0\r\n", Chunk),
        ("0\r\n\r\r", "0\r\n\r", Chunk),
    ] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (passed, found) = seen(format!("{head}{body}").as_bytes(), &[], 8192);
        let expected = (0, EnvelopeFault::Framing(expected));
        assert_eq!(found, Some(expected), "{body:?}");
        assert_eq!(String::from_utf8(passed).unwrap(), format!("{head}{passes}"));
    }
}

#[test]
fn a_head_is_bounded_in_bytes_and_in_fields() {
    let pad = |bytes| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    let most = HEAD_BYTES - pad(0).len();
    assert_eq!(fault(&pad(most)), None);
    let oversize = Some(EnvelopeFault::Oversize(HEAD_BYTES as u64));
    assert_eq!(fault(&pad(most + 1)), oversize);
    assert_eq!(fault(&format!("GET /{}", "x".repeat(HEAD_BYTES))), oversize);
    let fields = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!(fault(&fields(99)), None);
    assert_eq!(fault(&fields(100)), Some(EnvelopeFault::Framing(Framing::TooManyFields(100))));
}

#[test]
fn of_a_faulty_head_what_can_be_read_is_left_and_nothing_follows_it() {
    let bytes = "POST /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer x\r\n\
        Content-Length: 4\r\nTransfer-Encoding: chunked\r\nBad Name: x\r\n folded\r\n\r\n\
        0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let two = format!("{ORDINARY}{bytes}");
    let (passed, found) = seen(two.as_bytes(), &[], 8192);
    let left = "POST /v1/responses HTTP/1.1\r\nconnection: close\r\nHost: api.openai.com\r\n\
        Authorization: Bearer x\r\n\r\n";
    assert_eq!(String::from_utf8(passed).unwrap(), format!("{ORDINARY}{left}"));
    assert_eq!(found.map(|(request, _)| request), Some(1));
    let (nothing, _) = seen(b"\x01\x02\r\n\r\n", &[], 8192);
    assert_eq!(nothing, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
}

#[test]
fn nothing_is_read_after_a_request_that_closes_its_connection() {
    for close in [
        "HTTP/1.1\r\nConnection: x, Close",
        "HTTP/1.0",
        "HTTP/1.0\r\nConnection: keep-alive, close",
    ] {
        let whole = format!("GET / {close}\r\nHost: a\r\n\r\n");
        let more = format!("{whole}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(seen(more.as_bytes(), &[], 8192), (whole.into_bytes(), None));
    }
}

#[test]
fn what_follows_a_connect_waits_for_the_tunnel() {
    let head = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let bytes = [&head[..], b"GET /tunnel HTTP/1.1\r\n\r\n"].concat();
    let (mut strict, faults) = Strict::new(Client::sending(&bytes, &[]));
    let mut space = [0; 1024];
    let mut buf = ReadBuf::new(&mut space);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut strict).poll_read(&mut cx, &mut buf).is_ready());
    assert_eq!(buf.filled(), head);
    assert!(Pin::new(&mut strict).poll_read(&mut cx, &mut buf).is_pending());
    assert!(faults.entered().is_none());
    faults.next().open_tunnel();
    assert!(Pin::new(&mut strict).poll_read(&mut cx, &mut buf).is_ready());
    assert_eq!(buf.filled(), bytes);
}

/// Requests of every kind, some of them spoilt at a few places.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        Just(ORDINARY.to_owned()),
        Just("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        Just("GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".to_owned()),
        Just("POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n".to_owned()),
        Just("PUT /c HTTP/1.1\r\nHost: a\r\nX: y z\r\nContent-Length: 0\r\n\r\n".to_owned()),
        Just("POST /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab".to_owned()),
    ];
    let spoilt = prop::sample::select(vec![
        "\n",
        "\r",
        "\r\n",
        " ",
        "\t",
        ":",
        "0",
        ";",
        "\0",
        "\u{e9}",
        "\r\nContent-Length: 3",
        "\r\nTransfer-Encoding: chunked",
        "HTTP/1.1",
        "\\",
        "<",
        "%",
        "#",
    ]);
    let spots = prop::collection::vec((any::<prop::sample::Index>(), spoilt, 0_usize..3), 0..4);
    (prop::collection::vec(request, 1..5), spots).prop_map(|(requests, spots)| {
        let mut bytes = requests.concat().into_bytes();
        for (at, with, over) in spots {
            let at = at.index(bytes.len());
            let end = (at + over).min(bytes.len());
            bytes.splice(at..end, with.bytes());
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn how_the_bytes_come_changes_nothing(
        bytes in streams(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        room in 1_usize..600,
    ) {
        prop_assert_eq!(seen(&bytes, &cuts, room), seen(&bytes, &[], 1 << 16));
    }
}
