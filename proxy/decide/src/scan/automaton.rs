//! One matcher for texts that are at hand whole and for texts that arrive in pieces.
//!
//! Each place where a secret may begin is a candidate. All patterns of a candidate advance together
//! by one table look-up a byte, as bits of one word, so a candidate costs the same whatever the
//! number of patterns. While there is none, three look-ups a byte tell that none begins.

use alloc::vec::Vec;

use super::patterns::{
    JWT_HEADER_REST, JWT_SECOND, JWT_SECOND_LEN, PATTERNS, Part, Pattern, Set, TABLE,
};

/// Where a candidate began, in the caller's own count (an event, an offset).
pub(super) type Origin = u64;

/// A complete proof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) pattern: &'static Pattern,
    /// Where it began.
    pub(super) origin: Origin,
    /// Index in the pushed bytes after the proof's last byte.
    pub(super) end: usize,
}

/// The state of one text. Its size is bounded: every candidate is younger than the longest proof.
#[derive(Debug, Default)]
pub(super) struct Automaton {
    live: Vec<Candidate>,
    /// The last eight bytes, the newest lowest.
    before: u64,
    /// Inside a secret whose proof is complete: what still belongs to it.
    within: Option<Set>,
}

#[derive(Debug)]
struct Candidate {
    origin: Origin,
    /// Patterns that every byte so far agrees with.
    mask: u64,
    /// Bytes so far.
    depth: usize,
    /// Where a JWT stands after its fixed head.
    jwt: Option<Jwt>,
}

#[derive(Debug, Clone, Copy)]
enum Jwt {
    /// In the first segment, with so many bytes to go at most.
    Header(usize),
    /// In the second segment, after so many bytes.
    Second(usize),
}

impl Automaton {
    /// Reads the next piece. `origin` gives the origin of a byte by its index. `hit` may say at
    /// which index the secret ends; otherwise it goes on, also into later pieces, for as long as
    /// its bytes can belong to it.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        origin: impl Fn(usize) -> Origin,
        mut hit: impl FnMut(Hit) -> Option<usize>,
    ) {
        let mut at = 0;
        while at < bytes.len() {
            if self.live.is_empty() && self.within.is_none() {
                at = quiet_until(bytes, at);
            }
            let Some(byte) = bytes.get(at) else { break };
            if self.within.is_some_and(|set| set.has(*byte)) {
                at += 1;
                continue;
            }
            self.within = None;
            self.open(bytes, at, &origin);
            if let Some(found) = self.advance(*byte) {
                self.live.clear();
                let end = hit(Hit { pattern: found.0, origin: found.1, end: at + 1 });
                if end.is_none() {
                    self.within = Some(found.0.rest);
                }
                at = end.unwrap_or(0).max(at + 1);
                continue;
            }
            at += 1;
        }
        for byte in bytes.iter().skip(bytes.len().saturating_sub(8)) {
            self.before = self.before << 8 | u64::from(*byte);
        }
    }

    /// The origin of the oldest candidate.
    pub(super) fn oldest(&self) -> Option<Origin> {
        self.live.first().map(|candidate| candidate.origin)
    }

    fn open(&mut self, bytes: &[u8], at: usize, origin: &impl Fn(usize) -> Origin) {
        let mut mask = beginning(bytes, at);
        if mask & BOUNDARY != 0 && !self.boundary(bytes, at) {
            mask &= !BOUNDARY;
        }
        if mask != 0 {
            self.live.push(Candidate { origin: origin(at), mask, depth: 0, jwt: None });
        }
    }

    fn advance(&mut self, byte: u8) -> Option<(&'static Pattern, Origin)> {
        let mut found = None;
        self.live.retain_mut(|candidate| {
            let complete = candidate.step(byte);
            if found.is_none() {
                found = complete.map(|pattern| (pattern, candidate.origin));
            }
            candidate.mask != 0 || candidate.jwt.is_some()
        });
        found
    }

    /// No letter or digit stands before, or it is the end of an escape.
    fn boundary(&self, bytes: &[u8], at: usize) -> bool {
        let back = |n: usize| -> u8 {
            match at.checked_sub(n) {
                Some(index) => bytes.get(index).copied().unwrap_or(0),
                None => u8::try_from((self.before >> (8 * (n - at - 1))) & 0xff).unwrap_or(0),
            }
        };
        if !back(1).is_ascii_alphanumeric() {
            return true;
        }
        let hex = |n| back(n).is_ascii_hexdigit();
        (back(2) == b'\\' && matches!(back(1), b'n' | b'r' | b't' | b'b' | b'f'))
            || (back(3) == b'%' && hex(1) && hex(2))
            || (back(6) == b'\\' && back(5) == b'u' && hex(1) && hex(2) && hex(3) && hex(4))
    }
}

