//! Golden answers: what is heard, and that no chunking changes it.

use proptest::prelude::*;
use tollgate_wire::{AnswerTerms, Heard, HeardKind, Unreadable};

use super::golden::{Golden, all, written};

fn answer(name: &str) -> Golden {
    all("answers").into_iter().find(|golden| golden.name == name).expect("the golden file is there")
}

#[test]
fn every_golden_answer_is_heard_as_recorded() {
    for golden in all("answers") {
        let heard = golden.hear(&golden.body).unwrap();
        insta::assert_snapshot!(format!("answer__{}", golden.name), written(&heard));
    }
}

#[test]
fn the_bytes_of_all_events_are_the_answer() {
    for golden in all("answers") {
        let heard = golden.hear(&golden.body).unwrap();
        let bytes: Vec<u8> = heard.iter().flat_map(|event| event.bytes.to_vec()).collect();
        assert_eq!(bytes, golden.body, "{}", golden.name);
    }
}

/// Cuts far apart: between two of them lies more than an event's end and the next one's beginning.
const STRIDE: usize = 97;

#[test]
fn a_cut_at_any_byte_changes_nothing() {
    for golden in all("answers") {
        let whole = golden.hear(&golden.body).unwrap();
        for offset in 0..STRIDE.min(golden.body.len()) {
            let (first, rest) = golden.body.split_at(offset);
            let pieces = std::iter::once(first).chain(rest.chunks(STRIDE));
            assert_eq!(golden.hear_pieces(pieces).unwrap(), whole, "{} from {offset}", golden.name);
        }
        assert_eq!(
            golden.hear_pieces(golden.body.chunks(1)).unwrap(),
            whole,
            "{} byte by byte",
            golden.name
        );
    }
}

