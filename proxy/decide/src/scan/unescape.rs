//! Decodes the string escapes of a JSON text that arrives in pieces.
//!
//! Bytes outside escapes pass as they are, so keys, quotes and values come out as one text. An
//! escape that JSON does not know is passed as written: what matters is that no byte is lost.

/// Where an escape stands, with the event in which its backslash arrived.
#[derive(Debug, Default)]
pub(super) struct Unescape {
    state: State,
    since: u64,
    /// A high surrogate that waits for its other half.
    high: Option<(u32, u64)>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Plain,
    /// After a backslash.
    Backslash,
    /// In `\uXXXX`, after so many digits of this value.
    Unicode { digits: u8, value: u32 },
}

impl Unescape {
    /// Reads a piece; `out` receives decoded bytes with the event in which they began.
    pub(super) fn push(&mut self, event: u64, text: &str, mut out: impl FnMut(u64, &[u8])) {
        let mut rest = text;
        while !rest.is_empty() {
            if matches!(self.state, State::Plain) {
                let (plain, escape) = match rest.split_once('\\') {
                    Some((plain, after)) => (plain, Some(after)),
                    None => (rest, None),
                };
                if !plain.is_empty() {
                    self.high = None;
                    out(event, plain.as_bytes());
                }
                let Some(after) = escape else { return };
                (self.state, self.since, rest) = (State::Backslash, event, after);
                continue;
            }
            let mut chars = rest.chars();
            let Some(next) = chars.next() else { return };
            rest = chars.as_str();
            self.step(next, &mut out);
        }
    }

    /// The event in which an escape began that is not complete.
    pub(super) fn open_since(&self) -> Option<u64> {
        let high = self.high.map(|(_, since)| since);
        let escape = (!matches!(self.state, State::Plain)).then_some(self.since);
        high.or(escape)
    }

    fn step(&mut self, next: char, out: &mut impl FnMut(u64, &[u8])) {
        let since = self.since;
        match (self.state, next) {
            (State::Backslash, 'u') => {
                self.state = State::Unicode { digits: 0, value: 0 };
                return;
            }
            (State::Backslash, _) => {
                self.high = None;
                let decoded = match next {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                };
                emit(decoded, since, out);
            }
            (State::Unicode { digits, value }, digit) => match digit.to_digit(16) {
                Some(digit) if digits < 3 => {
                    self.state = State::Unicode { digits: digits + 1, value: value * 16 + digit };
                    return;
                }
                Some(digit) => self.complete(value * 16 + digit, out),
                None => {
                    self.high = None;
                    emit(digit, since, out);
                }
            },
            (State::Plain, other) => emit(other, since, out),
        }
        self.state = State::Plain;
    }

    /// Takes a complete `\uXXXX`. Half a character that never becomes whole is no byte of a secret.
    fn complete(&mut self, unit: u32, out: &mut impl FnMut(u64, &[u8])) {
        let high = self.high.take();
        match (unit, high) {
            (0xD800..=0xDBFF, _) => self.high = Some((unit, self.since)),
            (0xDC00..=0xDFFF, Some((high, since))) => {
                let value = 0x1_0000 + ((high - 0xD800) << 10) + (unit - 0xDC00);
                emit(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER), since, out);
            }
            _ => emit(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), self.since, out),
        }
    }
}

fn emit(decoded: char, since: u64, out: &mut impl FnMut(u64, &[u8])) {
    out(since, decoded.encode_utf8(&mut [0; 4]).as_bytes());
}