impl Candidate {
    /// Takes one byte; the pattern that it completes.
    fn step(&mut self, byte: u8) -> Option<&'static Pattern> {
        let second = self.jwt.and_then(|jwt| {
            self.jwt = jwt.step(byte);
            matches!(self.jwt, Some(Jwt::Second(JWT_SECOND_LEN))).then_some(JWT)
        });
        let row = ACCEPT.get(self.depth);
        self.mask &= row.and_then(|row| row.get(usize::from(byte))).copied().unwrap_or(0);
        let complete = self.mask & COMPLETE.get(self.depth).copied().unwrap_or(0);
        self.mask &= !complete;
        self.depth += 1;
        if complete & JWT_HEAD != 0 {
            self.jwt = Some(Jwt::Header(JWT_HEADER_REST));
        }
        let index = match complete & !JWT_HEAD {
            0 => second?,
            bits => bits.trailing_zeros() as usize,
        };
        PATTERNS.get(index)
    }
}

impl Jwt {
    fn step(self, byte: u8) -> Option<Self> {
        match self {
            Self::Header(_) if byte == b'.' => Some(Self::Second(0)),
            Self::Header(left) if Set::Url.has(byte) => left.checked_sub(1).map(Self::Header),
            Self::Header(_) => None,
            Self::Second(at) => {
                let agrees = match JWT_SECOND.get(at) {
                    Some(wanted) => *wanted == byte,
                    None => Set::Url.has(byte),
                };
                agrees.then_some(Self::Second(at + 1))
            }
        }
    }
}

/// The first index from `at` on at which a secret may begin, as far as the piece shows.
fn quiet_until(bytes: &[u8], mut at: usize) -> usize {
    let tail = bytes.get(at..).unwrap_or_default();
    for window in tail.windows(3) {
        if let [first, second, third] = window
            && may_begin(*first, *second, *third) != 0
        {
            return at;
        }
        at += 1;
    }
    while at < bytes.len() && beginning(bytes, at) == 0 {
        at += 1;
    }
    at
}

/// Patterns that may begin at `at`, by the three bytes from there that the piece still has.
fn beginning(bytes: &[u8], at: usize) -> u64 {
    let ahead = |n: usize, row: &[u64; 256]| {
        bytes.get(at + n).map_or(u64::MAX, |byte| row.get(usize::from(*byte)).copied().unwrap_or(0))
    };
    ahead(0, &FIRST) & ahead(1, &SECOND) & ahead(2, &THIRD)
}

fn may_begin(first: u8, second: u8, third: u8) -> u64 {
    let of = |row: &[u64; 256], byte: u8| row.get(usize::from(byte)).copied().unwrap_or(0);
    of(&FIRST, first) & of(&SECOND, second) & of(&THIRD, third)
}

/// The longest fixed head.
const DEPTH: usize = 48;

static FIRST: [u64; 256] = accept_at(0);
static SECOND: [u64; 256] = accept_at(1);
static THIRD: [u64; 256] = accept_at(2);

/// By depth and byte, the patterns that allow the byte there.
static ACCEPT: [[u64; 256]; DEPTH] = accept();

/// By depth, the patterns whose fixed head has its last byte there.
static COMPLETE: [u64; DEPTH] = complete();

/// Patterns that need a boundary before them.
const BOUNDARY: u64 = boundary();
/// The JWT's index and bit.
const JWT: usize = TABLE.len() - 1;
const JWT_HEAD: u64 = 1 << JWT;

const _: () = assert!(TABLE.len() <= 64);

#[expect(clippy::indexing_slicing, reason = "runs while compiling: out of bounds does not build")]
#[expect(clippy::large_stack_arrays, reason = "runs while compiling: it is on no stack")]
const fn accept() -> [[u64; 256]; DEPTH] {
    let mut table = [[0; 256]; DEPTH];
    let mut depth = 0;
    while depth < DEPTH {
        table[depth] = accept_at(depth);
        depth += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "runs while compiling: out of bounds does not build")]
const fn accept_at(depth: usize) -> [u64; 256] {
    let mut row = [0; 256];
    let mut pattern = 0;
    while pattern < TABLE.len() {
        let (mut part, mut start) = (0, 0);
        while part < TABLE[pattern].parts.len() {
            let here = &TABLE[pattern].parts[part];
            if depth >= start && depth < start + here.len() {
                allow(&mut row, here, depth - start, 1 << pattern);
            }
            start += here.len();
            part += 1;
        }
        pattern += 1;
    }
    row
}

#[expect(clippy::indexing_slicing, reason = "runs while compiling: out of bounds does not build")]
const fn allow(row: &mut [u64; 256], part: &Part, offset: usize, bit: u64) {
    match part {
        Part::Text(text) => row[text.as_bytes()[offset] as usize] |= bit,
        Part::Run(set, _) => {
            let mut byte = 0;
            while byte < 128 {
                if set.has(byte) {
                    row[byte as usize] |= bit;
                }
                byte += 1;
            }
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "runs while compiling: out of bounds does not build")]
const fn complete() -> [u64; DEPTH] {
    let mut table = [0; DEPTH];
    let mut pattern = 0;
    while pattern < TABLE.len() {
        table[TABLE[pattern].head() - 1] |= 1 << pattern;
        pattern += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "runs while compiling: out of bounds does not build")]
const fn boundary() -> u64 {
    let (mut mask, mut pattern) = (0, 0);
    while pattern < TABLE.len() {
        assert!(TABLE[pattern].second_segment == (pattern == JWT));
        if TABLE[pattern].boundary {
            mask |= 1 << pattern;
        }
        pattern += 1;
    }
    mask
}
