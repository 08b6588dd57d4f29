#![expect(clippy::string_slice, reason = "a wrong index is a failing test")]

use super::*;
use crate::scan::patterns::PATTERNS;
use crate::scan::patterns::tests::sample;
use crate::stream::{Holdback, Kind};
use proptest::prelude::*;
use std::format;

const TOKEN: &str = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";

fn sights(scanner: &mut AnswerScanner, pieces: &[(&str, &str)]) -> Vec<Sight> {
    (0..)
        .zip(pieces)
        .map(|(event, (track, text))| scanner.push(event, track, text).unwrap())
        .collect()
}

fn waits(pieces: &[(&str, &str)]) -> Vec<Option<u64>> {
    let mut scanner = AnswerScanner::default();
    sights(&mut scanner, pieces).iter().map(|sight| sight.waits_from).collect()
}

#[test]
fn an_event_that_adds_to_a_candidate_waits_until_a_byte_contradicts_it() {
    assert_eq!(
        waits(&[("t", "a gh"), ("t", "p"), ("t", "_a"), ("t", "!")]),
        [Some(0), Some(0), Some(0), None]
    );
}

#[test]
fn text_that_begins_nothing_does_not_wait() {
    assert_eq!(waits(&[("t", "Hello, "), ("t", "worl"), ("t", "d.")]), [None, None, None]);
}

#[test]
fn a_candidate_of_one_track_makes_events_of_all_tracks_wait_until_the_end() {
    let mut scanner = AnswerScanner::default();
    let seen = sights(&mut scanner, &[("a", "m"), ("b", "ghp_"), ("a", "m"), ("a", "m")]);
    assert_eq!(
        seen.iter().map(|s| s.waits_from).collect::<Vec<_>>(),
        [None, Some(1), Some(1), Some(1)]
    );
    assert_eq!(scanner.end(), Sight::default());
    assert_eq!(scanner.waits_from(), None);
}

#[test]
fn a_secret_is_not_put_together_from_two_tracks() {
    let (head, tail) = TOKEN.split_at(20);
    let mut scanner = AnswerScanner::default();
    assert!(sights(&mut scanner, &[("a", head), ("b", tail)]).iter().all(|s| s.found.is_empty()));
}

#[test]
fn escapes_that_are_split_over_fragments_are_decoded() {
    let escaped = format!("{{\"cmd\":\"echo \\u0067hp\\u005F{}\"}}", &TOKEN[4..]);
    for at in 0..escaped.len() {
        let (head, tail) = escaped.split_at(at);
        let mut scanner = AnswerScanner::default();
        let first = scanner.push_escaped(0, "t", head).unwrap();
        let second = scanner.push_escaped(1, "t", tail).unwrap();
        let found = [first.found, second.found].concat();
        assert_eq!(found, [SecretClass::GithubToken], "{at}");
        let plain = AnswerScanner::default().push(0, "t", &escaped).unwrap();
        assert_eq!(plain.found, [], "one level less is another text");
    }
}

#[test]
fn an_escape_that_is_not_complete_waits_because_it_may_begin_a_secret() {
    let mut scanner = AnswerScanner::default();
    assert_eq!(scanner.push_escaped(0, "t", "m").unwrap().waits_from, None);
    assert_eq!(scanner.push_escaped(1, "t", "\\").unwrap().waits_from, Some(1));
    assert_eq!(scanner.push_escaped(2, "t", "u006").unwrap().waits_from, Some(1));
    assert_eq!(scanner.push_escaped(3, "t", "7").unwrap().waits_from, Some(1));
    assert_eq!(scanner.push_escaped(4, "t", "!").unwrap().waits_from, None);
    assert_eq!(scanner.push_escaped(5, "t", "\\ud83d").unwrap().waits_from, Some(5));
    assert_eq!(scanner.push_escaped(6, "t", "\\ude00").unwrap().waits_from, None);
}

#[test]
fn a_secret_without_escapes_in_escaped_text_is_counted_once() {
    let seen = AnswerScanner::default().push_escaped(0, "t", TOKEN).unwrap();
    assert_eq!(seen.found, [SecretClass::GithubToken]);
}

#[test]
fn more_tracks_than_any_answer_has_are_malformed() {
    let mut scanner = AnswerScanner::default();
    for track in 0..TRACKS_MAX {
        scanner.push(0, &format!("{track}"), "x").unwrap();
    }
    assert_eq!(scanner.push(0, "one more", "x"), Err(Missing::Malformed));
    assert!(scanner.push(0, "0", "x").is_ok(), "known tracks go on");
}

