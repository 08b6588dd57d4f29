//! The head of one HTTP/1 request, read so that every other reader can only read the same.

use decide::case::{EnvelopeFault, Framing};
use memchr::memchr;

/// The most bytes of a head. Less than what hyper buffers, so that it always gets a head whole.
pub const HEAD_BYTES: usize = 63 << 10;
/// The most fields of a head, which is what hyper takes without being told otherwise.
pub(super) const FIELDS: u32 = 100;

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes.
    Exact(u64),
    /// Said chunk by chunk.
    Chunked,
}

/// What a head says about where its request ends and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: Length,
    /// No request follows on this connection.
    pub(super) last: bool,
    /// What follows is a tunnel's, if it is opened.
    pub(super) tunnel: bool,
}

/// Looks for the end of a head in bytes that come little by little; each byte is looked at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Search {
    searched: usize,
    line: usize,
}

impl Search {
    /// Where the head that begins with `bytes` ends: after its first empty line, however that line ends.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(found) = bytes.get(self.searched..).and_then(|rest| memchr(b'\n', rest)) {
            let at = self.searched + found;
            let line = bytes.get(self.line..at).unwrap_or_default();
            let leading = self.line == 0 && line == b"\r";
            self.searched = at + 1;
            self.line = at + 1;
            if !leading && line.iter().all(|&byte| byte == b'\r') {
                return Some(at + 1);
            }
        }
        self.searched = bytes.len();
        None
    }
}

/// Reads a whole head, from its first byte to the end of its empty line.
pub(super) fn read(head: &[u8]) -> Result<Head, EnvelopeFault> {
    // RFC 9112 2.2: one empty line before a request is what old clients left of the one before.
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    controls(head)?;
    let (line, mut rest) = line(head)?;
    let (mut fields, tunnel) = request_line(line)?;
    let mut count = 0;
    loop {
        let (line, after) = self::line(rest)?;
        if line.is_empty() {
            return fields.head(tunnel);
        }
        count += 1;
        if count > FIELDS {
            return Err(EnvelopeFault::Framing(Framing::TooManyFields(FIELDS)));
        }
        fields.field(line)?;
        rest = after;
    }
}

/// No control character but the tab, and CR and LF only together.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without a branch it is done sixteen bytes at a time"
)]
fn controls(head: &[u8]) -> Result<(), EnvelopeFault> {
    let control = head.iter().fold(false, |bad, &byte| {
        bad | ((byte < b' ') & (byte != b'\t') & (byte != b'\r') & (byte != b'\n')) | (byte == 0x7F)
    });
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    let apart = pairs.fold(false, |bad, (&one, &next)| bad | ((one == b'\r') != (next == b'\n')));
    match (apart, control) {
        (true, _) => Err(EnvelopeFault::Framing(Framing::LineEnd)),
        (_, true) => Err(EnvelopeFault::Framing(Framing::Control)),
        (false, false) => Ok(()),
    }
}

/// The first line without its CR LF, and what follows it.
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), EnvelopeFault> {
    memchr(b'\n', bytes)
        .and_then(|at| Some((bytes.get(..at.checked_sub(1)?)?, bytes.get(at + 1..)?)))
        .ok_or(EnvelopeFault::Framing(Framing::LineEnd))
}

fn request_line(line: &[u8]) -> Result<(Fields, bool), EnvelopeFault> {
    let fault = |what| Err(EnvelopeFault::Framing(what));
    let Some((start, version)) = line.len().checked_sub(9).and_then(|at| line.split_at_checked(at))
    else {
        return fault(Framing::RequestLine);
    };
    let old = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        [b' ', b'H', b'T', b'T', b'P', b'/', ..] => return fault(Framing::Version),
        _ => return fault(Framing::RequestLine),
    };
    let method = start.iter().take_while(|&&byte| is_token(byte)).count();
    let target = match start.split_at_checked(method) {
        Some((_, [b' ', target @ ..])) if method > 0 => target,
        _ => return fault(Framing::RequestLine),
    };
    if !target.iter().all(|&byte| holds(&PLAIN_TARGET, byte)) || target.first() != Some(&b'/') {
        strange_target(target)?;
    }
    let tunnel = start.starts_with(b"CONNECT ");
    Ok((Fields { old, ..Fields::default() }, tunnel))
}

