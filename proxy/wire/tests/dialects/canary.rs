//! A secret in any string of any golden file is found.

use decide::scan::AnswerScanner;
use http::Request;
use serde_json::Value;
use tollgate_wire::json::Document;
use tollgate_wire::{Heard, redactions, scan_request, splice};

use super::golden::{Golden, all, head};

fn canary() -> String {
    format!("ghp_{}", "Zz19".repeat(9))
}

/// Keys whose strings the providers document as opaque.
const OPAQUE: [&str; 7] = [
    "signature",
    "encrypted_content",
    "obfuscation",
    "b64_json",
    "partial_image_b64",
    "embedding",
    "redacted_thinking/data",
];

fn is_opaque(pointer: &str, root: &Value) -> bool {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let kind = root.pointer(parent).and_then(|holder| holder["type"].as_str()).unwrap_or_default();
    let key = pointer.rsplit('/').find(|key| key.parse::<usize>().is_err()).unwrap_or_default();
    OPAQUE.contains(&key) || OPAQUE.contains(&format!("{kind}/{key}").as_str())
}

/// The JSON pointer of every string, and of every object.
fn pointers(value: &Value, at: &str, strings: &mut Vec<String>, objects: &mut Vec<String>) {
    match value {
        Value::String(_) => strings.push(at.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), strings, objects);
            }
        }
        Value::Object(members) => {
            objects.push(at.to_owned());
            for (key, member) in members {
                pointers(member, &format!("{at}/{key}"), strings, objects);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Every way to put the canary into one JSON text: in place of a string, at its end, as a key.
fn poisoned(text: &str) -> Vec<String> {
    let root: Value = serde_json::from_str(text).unwrap();
    let (mut strings, mut objects) = (Vec::new(), Vec::new());
    pointers(&root, "", &mut strings, &mut objects);
    strings.retain(|pointer| !is_opaque(pointer, &root));
    let mut out = Vec::new();
    for pointer in strings {
        let mut with = root.clone();
        let old = with.pointer(&pointer).unwrap().as_str().unwrap().to_owned();
        for new in [canary(), format!("{old} {}", canary()), format!("{}\n{}", canary(), old)] {
            *with.pointer_mut(&pointer).unwrap() = new.into();
            out.push(with.to_string());
        }
    }
    for pointer in objects {
        let mut with = root.clone();
        with.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().insert(canary(), 1.into());
        out.push(with.to_string());
    }
    out
}

fn found(heard: &[Heard]) -> bool {
    let mut scanner = AnswerScanner::default();
    let mut classes = Vec::new();
    for (number, event) in (0..).zip(heard) {
        for piece in &event.pieces {
            let push =
                if piece.escaped { AnswerScanner::push_escaped } else { AnswerScanner::push };
            classes.extend(push(&mut scanner, number, &piece.track, &piece.text).unwrap().found);
        }
    }
    !classes.is_empty()
}

/// The canary is found, or the answer cannot be followed at all.
fn caught(golden: &Golden, body: &[u8]) -> bool {
    golden.hear(body).map_or(true, |heard| found(&heard))
}

#[test]
fn no_golden_answer_is_taken_for_a_secret() {
    for golden in all("answers") {
        assert!(!found(&golden.hear(&golden.body).unwrap()), "{}", golden.name);
    }
}

#[test]
fn a_canary_in_every_leaf_of_every_whole_answer_is_found() {
    for golden in all("answers").iter().filter(|golden| golden.extension == "json") {
        for body in poisoned(&String::from_utf8_lossy(&golden.body)) {
            assert!(caught(golden, body.as_bytes()), "{} {body}", golden.name);
        }
    }
}

#[test]
fn a_canary_in_every_leaf_of_every_event_is_found() {
    let mut tried = 0;
    for golden in all("answers").iter().filter(|golden| golden.extension == "sse") {
        let text = String::from_utf8(golden.body.clone()).unwrap();
        for line in text.lines().filter(|line| line.starts_with("data: {")) {
            for data in poisoned(&line[6..]) {
                tried += 1;
                let body = text.replacen(line, &format!("data: {data}"), 1);
                assert!(caught(golden, body.as_bytes()), "{} {data}", golden.name);
            }
        }
        for extra in [
            format!(": {}\n\n", canary()),
            format!("note: {}\n\n", canary()),
            format!("id: {}\n\n", canary()),
        ] {
            assert!(caught(golden, format!("{extra}{text}").as_bytes()), "{} {extra}", golden.name);
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn a_canary_over_two_fragments_is_found_wherever_it_is_cut() {
    let mut tried = Vec::new();
    for golden in all("answers")
        .iter()
        .filter(|golden| golden.extension == "sse" && !golden.name.starts_with("plain"))
    {
        let text = String::from_utf8(golden.body.clone()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("data: {")).collect();
        for pair in lines.windows(2) {
            let (one, other): (Value, Value) = (json(pair[0]), json(pair[1]));
            let (mut strings, mut objects) = (Vec::new(), Vec::new());
            pointers(&other, "", &mut strings, &mut objects);
            for pointer in strings.iter().filter(|pointer| runs_on(pointer, &one, &other)) {
                tried.push(pointer.clone());
                for cut in 1..canary().len() {
                    let first = with(&one, pointer, &format!(" {}", &canary()[..cut]));
                    let second = with(&other, pointer, &canary()[cut..]);
                    let body = text.replacen(pair[0], &first, 1).replacen(pair[1], &second, 1);
                    assert!(
                        caught(golden, body.as_bytes()),
                        "{} {pointer} cut at {cut}",
                        golden.name
                    );
                }
            }
        }
    }
    tried.sort();
    tried.dedup();
    assert!(tried.len() >= 9, "{tried:?}");
}

fn json(line: &str) -> Value {
    serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()
}

fn with(root: &Value, pointer: &str, text: &str) -> String {
    let mut root = root.clone();
    *root.pointer_mut(pointer).unwrap() = text.into();
    format!("data: {root}")
}

/// Both events add to the same text there.
fn runs_on(pointer: &str, one: &Value, other: &Value) -> bool {
    const WHOLE: [&str; 12] = [
        "id",
        "item_id",
        "object",
        "model",
        "type",
        "role",
        "finish_reason",
        "name",
        "system_fingerprint",
        "service_tier",
        "note_id",
        "token",
    ];
    let key = pointer.rsplit('/').next().unwrap();
    let place = |root: &Value| {
        let call = pointer
            .split("/function/")
            .next()
            .and_then(|call| root.pointer(call))
            .map(|call| call["index"].clone());
        (
            root["index"].clone(),
            root["output_index"].clone(),
            root["type"].clone(),
            root["choices"][0]["index"].clone(),
            call,
        )
    };
    !WHOLE.contains(&key)
        && pointer.contains("delta")
        && !is_opaque(pointer, other)
        && one.pointer(pointer).is_some_and(Value::is_string)
        && place(one) == place(other)
}

#[test]
fn a_canary_in_every_leaf_of_every_request_is_found_and_can_be_taken_out() {
    for golden in all("requests").iter().filter(|golden| golden.extension == "json") {
        for body in poisoned_request(&String::from_utf8_lossy(&golden.body)) {
            let document = Document::parse(body.as_bytes()).unwrap();
            let scanned = scan_request(
                &head(golden.target),
                golden.dialect.places(),
                Some(&document),
                body.as_bytes(),
            );
            assert_eq!(scanned.findings.secrets.values().sum::<u32>(), 1, "{} {body}", golden.name);
            if scanned.findings.replaceable {
                let clean =
                    String::from_utf8(splice(body.as_bytes(), &redactions(&scanned))).unwrap();
                assert!(!clean.contains(&canary()), "{clean}");
                serde_json::from_str::<Value>(&clean).unwrap();
            } else {
                assert!(
                    body.contains(&format!("\"{}\":1", canary())),
                    "only a key cannot be replaced: {body}"
                );
            }
        }
    }
}

/// No string of a request is opaque.
fn poisoned_request(text: &str) -> Vec<String> {
    let root: Value = serde_json::from_str(text).unwrap();
    let (mut strings, mut objects) = (Vec::new(), Vec::new());
    pointers(&root, "", &mut strings, &mut objects);
    let mut out: Vec<String> =
        strings.iter().map(|pointer| with(&root, pointer, &canary())[6..].to_owned()).collect();
    out.extend(
        poisoned(text).into_iter().filter(|body| body.contains(&format!("\"{}\":1", canary()))),
    );
    out
}

#[test]
fn a_canary_in_path_query_and_every_header_is_found() {
    for golden in all("requests") {
        let (path, _) = golden.target.split_once('?').unwrap_or((golden.target, ""));
        let accounts = [
            "openai-organization",
            "anthropic-workspace-id",
            "x-tollgate-run",
            "user-agent",
            "accept",
        ];
        let mut heads = vec![
            head(&format!("{path}/{}", canary())),
            head(&format!("{path}?x={}", canary())),
            head(&format!("{path}?{}=x", canary())),
        ];
        heads.extend(accounts.map(|name| {
            Request::post(path).header(name, canary()).body(()).unwrap().into_parts().0
        }));
        for head in heads {
            let scanned = scan_request(&head, golden.dialect.places(), None, b"");
            assert_eq!(scanned.findings.secrets.values().sum::<u32>(), 1, "{:?}", head.uri);
            assert!(!scanned.findings.replaceable);
        }
    }
}
