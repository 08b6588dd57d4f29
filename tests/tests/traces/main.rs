//! What `tollgate serve` tells of its traffic: traces, metrics and log lines, with a real collector.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests and their helpers"
)]

mod stand;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use stand::{Collector, Serve, tool, until};

const WHOLE: &str = "11111111111111111111111111111111";
const STREAMED: &str = "22222222222222222222222222222222";
const REFUSED: &str = "33333333333333333333333333333333";
const CALLER: &str = "00f067aa0ba902b7";

fn parent(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|pair| pair["key"] == key);
    &found.unwrap_or_else(|| panic!("no {key} in {of}"))["value"]
}

/// The gate's own span in a trace, and that of its call to the provider.
fn spans_of(collector: &Collector, trace: &str, count: usize) -> (Value, Option<Value>) {
    let spans = until(&format!("{count} spans of {trace}"), || {
        let all = collector.spans().into_iter().filter(|span| span["traceId"] == trace);
        let all: Vec<Value> = all.collect();
        (all.len() == count).then_some(all)
    });
    let of = |parent: &Value| spans.iter().find(|span| span["parentSpanId"] == *parent).cloned();
    let server = of(&Value::from(CALLER)).unwrap_or_else(|| panic!("{spans:?}"));
    let client = of(&server["spanId"]);
    (server, client)
}

fn is_a_chat(span: &Value) {
    assert_eq!(span["name"], "chat gpt-5-mini");
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-5-mini"),
        ("gen_ai.response.model", "gpt-5-mini"),
        ("server.address", "api.openai.com"),
        ("tollgate.intake", "gateway"),
        ("tollgate.outcome", "answered"),
        ("tollgate.agent", "bot"),
        ("tollgate.provider_request_id", "req_7d1f0c9e5b2a4c8e9f3a6b0d"),
    ] {
        assert_eq!(attribute(span, key)["stringValue"], value, "{key}");
    }
    for tokens in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
        assert!(attribute(span, tokens)["intValue"] != "0", "{tokens} in {span}");
    }
}

#[test]
fn a_caller_s_trace_goes_on_at_the_gate_at_the_provider_and_in_the_ledger() {
    let Some(otelcol) = tool("otelcol", "traces of a service at a collector") else { return };
    let collector = Collector::start(&otelcol);
    let serve = Serve::start(&format!("http://127.0.0.1:{}", collector.port), "info");
    let traced = |trace| [("traceparent", parent(trace))];
    let ask = |model: &str, trace, stream| {
        let [(name, value)] = traced(trace);
        serve.chat(model, "how are you", stream, &[(name, &value)])
    };
    assert_eq!(ask("gpt-5-mini", WHOLE, false).status(), "200");
    let streamed = ask("gpt-5-mini", STREAMED, true);
    assert!(streamed.body.contains("[DONE]"), "{streamed:?}");
    let refused = ask("gpt-5", REFUSED, false);
    assert_eq!(refused.header("x-tollgate-rule"), "filtering/model_scope", "{refused:?}");
    assert_eq!(serve.chat("gpt-5-mini", "untraced", false, &[]).status(), "200");

    for trace in [WHOLE, STREAMED] {
        let (server, client) = spans_of(&collector, trace, 2);
        is_a_chat(&server);
        let ours = client.unwrap_or_else(|| panic!("no call in {server}"))["spanId"].clone();
        let sent = format!("00-{trace}-{}-01", ours.as_str().unwrap());
        let records = serve.provider.log().records();
        assert!(records.iter().any(|record| record.header("traceparent") == Some(&sent)), "{sent}");
    }
    for gate in collector.resources() {
        assert_eq!(attribute(&gate, "service.name")["stringValue"], "tollgate");
    }
    let untraced = serve.provider.log().records().into_iter().next_back().unwrap();
    assert_eq!(untraced.header("traceparent"), None, "nobody asked for a trace");
    let (server, client) = spans_of(&collector, REFUSED, 1);
    assert_eq!(client, None, "nothing left the gate");
    assert_eq!(attribute(&server, "error.type")["stringValue"], "filtering/model_scope");
    assert_eq!(attribute(&server, "tollgate.outcome")["stringValue"], "refused");
    let decision = attribute(&server, "tollgate.decision")["stringValue"].as_str().unwrap();
    assert_eq!(refused.header("x-tollgate-decision"), decision);

    let found: Value =
        serde_json::from_str(&serve.tollgate(&["inspect", REFUSED, "--json"])).unwrap();
    assert_eq!(found["decided"]["trace"], REFUSED, "{found}");
    assert_eq!(found["decided"]["id"], decision);
    let listed = serve.tollgate(&["tail", "--json"]);
    let line =
        listed.lines().find(|line| line.contains(decision)).unwrap_or_else(|| panic!("{listed}"));
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["trace"], REFUSED, "{line}");
}

/// What `/metrics` counts under this name and these labels.
fn counted(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {metrics}")).parse().unwrap()
}

