//! What operators look at: names of metrics, dashboard, alerts, and what arrives at a collector that nobody here wrote.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which end where something is not as it should be"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use decide::case::{MicroUsd, Timestamp};
use http::HeaderMap;
use serde_json::Value;
use tollgate::clock::Clock;
use tollgate::metrics::{Ended, Finished, Intake, Metrics, Step};
use tollgate::record::Usage;
use tollgate::telemetry::{Opened, Sink, Telemetry};

const DECISION: &str = "01JD0000000000000000000ABC";

/// A gate's metrics after one of everything.
fn used() -> Metrics {
    let metrics = Metrics::new().unwrap();
    metrics.agents.admit(["refund-bot"]);
    metrics.models.admit(["gpt-5-mini"]);
    metrics.finished(&finished());
    metrics.added(Step::Judge, Duration::from_micros(80));
    metrics.decisions.with_label_values(&["refuse", "destination"]).inc();
    metrics.cuts.with_label_values(&["secrets"]).inc();
    metrics.observed.with_label_values(&["destination"]).inc();
    metrics.tokens.with_label_values(&["input"]).inc();
    metrics.standing.policy_loaded(Timestamp(1_700_000_000_000_000));
    metrics.standing.attached.with_label_values(&["advisory"]).set(1);
    metrics.telemetry.spans.with_label_values(&["otel", "sent"]).inc();
    metrics.telemetry.batches.with_label_values(&["otel", "traces", "ok"]).inc();
    metrics
}

fn finished() -> Finished<'static> {
    Finished {
        ended: Ended::Answered,
        rule: None,
        intake: Intake::Gateway,
        agent: "refund-bot",
        dialect: "openai",
        operation: "chat_completions",
        host: "api.openai.com",
        port: 443,
        model: Some("gpt-5-mini"),
        answered_by: Some("gpt-5-mini-2026-05-01"),
        status: Some(200),
        provider_id: Some("req_1"),
        usage: Some(Usage { input: 10, output: 7, ..Usage::default() }),
        spent: MicroUsd(41),
        streamed: true,
        first_byte_us: Some(20_000),
        took_us: 1_500_000,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// A tool that `cargo xtask setup` built. Without it the test says, past the harness, that it did not run.
fn tool(name: &str, checks: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("TOLLGATE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/tollgate"),
        PathBuf::from,
    );
    let tool = cache.join("parts").join(name).join(name);
    if tool.is_file() {
        return Some(tool);
    }
    let line = format!("NOT RUN: {checks}: {} is not there (cargo xtask setup)\n", tool.display());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

/// Words that look like a metric's name.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| {
            ["tollgate_", "gen_ai_client", "process_"].iter().any(|of| word.starts_with(of))
        })
        .collect()
}

