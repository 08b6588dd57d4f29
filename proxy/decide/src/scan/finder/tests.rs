#![expect(clippy::string_slice, reason = "a wrong index is a failing test")]

use super::*;
use proptest::prelude::*;
use std::format;
use std::string::String;

fn redacted(text: &str) -> String {
    let (mut out, mut from) = (String::new(), 0);
    for found in find(text) {
        out.push_str(&text[from..found.at.start]);
        out.extend([format!("[{}]", found.class.name())]);
        from = found.at.end;
    }
    out + &text[from..]
}

#[test]
fn a_secret_is_found_to_its_end_and_the_text_around_it_stays() {
    let key = format!("sk-proj-{}", "aB3_-".repeat(30));
    let text = format!("OPENAI_API_KEY={key}\nDEBUG=1");
    assert_eq!(redacted(&text), "OPENAI_API_KEY=[openai_key]\nDEBUG=1");
}

#[test]
fn every_secret_of_an_environment_file_is_found() {
    let text = format!(
        "A=ghp_{}\nB=AKIA{}\nC=sk_live_{}\n",
        "a1".repeat(18),
        "B2C3D4E5F6G7H8I9",
        "c3".repeat(12)
    );
    assert_eq!(redacted(&text), "A=[github_token]\nB=[aws_access_key_id]\nC=[stripe_key]\n");
}

#[test]
fn a_private_key_reaches_to_its_end_line_and_what_follows_is_read_again() {
    let token = format!("ghp_{}", "a1".repeat(18));
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE+/=\nabc\n-----END RSA PRIVATE KEY-----";
    assert_eq!(redacted(&format!("{pem}\nand {token}.")), "[private_key]\nand [github_token].");
    let escaped = pem.replace('\n', "\\n");
    assert_eq!(redacted(&format!("\"{escaped}\", x")), "\"[private_key]\", x");
}

#[test]
fn a_private_key_without_an_end_line_reaches_as_far_as_its_bytes_do() {
    let text = "-----BEGIN EC PRIVATE KEY-----\nMIIE\"}";
    assert_eq!(redacted(text), "[private_key]\"}");
}

#[test]
fn two_secrets_side_by_side_are_two_findings() {
    let one = format!("AKIA{}", "B2C3D4E5F6G7H8I9");
    let found = find(&format!("{one}:{one}"));
    assert_eq!(found.iter().map(|f| f.at.clone()).collect::<Vec<_>>(), [0..20, 21..41]);
}

proptest! {
    #[test]
    fn findings_are_in_order_and_do_not_overlap_and_nothing_is_left_after_a_splice(
        texts in prop::collection::vec("([a-z =\\n]{0,4}(ghp_[a-z0-9]{36,40}|sk-proj-[a-z0-9]{24,30}|AKIA[A-Z0-9]{16})?\\n){0,2}", 0..4),
    ) {
        let text = texts.concat();
        let found = find(&text);
        for pair in found.windows(2) {
            prop_assert!(pair[0].at.end <= pair[1].at.start);
        }
        prop_assert_eq!(find(&redacted(&text)), []);
    }
}