#[test]
fn traffic_shows_in_the_metrics_and_every_alert_has_its_own() {
    let Some(otelcol) = tool("otelcol", "metrics of a service at a collector") else { return };
    let collector = Collector::start(&otelcol);
    let serve = Serve::start(&format!("http://127.0.0.1:{}", collector.port), "info");
    assert_eq!(serve.chat("gpt-5-mini", "how are you", false, &[]).status(), "200");
    assert_eq!(serve.chat("gpt-5-mini", "how are you", true, &[]).status(), "200");
    assert_eq!(serve.chat("gpt-5", "how are you", false, &[]).status(), "403");

    let series =
        "tollgate_requests_total{intake=\"gateway\",outcome=\"answered\",provider=\"openai\"}";
    // A stream is over when its end was written, which its reader need not wait for.
    until("both answers are counted", || (counted(&serve.metrics(), series) >= 2.0).then_some(()));
    let metrics = serve.metrics();
    for (series, count) in [
        (
            "tollgate_requests_total{intake=\"gateway\",outcome=\"refused\",provider=\"openai\"}",
            1.0,
        ),
        ("tollgate_agent_requests_total{agent=\"bot\",outcome=\"answered\"}", 2.0),
        ("tollgate_request_duration_seconds_count{provider=\"openai\"}", 3.0),
        ("tollgate_added_latency_seconds_count{step=\"judge\"}", 3.0),
        ("tollgate_added_latency_seconds_count{step=\"record\"}", 3.0),
        ("tollgate_added_latency_seconds_count{step=\"send\"}", 2.0),
        ("tollgate_connections_total{intake=\"proxy\"}", 3.0),
        ("tollgate_connections_open{intake=\"proxy\"}", 0.0),
        ("tollgate_streams_open", 0.0),
        ("tollgate_exchanges_waiting", 0.0),
        ("tollgate_held_bytes", 0.0),
        ("tollgate_policy_current", 1.0),
        ("tollgate_policy_reloads_total{result=\"ok\"}", 1.0),
        ("tollgate_attached_workloads{mode=\"advisory\"}", 0.0),
        ("tollgate_draining", 0.0),
        ("tollgate_ready", 1.0),
    ] {
        until(&format!("{series} is {count}: {metrics}"), || {
            (counted(&serve.metrics(), series).total_cmp(&count).is_eq()).then_some(())
        });
    }
    let spent = counted(&metrics, "tollgate_agent_spent_microdollars_total{agent=\"bot\"}");
    assert!(spent > 0.0, "{metrics}");
    until("metrics at the collector", || {
        let arrived = collector.metrics();
        let there = |name: &str| arrived.iter().any(|metric| metric["name"] == name);
        let names = [
            "gen_ai.client.operation.duration",
            "gen_ai.client.token.usage",
            "gen_ai.client.operation.time_to_first_chunk",
            "tollgate_requests_total",
            "tollgate_added_latency_seconds",
            "process_resident_memory_bytes",
        ];
        names.into_iter().all(there).then_some(())
    });
    let known = named(&metrics);
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    // A counter of spans has a series once a span was sent or dropped, which takes a second.
    let unknown: Vec<_> = named(alerts).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    checked(&metrics);
}

/// Words that look like a metric's name.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| ["tollgate_", "process_"].iter().any(|of| word.starts_with(of))).collect()
}

/// `promtool` has nothing to say against it.
fn checked(metrics: &str) {
    let Some(promtool) = tool("promtool", "promtool check metrics") else { return };
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let said = check.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

#[test]
fn a_collector_that_never_answers_slows_nobody_and_what_it_misses_is_counted() {
    // It takes connections into its backlog, and reads nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let down = stand::port();
    for (sink, drops) in [(silent.local_addr().unwrap().port(), false), (down, true)] {
        let serve = Serve::start(&format!("http://127.0.0.1:{sink}"), "info");
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(serve.chat("gpt-5-mini", "how are you", false, &[]).status(), "200");
        }
        // One that waited for its span would take the exporter's ten seconds.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        if drops {
            let series = "tollgate_telemetry_spans_total{result=\"dropped\",sink=\"c\"}";
            until("all are counted as dropped", || {
                (counted(&serve.metrics(), series) >= 20.0).then_some(())
            });
        }
    }
}

#[test]
fn no_line_of_the_log_holds_what_was_said_or_a_key_and_each_names_its_decision() {
    let serve = Serve::start(&format!("http://127.0.0.1:{}", stand::port()), "trace");
    let (said, header) = ("CANARY-of-a-body-81f3", ("x-canary", "CANARY-of-a-header-5b7c"));
    let secret = "AKIAQX3CANARY7LMN2PZ";
    assert_eq!(serve.chat("gpt-5-mini", said, false, &[header]).status(), "200");
    assert_eq!(serve.chat("gpt-5-mini", said, true, &[header]).status(), "200");
    let refused = serve.chat("gpt-5-mini", &format!("{said} {secret}"), false, &[header]);
    let of_another = serve.chat("gpt-5", said, false, &[header]);
    let decisions = [&refused, &of_another].map(|answer| answer.header("x-tollgate-decision"));
    let line_of = |decision: &str| {
        let log = serve.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| {
            line["span"]["decision"] == decision && line["message"] == "the exchange is over"
        })
    };
    for decision in decisions.into_iter().filter(|decision| !decision.is_empty()) {
        let line = until(&format!("a line of {decision}"), || line_of(decision));
        assert_eq!(line["level"], "DEBUG", "{line}");
    }
    assert!(!of_another.header("x-tollgate-decision").is_empty(), "{of_another:?}");
    let log = serve.log();
    assert!(log.contains("\"level\":\"DEBUG\""), "it says little: {log}");
    let real = &serve.provider.keys().openai;
    for canary in [said, header.1, secret, serve.key.as_str(), real.as_str(), "how are you"] {
        assert!(!log.contains(canary), "{canary} is in the log");
    }
}