#[test]
fn every_metric_of_dashboard_and_alerts_is_one_that_the_gate_renders() {
    let rendered = used().render().unwrap();
    let known = named(&rendered);
    for path in ["deploy/grafana/tollgate.json", "deploy/prometheus/alerts.yaml"] {
        let text = text(path);
        let asked = named(&text);
        assert!(asked.len() > 10, "{path}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let dashboard = text("deploy/grafana/tollgate.json");
    let rendered = used().render().unwrap();
    let families = rendered.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let ours = families.filter_map(|line| line.split(' ').next());
    // Read by alerts only, or the second form of what is shown.
    let others = ["tollgate_draining", "gen_ai_client_token_usage"];
    let missing: Vec<&str> = ours
        .filter(|name| name.starts_with("tollgate_") || name.starts_with("gen_ai_"))
        .filter(|name| !dashboard.contains(name) && !others.contains(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_alert_is_fired_by_a_test_and_has_a_paragraph_to_follow() {
    let (alerts, tests) =
        (text("deploy/prometheus/alerts.yaml"), text("deploy/prometheus/alerts.test.yaml"));
    let operating = text("docs/operating.md");
    let names: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("  - name: {name}\n")), "{name} is not fired");
        assert!(operating.contains(&format!("\n### {name}\n")), "{name} has no paragraph");
        let runbook = format!("runbook: docs/operating.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&runbook), "{name} does not say where");
    }
}

#[test]
fn the_names_keep_the_conventions_of_prometheus() {
    let Some(promtool) = tool("promtool", "promtool check metrics") else { return };
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let rendered = used().render().unwrap();
    check.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
    let said = check.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

#[test]
fn the_alert_rules_are_sound_and_fire_when_they_should() {
    let Some(promtool) = tool("promtool", "promtool check rules, promtool test rules") else {
        return;
    };
    for (verb, file) in [("check", "alerts.yaml"), ("test", "alerts.test.yaml")] {
        let said = Command::new(&promtool)
            .args([verb, "rules", file])
            .current_dir(root().join("deploy/prometheus"))
            .output()
            .unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{out}\n{err}");
    }
}

/// A collector that ends with its test.
struct Collector {
    process: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Collector {
    fn start(otelcol: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Free a moment ago; taken by another since, the collector ends and the test says so.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let out = dir.path().join("out.jsonl");
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
             exporters: {{file: {{path: '{}', flush_interval: 100ms}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n    \
             metrics: {{receivers: [otlp], exporters: [file]}}\n",
            out.display()
        );
        fs::write(dir.path().join("config.yaml"), config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(otelcol)
            .arg(format!("--config={}", dir.path().join("config.yaml").display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut collector = Self { process, dir, port };
        let at = ("127.0.0.1", port);
        collector.until("listens", |_| std::net::TcpStream::connect(at).is_ok().then_some(()));
        collector
    }

    /// Asks again and again, for half a minute.
    fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&Path) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(answer) = ask(&self.dir.path().join("out.jsonl")) {
                return answer;
            }
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "it ended: {}", log());
            assert!(began.elapsed() < Duration::from_secs(30), "not {what}: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn received(out: &Path, kind: &str) -> Option<Value> {
    let text = fs::read_to_string(out).ok()?;
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| line.get(kind).cloned())
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|pair| pair["key"] == key);
    &found.unwrap_or_else(|| panic!("no {key} in {of}"))["value"]
}

#[test]
fn spans_and_metrics_arrive_at_a_collector_under_the_names_of_the_conventions() {
    let Some(otelcol) = tool("otelcol", "spans and metrics at a collector") else { return };
    let mut collector = Collector::start(&otelcol);
    let metrics = used();
    let url = format!("http://127.0.0.1:{}", collector.port);
    let sink = Sink::new("otel", &url, [], &[]).unwrap();
    let clock = Clock::system();
    let telemetry = Telemetry::start(vec![sink], &metrics, &clock).unwrap();
    let mut headers = HeaderMap::new();
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", caller.parse().unwrap());
    let opened = Opened { received: clock.now(), decision: DECISION };
    let mut span = telemetry.spans().open(&headers, opened);
    span.send(&mut headers);
    span.answered();
    span.finish(&finished());
    telemetry.stop();

    let spans = collector.until("traces", |out| received(out, "resourceSpans"));
    assert_eq!(attribute(&spans[0]["resource"], "service.name")["stringValue"], "tollgate");
    let [server, upstream] = spans[0]["scopeSpans"][0]["spans"].as_array().unwrap().as_slice()
    else {
        panic!("{spans}")
    };
    assert_eq!(server["name"], "chat gpt-5-mini");
    assert_eq!(server["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(server["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(upstream["parentSpanId"], server["spanId"]);
    assert!(
        headers["traceparent"].to_str().unwrap().contains(upstream["spanId"].as_str().unwrap())
    );
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-5-mini"),
        ("gen_ai.response.model", "gpt-5-mini-2026-05-01"),
        ("server.address", "api.openai.com"),
        ("tollgate.outcome", "answered"),
    ] {
        assert_eq!(attribute(server, key)["stringValue"], value, "{key}");
    }
    assert_eq!(attribute(server, "gen_ai.usage.input_tokens")["intValue"], "10");

    let all = collector.until("metrics", |out| received(out, "resourceMetrics"));
    let all = all[0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    for name in [
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.time_to_first_chunk",
        "tollgate_requests_total",
        "tollgate_added_latency_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(all.iter().any(|metric| metric["name"] == name), "{name}");
    }
}
