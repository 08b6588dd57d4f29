//! HTTP/2 by hand: frames as they are written, and what of the answer can be known without a decoder.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::door::Stream;
use super::{Door, PATIENCE};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.into_iter().skip(1).collect::<Vec<u8>>();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// One field as a literal that no table keeps (RFC 7541 6.2.2), in whatever bytes.
pub(super) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        block.extend(integer(text.len(), 7));
        block.extend(text);
    }
    block
}

/// A number with a prefix of so many bits (RFC 7541 5.1).
pub(super) fn integer(number: usize, prefix: u32) -> Vec<u8> {
    let most = (1_usize << prefix) - 1;
    let low = |number: usize| u8::try_from(number & 0xFF).unwrap_or(0);
    if number < most {
        return vec![low(number)];
    }
    let (mut rest, mut bytes) = (number - most, vec![low(most)]);
    while rest >= 128 {
        bytes.push(low(rest % 128 + 128));
        rest /= 128;
    }
    bytes.push(low(rest));
    bytes
}

/// The fields of a request in order, with these in their places: a name with no value is left out.
pub(super) fn fields(door: &Door, changed: &[(&str, &[u8])], more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let (path, key) = (door.path(), format!("Bearer {}", door.key));
    let usual: [(&str, &[u8]); 6] = [
        (":method", b"POST"),
        (":scheme", b"https"),
        (":authority", door.host.as_bytes()),
        (":path", path.as_bytes()),
        ("authorization", key.as_bytes()),
        ("content-type", b"application/json"),
    ];
    let mut block = Vec::new();
    for (name, value) in usual {
        let value = changed.iter().find(|(other, _)| *other == name).map_or(value, |(_, it)| it);
        if !value.is_empty() {
            block.extend(field(name.as_bytes(), value));
        }
    }
    more.iter().for_each(|(name, value)| block.extend(field(name, value)));
    block
}

/// A head, over as many frames as it needs.
pub(super) fn head(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(16_000).peekable();
    let (mut kind, mut flags, mut bytes) = (HEADERS, flags, Vec::new());
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags | end, stream, piece));
        (kind, flags) = (CONTINUATION, 0);
    }
    bytes
}

/// A head and its body.
pub(super) fn request(stream: u32, block: &[u8], body: &str) -> Vec<u8> {
    let mut bytes = head(stream, 0, block);
    bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
    bytes
}

/// What came of stream 1 and of its connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// A head came.
    pub(super) answered: bool,
    /// It says 200.
    pub(super) success: bool,
    /// The body, as text.
    pub(super) text: String,
    /// The stream was reset for this reason.
    pub(super) reset: Option<u32>,
    /// The connection was ended for this reason.
    pub(super) goaway: Option<u32>,
    /// The connection is closed.
    pub(super) closed: bool,
}

/// The preface and empty settings.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Sends `frames` and reads until stream 1 or the connection is over, or nothing comes any more.
pub(super) async fn exchange(door: &Door, frames: &[u8]) -> Result<Seen> {
    let mut stream = door.open("h2").await?;
    stream.write_all(PREFACE).await?;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sending = async {
        // The gate may have enough before all is sent.
        writing.write_all(frames).await.is_ok() && writing.flush().await.is_ok()
    };
    let both = async { tokio::join!(sending, until_over(&mut reading)).1 };
    timeout(PATIENCE * 3, both).await.context("the gate neither reads nor closes")
}

/// Reads what there is to know.
pub(super) async fn until_over(reading: &mut tokio::io::ReadHalf<Box<dyn Stream>>) -> Seen {
    let mut seen = Seen::default();
    loop {
        let mut head = [0; 9];
        match timeout(PATIENCE / 2, reading.read_exact(&mut head)).await {
            Err(_elapsed) => return seen,
            Ok(Err(_)) => {
                seen.closed = true;
                return seen;
            }
            Ok(Ok(_)) => {}
        }
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let mut payload = vec![0; length];
        if reading.read_exact(&mut payload).await.is_err() {
            seen.closed = true;
            return seen;
        }
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes)
        };
        match (kind, u32::from_be_bytes(stream)) {
            (HEADERS, 1) => {
                seen.answered = true;
                // 200 stands in the static table at 8; updates of the table's size may come before it.
                seen.success = payload.iter().find(|byte| **byte & 0xE0 != 0x20) == Some(&0x88);
            }
            (DATA, 1) => seen.text += &String::from_utf8_lossy(&payload),
            (RESET, 1) => seen.reset = number(0),
            (GOAWAY, _) => seen.goaway = number(4),
            _ => continue,
        }
        let over = flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA);
        if over || seen.reset.is_some() {
            return seen;
        }
    }
}