/// A text and where its first secret begins.
#[derive(Debug, Clone)]
struct Script {
    text: String,
    secret: Option<usize>,
}

fn innocent() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z .,!-]{0,8}",
        Just("task-list eyJ".into()),
        Just("ghp_short -----BEGIN ".into()),
        Just("sk-proj-abc AKIA1".into()),
        Just("naïve \u{1F600} \\ \\u00".into()),
        Just("eyJhbGciOiJIUzI1NiJ9.".into()),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let secret = prop::option::of(0..PATTERNS.len());
    (prop::collection::vec(innocent(), 0..4), secret, prop::collection::vec(innocent(), 0..3))
        .prop_map(|(before, secret, after)| {
            // A character that is in no pattern stands on both sides, so that only the secret is one.
            let mut text = before.join("!") + "!";
            let start = secret.map(|index| {
                let start = text.len();
                text.push_str(&sample(&PATTERNS[index]));
                start
            });
            Script { text: text + "!" + &after.join("!"), secret: start }
        })
}

/// Splits scripts into interleaved fragments: the track, and where its fragment begins and ends.
fn fragments(scripts: &[Script], order: &[(usize, usize)]) -> Vec<(usize, usize, usize)> {
    let mut at = std::vec![0_usize; scripts.len()];
    let mut events = Vec::new();
    let rest = (0..scripts.len()).map(|track| (track, usize::MAX));
    for (track, len) in order.iter().map(|(t, l)| (t % scripts.len(), *l)).chain(rest) {
        let text = &scripts[track].text;
        let from = at[track];
        let mut to = text.len().min(from.saturating_add(len));
        while !text.is_char_boundary(to) {
            to += 1;
        }
        at[track] = to;
        events.push((track, from, to));
    }
    events
}

/// Runs an answer as the edge does; the numbers of the events that were written, and whether it was
/// cut.
fn written(
    scripts: &[Script],
    events: &[(usize, usize, usize)],
    encode: impl Fn(&str) -> String,
    escaped: bool,
) -> (Vec<u64>, bool) {
    let (mut scanner, mut holdback) = (AnswerScanner::default(), Holdback::default());
    let mut out = Vec::new();
    for (number, (track, from, to)) in (0..).zip(events) {
        let piece = encode(&scripts[*track].text[*from..*to]);
        let name = format!("{track}");
        let sight = if escaped {
            scanner.push_escaped(number, &name, &piece).unwrap()
        } else {
            scanner.push(number, &name, &piece).unwrap()
        };
        if !sight.found.is_empty() {
            return (out, true);
        }
        out.extend(holdback.push(number, number, Kind::Content, sight.waits_from));
    }
    scanner.end();
    out.extend(holdback.end());
    (out, false)
}

fn check(scripts: &[Script], events: &[(usize, usize, usize)], got: &(Vec<u64>, bool)) {
    let began = |(track, script): (usize, &Script)| {
        let start = script.secret?;
        let holds =
            |(t, from, to): &(usize, usize, usize)| *t == track && (*from..*to).contains(&start);
        events.iter().position(holds).map(|number| number as u64)
    };
    let first = scripts.iter().enumerate().filter_map(began).min();
    let (numbers, cut) = got;
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "in order, none left out");
    assert_eq!(*cut, first.is_some());
    match first {
        Some(first) => {
            assert!(numbers.len() as u64 <= first, "released {numbers:?}, began in {first}");
        }
        None => assert_eq!(numbers.len(), events.len(), "innocent text is released whole"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_event_from_the_one_in_which_a_secret_began_is_released_however_it_is_split(
        scripts in prop::collection::vec(script(), 1..4),
        order in prop::collection::vec((0_usize..4, 0_usize..24), 0..40),
    ) {
        let events = fragments(&scripts, &order);
        check(&scripts, &events, &written(&scripts, &events, |text| String::from(text), false));
    }

    #[test]
    fn the_same_holds_where_every_character_is_escaped(
        scripts in prop::collection::vec(script(), 1..3),
        order in prop::collection::vec((0_usize..4, 0_usize..24), 0..40),
    ) {
        let events = fragments(&scripts, &order);
        let escape = |unit| format!("\\u{unit:04x}");
        let encode = |text: &str| text.encode_utf16().map(escape).collect::<Vec<_>>().concat();
        check(&scripts, &events, &written(&scripts, &events, encode, true));
    }
}
