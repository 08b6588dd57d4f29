use proptest::prelude::*;

use super::{Event, Framer, MAX_EVENT};
use crate::answer::Unreadable;

fn cut(stream: &[u8], chunk: usize) -> Vec<Event> {
    let mut framer = Framer::default();
    let mut events: Vec<Event> =
        stream.chunks(chunk.max(1)).flat_map(|piece| framer.push(piece).unwrap()).collect();
    events.extend(framer.finish().unwrap());
    events
}

fn data(stream: &str) -> Vec<Option<String>> {
    cut(stream.as_bytes(), usize::MAX).into_iter().map(|event| event.data).collect()
}

#[test]
fn lines_end_in_any_way() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = "event: a|data: 1|data:2||data: 3||".replace('|', end);
        let events = cut(stream.as_bytes(), usize::MAX);
        assert_eq!(
            events.iter().map(|e| e.data.clone()).collect::<Vec<_>>(),
            [Some("1\n2".to_owned()), Some("3".to_owned())],
            "{end:?}"
        );
        assert_eq!(events[0].name.as_deref(), Some("a"));
        assert_eq!(events[1].name, None);
    }
}

#[test]
fn an_event_leaves_with_its_blank_line() {
    for end in ["\n", "\r\n", "\r"] {
        let mut framer = Framer::default();
        let stream = "data: 1||".replace('|', end);
        let events = framer.push(stream.as_bytes()).unwrap();
        assert_eq!(events.len(), 1, "{end:?}");
        assert_eq!(events[0].bytes, stream, "{end:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_field() {
    assert_eq!(
        data("\u{FEFF}data: 1\n\ndata: 2\n\n"),
        [Some("1".to_owned()), Some("2".to_owned())]
    );
    assert_eq!(data("\u{FEFF}\n\ndata: 2\n\n")[2], Some("2".to_owned()));
    assert_eq!(data("data: 1\n\n\u{FEFF}data: 2\n\n"), [Some("1".to_owned()), None]);
}

#[test]
fn comments_and_unknown_fields_are_kept_as_texts() {
    let events = cut(b": hello\nfoo: bar\nid: 7\ndata\n\n", 3);
    assert_eq!(events[0].rest, [": hello", "foo: bar", "id: 7"]);
    assert_eq!(events[0].data, Some(String::new()));
}

#[test]
fn one_space_after_the_colon_is_no_part_of_the_value() {
    assert_eq!(
        data("data:  two\n\ndata:none\n\ndata:\n\n"),
        [Some(" two".to_owned()), Some("none".to_owned()), Some(String::new())]
    );
}

#[test]
fn a_stream_without_a_final_blank_line_still_gives_its_last_event() {
    assert_eq!(data("data: 1\n\ndata: [DONE]"), [Some("1".to_owned()), Some("[DONE]".to_owned())]);
    assert_eq!(data("data: 1\n\ndata: 2\n"), [Some("1".to_owned()), Some("2".to_owned())]);
}

#[test]
fn an_event_beyond_the_bound_is_an_error() {
    let mut framer = Framer::default();
    let line = [b"data: ".as_slice(), &vec![b'x'; MAX_EVENT]].concat();
    assert_eq!(framer.push(&line), Err(Unreadable::EventTooLarge(MAX_EVENT as u64)));
}

#[test]
fn text_that_is_not_unicode_is_an_error() {
    assert!(matches!(Framer::default().push(b"data: \xFF\n\n"), Err(Unreadable::Malformed(_))));
}

proptest! {
    #[test]
    fn no_byte_is_lost_and_no_chunking_changes_an_event(
        stream in "(\u{FEFF})?([\r\n]|data: ?|: ?|event: ?|[a-c]|é){0,60}",
        chunk in 1_usize..9,
    ) {
        let whole = cut(stream.as_bytes(), usize::MAX);
        let bytes: Vec<u8> = whole.iter().flat_map(|event| event.bytes.to_vec()).collect();
        prop_assert_eq!(bytes, stream.as_bytes());
        prop_assert_eq!(&whole, &cut(stream.as_bytes(), chunk));
    }

    #[test]
    fn data_survives_framing(
        lines in proptest::collection::vec("[a-z é]{0,9}", 1..4),
        end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
    ) {
        let stream: String = lines.iter().map(|line| format!("data: {line}{end}")).chain([end.into()]).collect();
        prop_assert_eq!(data(&stream), vec![Some(lines.join("\n"))]);
    }
}
