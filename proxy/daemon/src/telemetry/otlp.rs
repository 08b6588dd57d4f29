//! Spans and metrics in the messages of OTLP.

use decide::case::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prometheus::proto::MetricFamily;

use super::span::Done;

mod metrics;

/// Bit 8 says that bit 9 is known, bit 9 that the parent is in another process.
const PARENT_IS_REMOTE: u32 = 0x300;
/// Bit 8 alone: the parent is in this process.
const PARENT_IS_HERE: u32 = 0x100;

/// A batch of exchanges, each a span of the gate and one of its call to the provider.
pub(super) fn traces(batch: &[std::sync::Arc<Done>]) -> ExportTraceServiceRequest {
    let spans = batch.iter().flat_map(|done| [Some(server(done)), upstream(done)]).flatten();
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope()), spans: spans.collect(), ..ScopeSpans::default() }];
    let spans =
        ResourceSpans { resource: Some(resource()), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

/// All metrics as they are `now`, counted since `began`.
pub(super) fn metrics(
    families: &[MetricFamily],
    began: Timestamp,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    metrics::request(families, nanos(began), nanos(now))
}

/// The span of the exchange: what was asked of the gate.
fn server(done: &Done) -> Span {
    Span {
        trace_id: done.trace.0.to_vec(),
        span_id: done.id.0.to_vec(),
        parent_span_id: done.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: PARENT_IS_REMOTE | 1,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(done.began),
        end_time_unix_nano: nanos(done.over),
        attributes: attributes(done),
        ..common(done)
    }
}

/// The span of the call to the provider, where there was one.
fn upstream(done: &Done) -> Option<Span> {
    let sent = done.sent?;
    let mut attributes =
        vec![text("server.address", &done.host), count("server.port", done.port.into())];
    attributes
        .extend(done.status.map(|status| count("http.response.status_code", u64::from(status))));
    if let Some(answered) = done.answered {
        let waited = answered.0.saturating_sub(sent.0);
        attributes.push(count("tollgate.upstream.wait_us", waited));
    }
    Some(Span {
        trace_id: done.trace.0.to_vec(),
        span_id: done.upstream.0.to_vec(),
        parent_span_id: done.id.0.to_vec(),
        flags: PARENT_IS_HERE | 1,
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanos(sent),
        end_time_unix_nano: nanos(done.over),
        attributes,
        ..common(done)
    })
}

/// What both spans have: the name, the caller's state, how it ended.
fn common(done: &Done) -> Span {
    let operation = done.operation.unwrap_or(&done.asked);
    let name = match &done.model {
        Some(model) => format!("{operation} {model}"),
        None => format!("{operation} {}", done.host),
    };
    Span {
        name,
        trace_state: done.state.clone().unwrap_or_default(),
        status: done
            .error
            .as_ref()
            .map(|error| Status { message: error.clone(), code: StatusCode::Error.into() }),
        ..Span::default()
    }
}

fn attributes(done: &Done) -> Vec<KeyValue> {
    let mut all = vec![
        text("server.address", &done.host),
        count("server.port", done.port.into()),
        text("tollgate.decision", &done.decision),
        text("tollgate.outcome", done.ended.name()),
        text("tollgate.agent", &done.agent),
        text("tollgate.intake", done.intake.name()),
        text("tollgate.operation", &done.asked),
    ];
    if let Some(operation) = done.operation {
        all.push(text("gen_ai.operation.name", operation));
        all.push(text("gen_ai.provider.name", &done.provider));
    }
    all.extend(done.model.as_ref().map(|model| text("gen_ai.request.model", model)));
    all.extend(done.answered_by.as_ref().map(|model| text("gen_ai.response.model", model)));
    if let Some((input, output)) = done.tokens {
        all.push(count("gen_ai.usage.input_tokens", input));
        all.push(count("gen_ai.usage.output_tokens", output));
    }
    all.extend(done.status.map(|status| count("http.response.status_code", u64::from(status))));
    all.extend(done.error.as_ref().map(|error| text("error.type", error)));
    all.extend(done.first_byte_us.map(|first| count("tollgate.first_byte_us", first)));
    all
}

fn resource() -> Resource {
    let attributes =
        vec![text("service.name", "tollgate"), text("service.version", env!("CARGO_PKG_VERSION"))];
    Resource { attributes, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "tollgate".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn count(key: &str, value: u64) -> KeyValue {
    pair(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn pair(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Nanoseconds of the Unix epoch.
const fn nanos(at: Timestamp) -> u64 {
    at.0.saturating_mul(1000)
}
