use proptest::prelude::*;

use super::*;

const KEY: &str = "sk-proj-aBcD3fGh1jKlMn0pQrStUvWxYz_-0123456789aBcDeFgHiJkLmNoPq";

fn echo() -> Echo {
    Echo::of(&Secret::from(KEY.to_owned()), SecretClass::OpenaiKey).unwrap()
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"))
}

fn unicode(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("\\u{byte:04X}"))
}

/// The key in every form in which it is sought.
fn forms() -> Vec<String> {
    let mut forms = vec![KEY.to_owned(), percent(KEY), percent(KEY).to_uppercase(), unicode(KEY)];
    forms.push(KEY.replace('-', "%2D").replace('_', "%5f"));
    forms.push(KEY.replace('-', "\\u002d"));
    forms.push(unicode(KEY).replace('\\', "\\\\\\\\"));
    for before in ["", "u", "us", "user:"] {
        let text = format!("{before}{KEY}");
        forms.push(STANDARD_NO_PAD.encode(&text));
        forms.push(URL_SAFE_NO_PAD.encode(&text));
    }
    forms
}

/// The events up to the one that completes the key; `None` where none does. What was held back meanwhile begins there.
fn heard(pieces: &[&[u8]]) -> Option<(usize, Option<u64>)> {
    let mut echo = echo();
    for (event, piece) in pieces.iter().enumerate() {
        let waits = echo.waits_from();
        if echo.read(event as u64, "text", piece) {
            return Some((event, waits));
        }
    }
    None
}

#[test]
fn the_key_is_found_in_every_form_wherever_it_stands() {
    for form in forms() {
        for text in [form.clone(), format!("say {form} again"), format!("%\\%2\\u00{form}")] {
            assert!(heard(&[text.as_bytes()]).is_some(), "{text}");
        }
    }
}

#[test]
fn nothing_of_the_key_is_released_that_is_more_than_a_hint_of_it() {
    for form in forms() {
        let bytes: Vec<&[u8]> = form.as_bytes().chunks(1).collect();
        let (found, waits) = heard(&bytes).expect(&form);
        let released = waits.map_or(found, |from| usize::try_from(from).unwrap());
        // The prefix that everybody's key has, the eight bytes that any text may have, and the escapes around them.
        let most = (PREFIX + 4 + WAITS_AT) * 10;
        assert!(released <= most.min(form.len() / 2), "{released} of {form}");
    }
}

#[test]
fn a_hint_of_the_key_another_key_and_ordinary_text_pass() {
    let other = KEY.chars().rev().collect::<String>();
    for text in [
        "Incorrect API key provided: sk-proj-aBcD…NoPq",
        other.as_str(),
        &STANDARD_NO_PAD.encode(&other),
        "100 % of \\users\\ have %zz and \\u12 nothing",
    ] {
        assert_eq!(heard(&[text.as_bytes()]), None, "{text}");
    }
    let mut echo = echo();
    assert!(!echo.read(0, "text", b"an ordinary answer"));
    assert_eq!(echo.waits_from(), None);
}

#[test]
fn a_candidate_that_comes_to_nothing_waits_no_longer() {
    let mut echo = echo();
    assert!(!echo.read(3, "a", &KEY.as_bytes()[..20]));
    assert!(!echo.read(4, "b", b"meanwhile"));
    assert_eq!(echo.waits_from(), Some(3));
    assert!(!echo.read(5, "a", b" and so on"));
    assert_eq!(echo.waits_from(), None);
}

#[test]
fn a_header_that_repeats_the_key_is_found() {
    let mut headers = HeaderMap::new();
    headers.insert("location", format!("https://x.example/?k={}", percent(KEY)).parse().unwrap());
    assert!(echo().head(&headers).is_err());
    headers.insert("location", "https://x.example/".parse().unwrap());
    assert!(echo().head(&headers).is_ok());
}

#[test]
fn what_is_no_key_of_any_length_is_not_sought() {
    assert!(Echo::of(&Secret::from("short".to_owned()), SecretClass::OpenaiKey).is_none());
    assert_eq!(format!("{:?}", echo()), "Echo { class: OpenaiKey, .. }");
}

proptest! {
    #[test]
    fn how_an_answer_is_cut_changes_nothing(form in 0..15_usize, cuts in prop::collection::vec(0..600_usize, 0..6)) {
        let form = forms().swap_remove(form);
        let text = format!("before {form} after");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> =
            cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
        prop_assert!(heard(&pieces).is_some());
    }

    #[test]
    fn a_text_read_at_once_leaves_what_its_bytes_leave_one_by_one(
        parts in prop::collection::vec((0..15_usize, 0..40_usize, 0..400_usize), 1..6),
        cut in 0..2000_usize,
    ) {
        // Beginnings of the key's forms with ordinary text between them, none of them whole.
        let text: String = parts.iter().fold(String::new(), |text, (form, length, filler)| {
            let form = forms().swap_remove(*form);
            let begun: String = form.chars().skip(PREFIX).take(*length).collect();
            text + &"so it is. ".repeat(filler / 10) + &begun
        });
        let (one, other) = text.as_bytes().split_at(cut.min(text.len()));
        let (mut at_once, mut one_by_one) = (echo(), echo());
        let whole = [one, other].map(|piece| at_once.read(0, "text", piece)).contains(&true);
        let single = text.as_bytes().chunks(1).any(|byte| one_by_one.read(0, "text", byte));
        prop_assert_eq!(whole, single);
        if !whole {
            let [left, right] = [&at_once, &one_by_one].map(|echo| &echo.tracks["text"]);
            prop_assert_eq!((left.at, left.unescaped), (right.at, right.unescaped));
            prop_assert_eq!(at_once.waits_from(), one_by_one.waits_from());
        }
    }
}
