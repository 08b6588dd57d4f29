use decide::scan::SecretClass;
use http::Request;
use http::request::Parts;
use proptest::prelude::*;

use super::{Scanned, redactions, scan_request};
use crate::json::Document;
use crate::place::{Form, Place};
use crate::splice;

fn secret() -> String {
    format!("ghp_{}", "a1B2".repeat(9))
}

fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn scan(body: &str) -> Scanned {
    let document = Document::parse(body.as_bytes()).ok();
    scan_request(&parts("/", &[]), &[], document.as_ref(), body.as_bytes())
}

fn count(scanned: &Scanned) -> u32 {
    scanned.findings.secrets.values().sum()
}

fn redacted(body: &str) -> String {
    String::from_utf8(splice(body.as_bytes(), &redactions(&scan(body)))).unwrap()
}

#[test]
fn a_secret_in_any_string_is_replaced_in_place() {
    let body = format!(r#"{{ "a" : [ "x {} y", 1 ],"b":"c" }}"#, secret());
    assert_eq!(redacted(&body), r#"{ "a" : [ "x [github_token] y", 1 ],"b":"c" }"#);
}

#[test]
fn escapes_hide_nothing_and_are_replaced_whole() {
    let hidden = secret().chars().fold(String::new(), |out, c| format!("{out}\\u{:04x}", c as u32));
    assert_eq!(redacted(&format!(r#"["\t{hidden}\n"]"#)), r#"["\t[github_token]\n"]"#);
}

#[test]
fn json_inside_a_string_is_read_one_level_deeper() {
    let inner = serde_json::json!({ "cmd": format!("echo\n{}\n", secret()) }).to_string();
    let body = serde_json::json!({ "arguments": inner }).to_string();
    let scanned = scan(&body);
    assert_eq!(count(&scanned), 1);
    assert!(scanned.findings.replaceable);
    let outer: serde_json::Value = serde_json::from_str(&redacted(&body)).unwrap();
    let inner: serde_json::Value =
        serde_json::from_str(outer["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(inner["cmd"], "echo\n[github_token]\n");
}

#[test]
fn escapes_of_the_inner_json_hide_nothing_either() {
    let hidden = secret().replace("ghp", r"\u0067\u0068p");
    let body = serde_json::json!({ "arguments": format!(r#"{{"k":"{hidden}"}}"#) }).to_string();
    assert_eq!(redacted(&body), r#"{"arguments":"{\"k\":\"[github_token]\"}"}"#);
}

#[test]
fn a_secret_as_a_key_is_found_and_cannot_be_replaced() {
    let scanned = scan(&format!(r#"{{"{}":1}}"#, secret()));
    assert_eq!(count(&scanned), 1);
    assert!(!scanned.findings.replaceable && scanned.splices.is_empty());
}

#[test]
fn path_query_and_headers_are_scanned_and_cannot_be_replaced() {
    let escaped = secret().replace('_', "%5F");
    for head in [
        parts(&format!("/a/{}", secret()), &[]),
        parts(&format!("/a/{escaped}"), &[]),
        parts(&format!("/?q={escaped}"), &[]),
        parts(&format!("/?{}", secret()), &[]),
        parts("/", &[("x-note", &secret())]),
    ] {
        let scanned = scan_request(&head, &[], None, b"");
        assert_eq!(
            scanned.findings.secrets.get(&SecretClass::GithubToken),
            Some(&1),
            "{:?}",
            head.uri.path().len()
        );
        assert!(!scanned.findings.replaceable);
    }
}

#[test]
fn a_place_that_authenticates_is_left_to_the_rule_that_judges_it() {
    let places = [Place::credential("x-api-key", Form::Raw), Place::query("key")];
    let head = parts(&format!("/?KEY={}", secret()), &[("x-api-key", &secret())]);
    assert_eq!(count(&scan_request(&head, &places, None, b"")), 0);
}

#[test]
fn a_body_that_is_no_json_is_scanned_too() {
    let text = format!("token={}\n", secret());
    let scanned = scan(&text);
    assert!(scanned.findings.replaceable);
    assert_eq!(redacted(&text), "token=[github_token]\n");
    let bytes = [b"\xFF ", text.as_bytes()].concat();
    let scanned = scan_request(&parts("/", &[]), &[], None, &bytes);
    assert_eq!((count(&scanned), scanned.findings.replaceable), (1, false));
}

#[test]
fn media_in_base64_is_no_text() {
    let google = format!("AIza{}", "0".repeat(35));
    let media = |length: usize| format!("{}/{google}/{}", "iVBOR".repeat(length), "A".repeat(100));
    for text in [media(1000), format!("data:image/png;base64,{}", media(1000))] {
        assert_eq!(count(&scan(&serde_json::json!([text]).to_string())), 0);
    }
    for text in [media(10), format!("{} and words", media(1000)), format!("x-{}", media(1000))] {
        assert_eq!(count(&scan(&serde_json::json!([text]).to_string())), 1);
    }
}

#[test]
fn nothing_found_is_replaceable_and_empty() {
    let scanned = scan(r#"{"a":"b"}"#);
    assert!(scanned.findings.replaceable && scanned.findings.secrets.is_empty());
}

proptest! {
    #[test]
    fn a_redacted_body_is_valid_and_holds_no_secret(before in any::<String>(), after in any::<String>(), twice: bool) {
        let mut leaf = format!("{before} {} {after}", secret());
        if twice {
            leaf = serde_json::json!([leaf]).to_string();
        }
        let body = serde_json::json!({ "leaf": leaf, "other": [1, null] }).to_string();
        let clean = redacted(&body);
        prop_assert!(Document::parse(clean.as_bytes()).is_ok());
        prop_assert!(!clean.contains(&secret()));
        prop_assert_eq!(count(&scan(&clean)), 0);
    }
}