#[test]
fn line_ends_of_any_kind_mean_the_same() {
    for golden in all("answers")
        .into_iter()
        .filter(|golden| golden.extension == "sse" && !golden.name.starts_with("plain"))
    {
        let text = String::from_utf8(golden.body.clone()).unwrap();
        let meaning = |heard: Vec<Heard>| {
            heard.into_iter().map(|event| (event.pieces, event.usage)).collect::<Vec<_>>()
        };
        let expected = meaning(golden.hear(text.as_bytes()).unwrap());
        for end in ["\r\n", "\r"] {
            let other = text.replace('\n', end);
            assert_eq!(
                meaning(golden.hear(other.as_bytes()).unwrap()),
                expected,
                "{} {end:?}",
                golden.name
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_three_cuts_change_nothing(cuts in proptest::array::uniform3(any::<proptest::sample::Index>())) {
        for golden in all("answers") {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(golden.body.len() + 1)).collect();
            at.sort_unstable();
            let pieces = [&golden.body[..at[0]], &golden.body[at[0]..at[1]], &golden.body[at[1]..at[2]], &golden.body[at[2]..]];
            prop_assert_eq!(golden.hear_pieces(pieces).unwrap(), golden.hear(&golden.body).unwrap());
        }
    }

    #[test]
    fn damage_anywhere_ends_in_an_error_or_in_the_same_bytes(at in any::<proptest::sample::Index>(), byte: u8) {
        for golden in all("answers") {
            let mut damaged = golden.body.clone();
            damaged[at.index(golden.body.len())] = byte;
            if let Ok(heard) = golden.hear(&damaged) {
                let bytes: Vec<u8> = heard.iter().flat_map(|event| event.bytes.to_vec()).collect();
                prop_assert_eq!(bytes, damaged);
            }
        }
    }
}

#[test]
fn the_usage_chunk_that_the_gate_asked_for_is_taken_out_again() {
    let kinds = |name: &str, usage_added| {
        let golden = answer(name);
        let mut decoder = golden.decoder(AnswerTerms { usage_added, ..AnswerTerms::default() });
        let heard = decoder.push(&golden.body).unwrap();
        heard
            .into_iter()
            .filter(|event| event.usage.is_some())
            .map(|event| event.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds("openai-chat__stream_text.sse", true), [HeardKind::Withheld]);
    assert_eq!(kinds("openai-chat__stream_text.sse", false), [HeardKind::Content]);
    // Usage on the last chunk with content belongs to the caller.
    assert_eq!(kinds("openai-chat__stream_tools.sse", true), [HeardKind::Content]);
}

#[test]
fn an_encoded_answer_is_heard_decoded() {
    use std::io::Write;
    let golden = answer("anthropic-messages__stream.sse");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&golden.body).unwrap();
    let packed = encoder.finish().unwrap();
    let headers = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    let mut decoder = golden.answered(AnswerTerms::default(), 200, &headers).unwrap();
    let mut heard: Vec<Heard> =
        packed.chunks(7).flat_map(|piece| decoder.push(piece).unwrap()).collect();
    heard.extend(decoder.finish().unwrap());
    assert!(decoder.unpacks());
    assert_eq!(heard, golden.hear(&golden.body).unwrap());
    let headers = [("content-type", "text/event-stream"), ("content-encoding", "compress")];
    assert!(matches!(
        golden.answered(AnswerTerms::default(), 200, &headers),
        Err(Unreadable::Encoding(_))
    ));
}

#[test]
fn a_priced_answer_of_an_unexpected_type_cannot_be_followed() {
    for golden in [answer("openai-chat__plain.json"), answer("anthropic-messages__plain.json")] {
        for media in ["application/octet-stream", "text/html", "multipart/mixed", "image/png"] {
            let followed = golden.answered(AnswerTerms::default(), 200, &[("content-type", media)]);
            assert!(matches!(followed, Err(Unreadable::ContentType(_))), "{media}");
        }
        assert!(golden.answered(AnswerTerms::default(), 200, &[]).is_err(), "no type");
        // An error may be a proxy's page.
        assert!(
            golden.answered(AnswerTerms::default(), 502, &[("content-type", "text/html")]).is_ok()
        );
    }
}

#[test]
fn a_whole_answer_cut_short_or_malformed_cannot_be_followed() {
    let golden = answer("openai-chat__plain.json");
    assert!(golden.hear(&golden.body[..golden.body.len() / 2]).is_err());
    assert!(golden.hear(br#"{"a":1,"a":2}"#).is_err());
    let golden = answer("anthropic-messages__stream.sse");
    assert!(golden.hear(b"event: message_start\ndata: {\"type\":\n\n").is_err());
    assert!(
        golden.hear(b"event: ping\ndata: {\"type\":\"message_stop\"}\n\n").is_err(),
        "name and type differ"
    );
}

#[test]
fn other_types_from_elsewhere_are_counted_and_not_read() {
    let golden = answer("plain__packument.json");
    let headers = [("content-type", "application/octet-stream"), ("content-encoding", "gzip")];
    let mut decoder = golden.answered(AnswerTerms::default(), 200, &headers).unwrap();
    let heard = decoder.push(b"\x1f\x8b any bytes").unwrap();
    assert!(!decoder.unpacks());
    assert_eq!(
        (heard[0].bytes.as_ref(), heard[0].pieces.len()),
        (b"\x1f\x8b any bytes".as_slice(), 0)
    );
    let headers = [("content-type", "text/plain; charset=UTF-16LE")];
    assert!(golden.answered(AnswerTerms::default(), 200, &headers).is_err());
}

#[test]
fn a_line_without_end_is_heard_in_bounded_pieces_of_whole_characters() {
    let golden = answer("plain__packument.json");
    // An odd byte first, so that no bound falls between two characters.
    let body = format!("x{}", "é".repeat(40_000));
    let heard = golden.hear(body.as_bytes()).unwrap();
    assert!(heard.len() >= 5 && heard.iter().all(|event| event.bytes.len() <= 16 << 10));
    let text: String = heard
        .iter()
        .flat_map(|event| event.pieces.iter().map(|piece| piece.text.as_str()))
        .collect();
    assert_eq!(text, body);
}

#[test]
fn an_answer_names_its_model_where_it_counts() {
    for golden in all("answers") {
        let heard = golden.hear(&golden.body).unwrap();
        let counts = heard.iter().any(|event| event.usage.is_some());
        let named = heard.iter().find_map(|event| event.model.as_deref());
        let text = String::from_utf8_lossy(&golden.body);
        // Some compatible servers name none.
        let silent = !text.contains("\"model\"");
        let written = named.map(|name| text.contains(&format!("\"{name}\"")));
        assert!(!counts || silent || written == Some(true), "{}: {named:?}", golden.name);
    }
}
