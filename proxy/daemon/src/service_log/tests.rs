use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use tracing::subscriber::with_default;

use super::{Form, LogError, is_ours, subscriber};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::telemetry::{Opened, Sink, Telemetry};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(filter: Option<&str>, form: Form, what: impl FnOnce()) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = subscriber(filter, form, move || writer.clone()).unwrap();
    with_default(subscriber, what);
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

const CANARY: &str = "sk-proj-canary-4711";

#[test]
fn a_line_is_one_json_object() {
    let text = logged(None, Form::Json, || {
        tracing::warn!(agent = "refund-bot", "two\nlines");
        tracing::debug!("not asked for");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["agent"], "refund-bot");
    assert_eq!(line["message"], "two\nlines");
    assert!(line["timestamp"].is_string());
}

#[test]
fn people_are_shown_no_json_and_colour_only_where_it_may_be() {
    let plain = logged(None, Form::People { colour: false }, || tracing::info!("ready"));
    assert!(plain.contains("INFO") && plain.ends_with("ready\n"), "{plain}");
    assert!(!plain.contains('\u{1b}'));
    let coloured = logged(None, Form::People { colour: true }, || tracing::info!("ready"));
    assert!(coloured.contains('\u{1b}'));
}

#[test]
fn what_libraries_carry_is_never_logged_however_it_is_asked_for() {
    for filter in ["trace", "hyper=trace", "hyper::proto::h1=trace,h2=trace,info"] {
        let text = logged(Some(filter), Form::Json, || {
            tracing::trace!(target: "hyper::proto::h1::io", "read {CANARY}");
            tracing::debug!(target: "h2::codec::framed_read", "received {CANARY}");
            tracing::debug!(target: "rustls::client", "{CANARY}");
            tracing::info!(target: "hyper", "said unasked");
        });
        assert!(!text.contains(CANARY), "{filter}: {text}");
        assert!(
            text.contains("said unasked")
                || filter == "hyper::proto::h1=trace,h2=trace,info"
                || filter == "hyper=trace"
        );
    }
}

#[test]
fn our_own_packages_log_all_that_is_asked_for() {
    let text = logged(Some("trace"), Form::Json, || {
        tracing::trace!(target: "tollgate::exchange", "one");
        tracing::trace!(target: "tollgate_wire::json", "two");
        tracing::trace!(target: "tollgatekeeper", "three");
    });
    assert!(text.contains("one") && text.contains("two") && !text.contains("three"), "{text}");
    assert!(is_ours(module_path!()), "{}", module_path!());
}

#[test]
fn a_filter_that_is_none_is_refused_in_words() {
    let refused = subscriber(Some("tollgate=loud"), Form::Json, io::sink).err().unwrap();
    assert!(matches!(refused, LogError::Filter(..)), "{refused}");
    assert!(refused.to_string().contains("TOLLGATE_LOG"), "{refused}");
}

/// What this module and its neighbours do with headers, at the loudest.
#[test]
fn a_secret_in_a_header_reaches_no_line() {
    let text = logged(Some("trace"), Form::Json, || {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {CANARY}").parse().unwrap());
        headers.insert("traceparent", CANARY.parse().unwrap());
        headers.insert("tracestate", CANARY.parse().unwrap());
        let sink = Sink::new("otel", "http://127.0.0.1:9", [("x-token", CANARY)], &[]).unwrap();
        tracing::trace!(?sink, "canary test");
        Sink::new("otel", "http://10.0.0.1:9", [("x-token", CANARY)], &[]).unwrap_err();
        Sink::new("otel", "http://127.0.0.1:9", [("x y", CANARY)], &[]).unwrap_err();
        let metrics = Metrics::new().unwrap();
        let telemetry = Telemetry::start(vec![sink], &metrics, &Clock::system()).unwrap();
        let opened = Opened { received: Clock::system().now(), decision: "01JD" };
        let mut span = telemetry.spans().open(&headers, opened);
        span.send(&mut headers);
        tracing::trace!(?span, ?telemetry, "canary test");
        telemetry.stop();
    });
    assert!(text.contains("canary test"), "{text}");
    assert!(!text.contains(CANARY), "{text}");
}
