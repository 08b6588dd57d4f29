//! One pass over the body, one node a value.

use std::borrow::Cow;

use decide::case::EnvelopeFault;

use super::{Document, Kind, MAX_DEPTH, MAX_NODES, Node, escape, shown};

/// A key in an error is cut to this many characters.
const KEY_SHOWN: usize = 64;

struct Reader<'b> {
    text: &'b str,
    at: usize,
    nodes: Vec<Node>,
    /// The keys of the objects that are open, the innermost object's last.
    keys: Vec<Cow<'b, str>>,
}

/// Room for nodes that is made at once: a value of a request or an event takes some dozen bytes.
const ROOM: usize = 1024;

type Read<T> = Result<T, EnvelopeFault>;

pub(super) fn read(body: &[u8]) -> Read<Document<'_>> {
    let text = std::str::from_utf8(body)
        .map_err(|bad| EnvelopeFault::NotUnicode(bad.valid_up_to() as u64))?;
    if u32::try_from(text.len()).is_err() {
        return Err(EnvelopeFault::Oversize(u64::from(u32::MAX)));
    }
    let nodes = Vec::with_capacity((text.len() / 8 + 4).min(ROOM));
    let mut reader = Reader { text, at: 0, nodes, keys: Vec::with_capacity(16) };
    reader.space();
    reader.value(1)?;
    reader.space();
    if reader.at != text.len() {
        return Err(reader.not_json());
    }
    Ok(Document { text, nodes: reader.nodes })
}

impl<'b> Reader<'b> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn not_json(&self) -> EnvelopeFault {
        EnvelopeFault::NotJson(self.at as u64)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.peek() != Some(byte) {
            return Err(self.not_json());
        }
        self.at += 1;
        Ok(())
    }

    /// Enters a node whose end is not known yet; gives its index.
    fn open(&mut self, kind: Kind) -> Read<usize> {
        if self.nodes.len() >= MAX_NODES {
            return Err(EnvelopeFault::Bomb((MAX_NODES * size_of::<Node>()) as u64));
        }
        let (start, next) = (self.offset(), 0);
        self.nodes.push(Node { kind, escaped: false, start, end: start, next });
        Ok(self.nodes.len() - 1)
    }

    fn close(&mut self, index: usize) {
        let (end, next) = (self.offset(), u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        if let Some(node) = self.nodes.get_mut(index) {
            (node.end, node.next) = (end, next);
        }
    }

    /// Fits: `read` checked the length of the whole text.
    fn offset(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    fn value(&mut self, depth: u32) -> Read<()> {
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string(Kind::String).map(|_| ()),
            Some(b't') => self.word("true", Kind::Bool),
            Some(b'f') => self.word("false", Kind::Bool),
            Some(b'n') => self.word("null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => {
                let node = self.open(Kind::Number)?;
                self.number()?;
                self.close(node);
                Ok(())
            }
            _ => Err(self.not_json()),
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Read<()> {
        let node = self.open(kind)?;
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        self.close(node);
        Ok(())
    }

    fn object(&mut self, depth: u32) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(EnvelopeFault::TooDeep(MAX_DEPTH));
        }
        let node = self.open(Kind::Object)?;
        let first = self.keys.len();
        self.at += 1;
        self.space();
        if self.peek() != Some(b'}') {
            loop {
                let key = self.key()?;
                self.keys.push(key);
                self.space();
                self.expect(b':')?;
                self.space();
                self.value(depth + 1)?;
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.space();
            }
        }
        self.expect(b'}')?;
        self.close(node);
        distinct(self.keys.get_mut(first..).unwrap_or_default())?;
        self.keys.truncate(first);
        Ok(())
    }

    fn key(&mut self) -> Read<Cow<'b, str>> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.not_json());
        }
        let node = self.string(Kind::Key)?;
        let raw = self.text.get(node.start as usize..node.end as usize).unwrap_or_default();
        let key =
            if node.escaped { Cow::Owned(escape::unescape(raw).text) } else { Cow::Borrowed(raw) };
        // A parser written in C ends the key here.
        if key.contains('\0') { Err(EnvelopeFault::NotJson(start as u64)) } else { Ok(key) }
    }

    fn array(&mut self, depth: u32) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(EnvelopeFault::TooDeep(MAX_DEPTH));
        }
        let node = self.open(Kind::Array)?;
        self.at += 1;
        self.space();
        if self.peek() != Some(b']') {
            let mut run = None;
            loop {
                run = self.element(depth, run)?;
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.space();
            }
        }
        self.expect(b']')?;
        self.close(node);
        Ok(())
    }

    /// Reads an element; numbers side by side share a node, so that an embedding costs no more than its bytes.
    fn element(&mut self, depth: u32, run: Option<usize>) -> Read<Option<usize>> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            self.value(depth + 1)?;
            return Ok(None);
        }
        let node = match run {
            Some(node) => node,
            None => self.open(Kind::Number)?,
        };
        self.number()?;
        self.close(node);
        Ok(Some(node))
    }

    fn string(&mut self, kind: Kind) -> Read<Node> {
        self.at += 1;
        let index = self.open(kind)?;
        let mut escaped = false;
        loop {
            self.at += plain(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1F) | None => return Err(self.not_json()),
                Some(_) => self.at += 1,
            }
        }
        self.close(index);
        self.at += 1;
        let node = self.nodes.get_mut(index).ok_or(EnvelopeFault::NotJson(0))?;
        node.escaped = escaped;
        Ok(*node)
    }

    fn escape(&mut self) -> Read<()> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if let Some((_, length)) = escape::one(rest) {
            self.at += length;
            return Ok(());
        }
        // Four digits that mean no character are half of a surrogate pair.
        let lone = rest.get(1) == Some(&b'u') && rest.get(2..6).and_then(escape::hex4).is_some();
        Err(if lone { EnvelopeFault::NotUnicode(self.at as u64) } else { self.not_json() })
    }

    fn digits(&mut self) -> Read<()> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.not_json());
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Read<()> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let written = self.text.get(start..self.at).unwrap_or_default();
        // Only a long number or one with an exponent can be beyond a double.
        let finite = written.len() < 300
            && !written.bytes().any(|byte| matches!(byte, b'e' | b'E'))
            || written.parse().is_ok_and(f64::is_finite);
        if finite { Ok(()) } else { Err(EnvelopeFault::NotJson(start as u64)) }
    }
}

/// How many bytes at the beginning of `bytes` stand for themselves in a string, but for the last few: as many words of
/// eight as hold no quote, no backslash and no control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // Sets the high bit of some byte where a byte of `word` is less than `limit`, which is at most 128.
    let less = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    let (words, _) = bytes.as_chunks::<8>();
    let special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) =
            (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        less(word, 0x20) | less(quote, 1) | less(backslash, 1) != 0
    };
    words.iter().position(special).unwrap_or(words.len()) * 8
}

/// No key stands twice. Keys compare as what they mean, not as they are written.
fn distinct(keys: &mut [Cow<'_, str>]) -> Read<()> {
    keys.sort_unstable();
    match keys.iter().zip(keys.iter().skip(1)).find(|(one, other)| one == other) {
        Some((key, _)) => Err(EnvelopeFault::DuplicateKey(shown(key, KEY_SHOWN))),
        None => Ok(()),
    }
}
