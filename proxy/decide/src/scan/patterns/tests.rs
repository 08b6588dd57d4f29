#![expect(clippy::string_slice, reason = "a wrong index is a failing test")]

use super::*;
use crate::scan::find;
use proptest::prelude::*;

/// The shortest text that a pattern finds.
pub(crate) fn sample(pattern: &Pattern) -> String {
    let mut text = String::new();
    for part in pattern.parts {
        match part {
            Text(fixed) => text.push_str(fixed),
            Run(set, count) => {
                let byte = (b'0'..=b'z').find(|byte| set.has(*byte)).unwrap();
                text.extend(core::iter::repeat_n(char::from(byte), *count));
            }
        }
    }
    if pattern.second_segment {
        text.push_str("hbGciOiJIUzI1NiJ9.eyJzdWIiOiI");
    }
    text
}

#[test]
fn every_pattern_is_found_at_its_last_byte_and_not_before() {
    for pattern in &PATTERNS {
        let text = sample(pattern);
        let found = find(&text);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!((found[0].class, found[0].at.clone()), (pattern.class, 0..text.len()));
        assert_eq!(find(&text[..text.len() - 1]), [], "found before its proof");
        assert!(text.len() <= pattern.proof());
    }
}

#[test]
fn every_class_has_a_pattern() {
    for class in SecretClass::ALL {
        assert!(PATTERNS.iter().any(|pattern| pattern.class == class), "{class:?}");
    }
}

#[test]
fn a_pattern_with_a_boundary_is_not_found_inside_a_word_and_the_others_are() {
    for pattern in &PATTERNS {
        let inside = format!("ta{}", sample(pattern));
        assert_eq!(find(&inside).is_empty(), pattern.boundary, "{inside}");
        for before in [" ", "\"", "=", "\\n", "\\t", "%22", "\\u0022", "é", "_", ":"] {
            let text = format!("x{before}{}", sample(pattern));
            assert_eq!(find(&text).len(), 1, "{text}");
        }
    }
}

#[test]
fn virtual_keys_of_this_gate_are_not_secrets() {
    for prefix in ["sk-tg-", "sk-ant-tg-"] {
        let key = format!("{prefix}{}", "A1b2C3d4".repeat(12));
        assert_eq!(find(&key), [], "{key}");
    }
}

#[test]
fn ordinary_text_is_quiet() {
    for text in [
        "task-proj-management-and-some-more-kebab-case-words-here",
        "risk-admin-panel-with-a-very-long-name-indeed-it-is",
        "sk-SK is the locale of Slovakia; sk-learn is a package; disk-0123456789abcdef",
        "AKIA stands for an access key, ASIA for a continent: ASIAPACIFIC REGION TEAM",
        "the ghp_ prefix, the github_pat_ prefix, glpat- and xoxb- alone",
        "---------------------------------------------------------------------------",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "eyJ is how base64 of JSON begins: eyJhbGciOiJIUzI1NiJ9 alone is no token",
        "pk_live_0123456789abcdef01234567 is public",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    ] {
        assert_eq!(find(text), [], "{text}");
    }
}

/// Says the same as the table, in the plainest way: try every pattern at every place.
fn naive(text: &[u8]) -> Option<(usize, usize, SecretClass)> {
    let boundary = |at: usize| {
        let back = |n: usize| at.checked_sub(n).map_or(b' ', |i| text[i]);
        let hex = |n: core::ops::RangeInclusive<usize>| {
            n.into_iter().all(|n| back(n).is_ascii_hexdigit())
        };
        !back(1).is_ascii_alphanumeric()
            || (back(2) == b'\\' && b"nrtbf".contains(&back(1)))
            || (back(3) == b'%' && hex(1..=2))
            || (back(6) == b'\\' && back(5) == b'u' && hex(1..=4))
    };
    let complete = |pattern: &Pattern, at: usize| -> Option<usize> {
        let mut end = at;
        for part in pattern.parts {
            let taken = text.get(end..end + part.len())?;
            let agrees = match part {
                Text(fixed) => taken == fixed.as_bytes(),
                Run(set, _) => taken.iter().all(|byte| set.has(*byte)),
            };
            if !agrees {
                return None;
            }
            end += part.len();
        }
        if pattern.second_segment {
            let more = text[end..].iter().take_while(|byte| Url.has(**byte)).count();
            let second = text.get(end + more..end + more + 1 + JWT_SECOND_LEN)?;
            let agrees = more <= JWT_HEADER_REST
                && second.starts_with(b".eyJ")
                && second[1..].iter().all(|byte| Url.has(*byte));
            return agrees.then_some(end + more + 1 + JWT_SECOND_LEN);
        }
        Some(end)
    };
    let mut all = Vec::new();
    for at in 0..text.len() {
        for pattern in &PATTERNS {
            if (!pattern.boundary || boundary(at))
                && let Some(end) = complete(pattern, at)
            {
                all.push((end, at, pattern.class));
            }
        }
    }
    all.into_iter().min().map(|(end, at, class)| (at, end, class))
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ a-zA-Z0-9_.\\\\%-]{0,6}",
        2 => (0..PATTERNS.len(), 0_usize..64).prop_map(|(index, keep)| {
            let mut text = sample(&PATTERNS[index]);
            text.truncate(keep);
            text
        }),
        1 => (0..PATTERNS.len()).prop_map(|index| sample(&PATTERNS[index])),
        1 => Just("\\n".into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_first_finding_is_the_one_that_trying_everything_everywhere_gives(
        pieces in prop::collection::vec(piece(), 0..12),
    ) {
        let text = pieces.concat();
        let found = find(&text);
        let first = found.first().map(|found| (found.at.start, found.class));
        let expected = naive(text.as_bytes());
        prop_assert_eq!(first, expected.map(|(at, _, class)| (at, class)), "{}", text);
        if let (Some(found), Some((_, end, _))) = (found.first(), expected) {
            prop_assert!(found.at.end >= end);
        }
    }

    #[test]
    fn base64_without_structure_is_quiet(text in "[A-Za-z0-9+/]{0,3000}") {
        prop_assert_eq!(find(&text), []);
    }
}
