use decide::case::{MicroUsd, Timestamp};

use super::{Ended, Finished, Intake, KeyFault, Listener, Metrics};
use crate::record::Usage;

mod shown;

/// A chat of which everything is known.
pub(crate) fn finished() -> Finished<'static> {
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
        usage: Some(Usage { input: 10, cache_read: 5, output: 7, ..Usage::default() }),
        spent: MicroUsd(41),
        streamed: true,
        first_byte_us: Some(20_000),
        took_us: 1_500_000,
    }
}

#[test]
fn what_is_counted_is_rendered_by_name() {
    let metrics = Metrics::new().unwrap();
    metrics.decisions.with_label_values(&["refuse", "destination"]).inc();
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"tollgate_decisions_total{outcome="refuse",rule="destination"} 1"#));
    assert!(text.contains("tollgate_exchanges_live 0"));
    assert!(text.contains("process_resident_memory_bytes"));
    assert!(text.contains("process_open_fds"));
}

#[test]
fn a_finished_request_is_counted_by_outcome_agent_and_model() {
    let metrics = Metrics::new().unwrap();
    metrics.agents.admit(["refund-bot"]);
    metrics.models.admit(["gpt-5-mini"]);
    metrics.finished(&finished());
    let text = metrics.render().unwrap();
    for line in [
        r#"tollgate_requests_total{intake="gateway",outcome="answered",provider="openai"} 1"#,
        r#"tollgate_agent_requests_total{agent="refund-bot",outcome="answered"} 1"#,
        r#"tollgate_agent_spent_microdollars_total{agent="refund-bot"} 41"#,
        r#"tollgate_model_tokens_total{kind="cache_read",model="gpt-5-mini",provider="openai"} 5"#,
        r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-5-mini",gen_ai_token_type="input"} 15"#,
        r#"gen_ai_client_operation_duration_seconds_sum{error_type="",gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-5-mini"} 1.5"#,
        r#"gen_ai_client_operation_time_to_first_chunk_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt-5-mini"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn what_a_request_says_makes_no_series_of_its_own() {
    let metrics = Metrics::new().unwrap();
    for n in 0..1000 {
        let (agent, model) = (format!("agent-{n}"), format!("model-{n}"));
        metrics.finished(&Finished { agent: &agent, model: Some(&model), ..finished() });
    }
    let text = metrics.render().unwrap();
    assert!(!text.contains("agent-1") && !text.contains("model-1"), "{text}");
    assert!(text.contains(r#"{agent="other",outcome="answered"} 1000"#));
}

#[test]
fn what_is_no_question_to_a_model_is_in_no_metric_of_models() {
    let metrics = Metrics::new().unwrap();
    metrics.finished(&Finished {
        dialect: "plain",
        operation: "read",
        model: None,
        usage: None,
        ..finished()
    });
    let text = metrics.render().unwrap();
    assert!(!text.contains("gen_ai_client_operation_duration_seconds_count"), "{text}");
}

#[test]
fn an_error_is_named_by_its_rule_and_else_by_the_status() {
    let refused = Finished { ended: Ended::Refused, rule: Some("model_scope"), ..finished() };
    assert_eq!(refused.error().as_deref(), Some("model_scope"));
    let throttled = Finished { status: Some(429), ..finished() };
    assert_eq!(throttled.error().as_deref(), Some("429"));
    assert_eq!(Finished { ended: Ended::Gone, ..finished() }.error().as_deref(), Some("gone"));
    assert_eq!(finished().error(), None);
}

#[test]
fn a_connection_is_open_until_it_is_dropped() {
    let metrics = Metrics::new().unwrap();
    let open = metrics.connected(Listener::Routed);
    assert!(metrics.render().unwrap().contains(r#"connections_open{intake="routed"} 1"#));
    drop(open);
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"tollgate_connections_open{intake="routed"} 0"#));
    assert!(text.contains(r#"tollgate_connections_total{intake="routed"} 1"#));
}

#[test]
fn a_policy_that_cannot_be_read_leaves_the_time_of_the_last_good_one() {
    let metrics = Metrics::new().unwrap();
    metrics.standing.policy_loaded(Timestamp(1_700_000_000_000_000));
    metrics.standing.policy_failed();
    metrics.key_refused(KeyFault::Elsewhere);
    let text = metrics.render().unwrap();
    for line in [
        "tollgate_policy_read_timestamp_seconds 1700000000",
        "tollgate_policy_current 0",
        r#"tollgate_policy_reloads_total{result="failed"} 1"#,
        r#"tollgate_key_refusals_total{reason="elsewhere"} 1"#,
    ] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn gauges_of_what_others_count_are_set_when_somebody_looks() {
    let metrics = Metrics::new().unwrap();
    metrics.look_with(|metrics| metrics.queue.add(7));
    metrics.look_with(|metrics| metrics.queue.set(0));
    assert!(metrics.clone().render().unwrap().contains("\ntollgate_ledger_queue_entries 7\n"));
    assert!(metrics.render().unwrap().contains("\ntollgate_ledger_queue_entries 14\n"));
}
