//! Takes one level of JSON escapes away and remembers where each character stood.

use std::ops::Range;

/// A text with one level of escapes less.
#[derive(Default)]
pub(crate) struct Unescaped {
    pub(crate) text: String,
    /// After each escape: offset in `text`, offset in the source. Between two marks both advance alike.
    marks: Vec<(usize, usize)>,
}

impl Unescaped {
    /// The bytes of the source that `range` of the text came from; whole escapes where it ends in one.
    pub(crate) fn locate(&self, range: &Range<usize>) -> Range<usize> {
        self.source(range.start)..self.source(range.end)
    }

    fn source(&self, at: usize) -> usize {
        let after = self.marks.partition_point(|(text, _)| *text <= at);
        match after.checked_sub(1).and_then(|index| self.marks.get(index)) {
            Some((text, source)) => source + (at - text),
            None => at,
        }
    }
}

/// Takes one level away. What is no valid escape stays as it is: a strict reader has refused it, or it was never JSON.
pub(crate) fn unescape(source: &str) -> Unescaped {
    let mut out = Unescaped { text: String::with_capacity(source.len()), marks: Vec::new() };
    let mut at = 0;
    while let Some(rest) = source.get(at..) {
        let Some(plain) = rest.find('\\') else {
            out.text.push_str(rest);
            break;
        };
        out.text.push_str(rest.get(..plain).unwrap_or_default());
        at += plain;
        let escape = source.get(at..).unwrap_or_default();
        if let Some((character, length)) = one(escape.as_bytes()) {
            out.text.push(character);
            at += length;
            out.marks.push((out.text.len(), at));
        } else {
            out.text.push('\\');
            at += 1;
        }
    }
    out
}

/// The character that the escape at the start of `bytes` means, and the length of the escape.
pub(crate) fn one(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(bytes),
        _ => return None,
    };
    Some((character, 2))
}

fn unicode(bytes: &[u8]) -> Option<(char, usize)> {
    let high = hex4(bytes.get(2..6)?)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, 6));
    }
    if bytes.get(6..8)? != b"\\u" {
        return None;
    }
    let low = hex4(bytes.get(8..12)?)?;
    if !(0xD800..0xDC00).contains(&high) || !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    Some((char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))?, 12))
}

pub(crate) fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}
