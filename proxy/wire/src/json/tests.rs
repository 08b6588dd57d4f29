use decide::case::EnvelopeFault as Fault;
use proptest::prelude::*;

use super::{Document, Kind, MAX_NODES};

fn fault(body: &[u8]) -> Option<Fault> {
    Document::parse(body).err()
}

/// Bodies that two parsers in use read differently, each with the fault that refuses it.
fn ambiguities() -> Vec<(&'static [u8], Fault)> {
    let key = |name: &str| Fault::DuplicateKey(name.into());
    vec![
        (br#"{"model":"a","model":"b"}"#, key("model")),
        (br#"{"model":"a","mod\u0065l":"b"}"#, key("model")),
        (br#"{"\u006d\u006F\u0064el":"a","model":"b"}"#, key("model")),
        (br#"{"a":{"b":1,"b":1}}"#, key("b")),
        (br#"[[{"x":[{"k":0,"k":1}]}]]"#, key("k")),
        (br#"{"":1,"":2}"#, key("")),
        (br#"{"\/":1,"/":2}"#, key("/")),
        (r#"{"😀":1,"\ud83d\ude00":2}"#.as_bytes(), key("😀")),
        (b"\xEF\xBB\xBF{}", Fault::NotJson(0)),
        (b"\xFF\xFE{\0}\0", Fault::NotUnicode(0)),
        (b"", Fault::NotJson(0)),
        (b"  ", Fault::NotJson(2)),
        (b"{}\0", Fault::NotJson(2)),
        (b"\0{}", Fault::NotJson(0)),
        (b"{} {}", Fault::NotJson(3)),
        (b"{}]", Fault::NotJson(2)),
        (b"[1,]", Fault::NotJson(3)),
        (b"[,1]", Fault::NotJson(1)),
        (br#"{"a":1,}"#, Fault::NotJson(7)),
        (br#"{"a" 1}"#, Fault::NotJson(5)),
        (b"{a:1}", Fault::NotJson(1)),
        (b"{'a':1}", Fault::NotJson(1)),
        (b"[NaN]", Fault::NotJson(1)),
        (b"[Infinity]", Fault::NotJson(1)),
        (b"[-Infinity]", Fault::NotJson(2)),
        (b"[1e999]", Fault::NotJson(1)),
        (b"[01]", Fault::NotJson(2)),
        (b"[-01]", Fault::NotJson(3)),
        (b"[+1]", Fault::NotJson(1)),
        (b"[.5]", Fault::NotJson(1)),
        (b"[5.]", Fault::NotJson(3)),
        (b"[1e]", Fault::NotJson(3)),
        (b"[0x10]", Fault::NotJson(2)),
        (b"[1_000]", Fault::NotJson(2)),
        (b"[1] // x", Fault::NotJson(4)),
        (b"/* x */[1]", Fault::NotJson(0)),
        (b"[1 # x\n]", Fault::NotJson(3)),
        (b"[tru]", Fault::NotJson(4)),
        (b"[True]", Fault::NotJson(1)),
        (b"[undefined]", Fault::NotJson(1)),
        (br#"["\ud800"]"#, Fault::NotUnicode(2)),
        (br#"["\udc00\ud800"]"#, Fault::NotUnicode(2)),
        (br#"["\ud800\u0041"]"#, Fault::NotUnicode(2)),
        (br#"["\u12G4"]"#, Fault::NotJson(2)),
        (br#"["\x41"]"#, Fault::NotJson(2)),
        (br#"["\a"]"#, Fault::NotJson(2)),
        (b"[\"a\nb\"]", Fault::NotJson(3)),
        (b"[\"a\0b\"]", Fault::NotJson(3)),
        (b"[\"\xC0\xAF\"]", Fault::NotUnicode(2)),
        (b"[\"\xED\xA0\x80\"]", Fault::NotUnicode(2)),
        (b"[\"\xF4\x90\x80\x80\"]", Fault::NotUnicode(2)),
        (b"[\"\xE2\x82\"]", Fault::NotUnicode(2)),
        (br#"{"a\u0000b":1}"#, Fault::NotJson(1)),
        (b"\x0B[1]", Fault::NotJson(0)),
        (b"\xC2\xA0[1]", Fault::NotJson(0)),
        (b"[\"abc", Fault::NotJson(5)),
    ]
}

#[test]
fn what_two_parsers_read_differently_is_refused_with_its_place() {
    for (body, expected) in ambiguities() {
        assert_eq!(fault(body), Some(expected), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn depth_ends_at_128_levels() {
    let nested = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
    assert_eq!(fault(&nested(128)), None);
    assert_eq!(fault(&nested(129)), Some(Fault::TooDeep(128)));
    assert_eq!(fault(&b"{\"a\":".repeat(100_000)), Some(Fault::TooDeep(128)));
}

#[test]
fn a_body_of_nothing_but_values_is_bounded_and_numbers_cost_nothing() {
    let many =
        |value: &str| format!("[{}{value}]", format!("{value},").repeat(MAX_NODES)).into_bytes();
    assert!(matches!(fault(&many("{}")), Some(Fault::Bomb(_))));
    assert_eq!(fault(&many("0")), None);
}

#[test]
fn numbers_are_read_only_where_every_parser_agrees() {
    let number = |written: &str| {
        let body = format!("{{\"n\":{written}}}");
        Document::parse(body.as_bytes())
            .ok()
            .and_then(|document| document.root().get("n")?.as_u64())
    };
    assert_eq!(number("0"), Some(0));
    assert_eq!(number("9007199254740992"), Some(1 << 53));
    for unclear in
        ["9007199254740993", "1e3", "16.0", "-1", "-0", "18446744073709551616", "\"16\"", "true"]
    {
        assert_eq!(number(unclear), None, "{unclear}");
    }
}

#[test]
fn a_secret_as_a_key_is_not_shown() {
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let body = format!("{{\"{secret}\":1,\"{secret}\":2}}");
    let Some(Fault::DuplicateKey(shown)) = fault(body.as_bytes()) else { panic!("not refused") };
    assert!(!shown.contains(&secret), "{shown}");
}

#[test]
fn members_are_found_by_what_their_key_means_and_spans_are_exact() {
    let body = br#" { "a" : [ 1 , "x\n" , {} ] , "\u0062": true, "c":null } "#;
    let document = Document::parse(body).unwrap();
    let root = document.root();
    assert_eq!(root.get("b").unwrap().as_bool(), Some(true));
    assert!(root.given("c").is_none() && root.get("c").is_some());
    let items: Vec<_> = root.get("a").unwrap().items().collect();
    assert_eq!(
        items.iter().map(super::Value::kind).collect::<Vec<_>>(),
        [Kind::Number, Kind::String, Kind::Object]
    );
    assert_eq!(&body[items[1].span()], br#""x\n""#);
    assert_eq!(items[1].as_str().unwrap(), "x\n");
    assert_eq!(&body[root.get("a").unwrap().span()], br#"[ 1 , "x\n" , {} ]"#);
}

#[test]
fn a_place_in_the_text_is_found_again_in_the_source() {
    let unescaped = super::escape::unescape(r"a\n\u0041\ud83d\ude00z\q");
    assert_eq!(unescaped.text, "a\nA😀z\\q");
    assert_eq!(unescaped.locate(&(1..2)), 1..3);
    assert_eq!(unescaped.locate(&(2..3)), 3..9);
    assert_eq!(unescaped.locate(&(3..7)), 9..21);
    assert_eq!(unescaped.locate(&(7..10)), 21..24);
}

proptest! {
    #[test]
    fn what_is_accepted_means_the_same_to_another_parser(body in "[\\[\\]{}:,\"a-c\\\\nu0-9eE.+-]{0,24}") {
        if let Ok(document) = Document::parse(body.as_bytes()) {
            let other: serde_json::Value = serde_json::from_str(&body).unwrap();
            let read = document.root().as_str();
            prop_assert_eq!(read.as_deref(), other.as_str());
            prop_assert_eq!(document.root().members().count(), other.as_object().map_or(0, serde_json::Map::len));
        }
    }

    #[test]
    fn every_string_survives_writing_and_reading(text in any::<String>(), key in "[a-z]{1,5}") {
        let body = serde_json::json!({ key.clone(): text.clone() }).to_string();
        let document = Document::parse(body.as_bytes()).unwrap();
        let read = document.root().get(&key).unwrap();
        prop_assert_eq!(read.as_str().unwrap(), text);
    }
}
