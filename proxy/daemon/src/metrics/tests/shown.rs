//! What operators look at: names of metrics, dashboard and alerts.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use decide::case::Timestamp;

use super::finished;
use crate::metrics::{Metrics, Step};

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