/// A target that is not simply a path: of another form, or with bytes that stand in few paths.
fn strange_target(target: &[u8]) -> Result<(), EnvelopeFault> {
    if target.is_empty() || target.contains(&b' ') || target.contains(&b'\t') {
        return Err(EnvelopeFault::Framing(Framing::RequestLine));
    }
    let shown = target.iter().all(u8::is_ascii_graphic);
    if shown && http::Uri::try_from(target).is_ok() {
        Ok(())
    } else {
        Err(EnvelopeFault::Framing(Framing::Target))
    }
}

/// What the fields say so far.
#[derive(Debug, Default)]
struct Fields {
    old: bool,
    hosts: u32,
    length: Option<Length>,
    close: bool,
    keep: bool,
}

impl Fields {
    fn field(&mut self, line: &[u8]) -> Result<(), EnvelopeFault> {
        let name = line.iter().take_while(|&&byte| is_token(byte)).count();
        let (name, value) = match line.split_at_checked(name) {
            Some((name @ [_, ..], [b':', value @ ..])) => (name, value),
            split => return Err(bad_name(line, split)),
        };
        // The names that say where a request ends differ in length.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host()?,
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(value)?,
            _ => {}
        }
        Ok(())
    }

    fn host(&mut self) -> Result<(), EnvelopeFault> {
        self.hosts += 1;
        if self.hosts > 1 { Err(conflict("host")) } else { Ok(()) }
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(trimmed) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), EnvelopeFault> {
        let digits = trimmed(value);
        // Eighteen digits always fit.
        let plain =
            !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
        if !plain || self.length.is_some() {
            return Err(conflict("content-length"));
        }
        let add = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        self.length = Some(Length::Exact(digits.iter().fold(0, add)));
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), EnvelopeFault> {
        if self.old || !trimmed(value).eq_ignore_ascii_case(b"chunked") {
            return Err(conflict("transfer-encoding"));
        }
        match self.length.replace(Length::Chunked) {
            None => Ok(()),
            Some(Length::Exact(_)) => Err(conflict("content-length")),
            Some(Length::Chunked) => Err(conflict("transfer-encoding")),
        }
    }

    fn head(self, tunnel: bool) -> Result<Head, EnvelopeFault> {
        if self.hosts == 0 {
            return Err(EnvelopeFault::Framing(Framing::NoHost));
        }
        let length = self.length.unwrap_or(Length::Exact(0));
        if tunnel && self.length.is_some() {
            // RFC 9110 9.3.6: it has no body, and what follows is not HTTP.
            return Err(conflict("content-length"));
        }
        Ok(Head { length, last: self.close || (self.old && !self.keep), tunnel })
    }
}

fn bad_name(line: &[u8], split: Option<(&[u8], &[u8])>) -> EnvelopeFault {
    let what = match (line.first(), split) {
        (Some(b' ' | b'\t'), _) => Framing::Folded,
        (_, Some(([_, ..], [b' ' | b'\t', ..]))) => Framing::SpaceBeforeColon,
        (_, _) => Framing::FieldName,
    };
    EnvelopeFault::Framing(what)
}

fn conflict(name: &str) -> EnvelopeFault {
    EnvelopeFault::ConflictingHeader(name.into())
}

/// A value without the whitespace around it (RFC 9110 5.5: SP and HTAB, no other).
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

pub(super) fn is_token(byte: u8) -> bool {
    holds(&TOKEN, byte)
}

fn holds(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).is_some_and(|&holds| holds)
}

/// The bytes of a token (RFC 9110 5.6.2).
static TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// The bytes that stand in a path or a query for every parser (RFC 3986), with the escape.
static PLAIN_TARGET: [bool; 256] = table(b"-._~!$&'()*+,;=:@/?%");

/// Letters, digits and these.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which a panic stops")]
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        let mut at = 0;
        let mut is = byte.is_ascii_alphanumeric();
        while at < others.len() {
            is |= others[at] == byte;
            at += 1;
        }
        table[byte as usize] = is;
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}
