use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use decide::case::Timestamp;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{ExchangeSpan, Opened, QUEUE, Sink, Spans, Telemetry};
use crate::clock::Clock;
use crate::metrics::{Ended, Finished, Intake, Metrics};
use crate::record::Usage;

const DECISION: &str = "01JD0000000000000000000ABC";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a sink was sent.
struct Sent {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

type Answers = Arc<Mutex<VecDeque<(u16, Bytes)>>>;

/// A sink that takes everything, in clear or with a certificate.
struct Receiving {
    at: SocketAddr,
    sent: Receiver<Sent>,
}

impl Receiving {
    fn start(tls: Option<rustls::ServerConfig>) -> Self {
        Self::answering(tls, Vec::new())
    }

    /// A sink that gives these answers, in order, and then takes everything.
    fn answering(tls: Option<rustls::ServerConfig>, answers: Vec<(u16, Bytes)>) -> Self {
        let (keep, sent) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
            runtime.block_on(receive(tls, answers, keep, tell));
        });
        Self { at: told.recv().unwrap(), sent }
    }

    fn next(&self) -> Sent {
        self.sent.recv_timeout(PATIENCE).unwrap()
    }

    /// The spans of the next batch.
    fn spans(&self) -> Vec<Span> {
        let sent = self.next();
        assert_eq!(sent.path, "/v1/traces");
        let request = ExportTraceServiceRequest::decode(sent.body).unwrap();
        request.resource_spans[0].scope_spans[0].spans.clone()
    }
}

async fn receive(
    tls: Option<rustls::ServerConfig>,
    answers: Answers,
    keep: Sender<Sent>,
    tell: Sender<SocketAddr>,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell.send(listener.local_addr().unwrap()).unwrap();
    let tls = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (keep, tls, answers) = (keep.clone(), tls.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            match tls {
                None => converse(stream, answers, keep).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, answers, keep).await;
                    }
                }
            }
        });
    }
}

async fn converse(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answers: Answers,
    keep: Sender<Sent>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (keep, answers) = (keep.clone(), Arc::clone(&answers));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let path = head.uri.path().to_owned();
            // A test that saw enough does not listen any more.
            drop(keep.send(Sent { path, headers: head.headers, body }));
            let answer = answers.lock().unwrap().pop_front();
            let (status, body) = answer.unwrap_or((200, Bytes::new()));
            let mut response = Response::new(Full::<Bytes>::from(body));
            *response.status_mut() = status.try_into().unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    drop(http.serve_connection(TokioIo::new(stream), service).await);
}

fn sink(at: SocketAddr) -> Sink {
    Sink::new("otel", &format!("http://{at}"), [("authorization", "Bearer canary")], &[]).unwrap()
}

fn start(sink: Sink) -> (Telemetry, Metrics) {
    let metrics = Metrics::new().unwrap();
    let telemetry = Telemetry::start(vec![sink], &metrics, &Clock::system()).unwrap();
    (telemetry, metrics)
}

fn asking(traceparent: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(traceparent.map(|value| (super::context::TRACEPARENT, value.parse().unwrap())));
    headers.insert("authorization", "Bearer canary".parse().unwrap());
    headers
}

fn open(spans: &Spans, headers: &HeaderMap) -> ExchangeSpan {
    spans.open(headers, Opened { received: Clock::system().now(), decision: DECISION })
}

fn finished() -> Finished<'static> {
    Finished {
        intake: Intake::Transparent,
        operation: "responses",
        usage: Some(Usage { input: 3, cache_read: 4, output: 5, ..Usage::default() }),
        ..crate::metrics::tests::finished()
    }
}

fn said(span: &Span, key: &str) -> Option<String> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    let value = pair.value.as_ref()?.value.as_ref()?;
    if let Value::IntValue(count) = value {
        return Some(count.to_string());
    }
    let Value::StringValue(text) = value else { panic!("{key}: {value:?}") };
    Some(text.clone())
}

#[test]
fn an_exchange_arrives_as_a_span_and_its_call_to_the_provider() {
    let receiving = Receiving::start(None);
    let (telemetry, _metrics) = start(sink(receiving.at));
    let mut headers = asking(Some(CALLER));
    headers.insert("tracestate", "vendor=x".parse().unwrap());
    let mut span = open(&telemetry.spans(), &headers);
    span.send(&mut headers);
    span.answered();
    span.finish(&finished());
    let spans = receiving.spans();
    let [server, upstream] = spans.as_slice() else { panic!("{spans:?}") };

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let id = super::SpanId::new(upstream.span_id.clone().try_into().unwrap()).unwrap();
    let ours = super::context::TraceParent::read(&headers).unwrap();
    assert_eq!((ours.parent, ours.trace.hex().as_str(), ours.flags), (id, trace, 1));
    assert_eq!(headers["tracestate"], "vendor=x");
    assert_eq!(server.trace_state, "vendor=x");
    assert_eq!(server.parent_span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    assert_eq!(upstream.parent_span_id, server.span_id);
    assert_eq!(upstream.trace_id, server.trace_id);
    assert_eq!((server.kind, upstream.kind), (2, 3), "server and client");
    assert_eq!(server.name, "chat gpt-5-mini");
    assert!(upstream.start_time_unix_nano >= server.start_time_unix_nano);
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-5-mini"),
        ("gen_ai.response.model", "gpt-5-mini-2026-05-01"),
        ("gen_ai.usage.input_tokens", "7"),
        ("gen_ai.usage.output_tokens", "5"),
        ("server.address", "api.openai.com"),
        ("server.port", "443"),
        ("tollgate.decision", DECISION),
        ("tollgate.outcome", "answered"),
        ("tollgate.agent", "refund-bot"),
        ("tollgate.intake", "transparent"),
        ("tollgate.provider_request_id", "req_1"),
    ] {
        assert_eq!(said(server, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(said(server, "error.type"), None);
    assert!(server.status.is_none());
}

#[test]
fn a_refusal_is_one_span_with_the_rule_as_its_error() {
    let receiving = Receiving::start(None);
    let (telemetry, _metrics) = start(sink(receiving.at));
    let refused = Finished {
        ended: Ended::Refused,
        rule: Some("model_scope"),
        status: None,
        usage: None,
        ..finished()
    };
    open(&telemetry.spans(), &asking(None)).finish(&refused);
    let spans = receiving.spans();
    assert_eq!(spans.len(), 1, "nothing was sent to the provider");
    assert_eq!(said(&spans[0], "error.type").as_deref(), Some("model_scope"));
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2);
    assert_eq!(spans[0].parent_span_id, Vec::<u8>::new());
    let decision = ulid::Ulid::from_string(DECISION).unwrap();
    assert_eq!(spans[0].trace_id, decision.0.to_be_bytes(), "the trace is the decision");
}

#[test]
fn only_a_valid_traceparent_is_replaced_and_none_is_added() {
    let receiving = Receiving::start(None);
    let (telemetry, _metrics) = start(sink(receiving.at));
    for header in [None, Some("00-not-a-trace-01"), Some("ff-whatever")] {
        let mut headers = asking(header);
        let before = headers.clone();
        open(&telemetry.spans(), &headers).send(&mut headers);
        assert_eq!(headers, before, "{header:?}");
    }
}

#[test]
fn where_no_sink_is_configured_nothing_is_touched() {
    let metrics = Metrics::new().unwrap();
    let telemetry = Telemetry::start(Vec::new(), &metrics, &Clock::system()).unwrap();
    let mut headers = asking(Some(CALLER));
    let before = headers.clone();
    let mut span = open(&telemetry.spans(), &headers);
    assert!(format!("{span:?}").contains("None"));
    span.send(&mut headers);
    span.finish(&finished());
    assert_eq!(headers, before);
    telemetry.stop();
}

#[test]
fn a_trace_that_its_caller_does_not_record_is_not_recorded_here() {
    let receiving = Receiving::start(None);
    let (telemetry, metrics) = start(sink(receiving.at));
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    open(&telemetry.spans(), &asking(Some(unsampled))).finish(&finished());
    telemetry.stop();
    assert_eq!(receiving.next().path, "/v1/metrics", "no span was sent before it");
    assert_eq!(metrics.telemetry.spans.with_label_values(&["otel", "sent"]).get(), 0);
}

#[test]
fn a_sink_that_never_answers_costs_a_bounded_queue_and_nobody_waits() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (telemetry, metrics) = start(sink(silent.local_addr().unwrap()));
    let spans = telemetry.spans();
    let all = QUEUE * 3;
    let began = Instant::now();
    for _ in 0..all {
        open(&spans, &asking(None)).finish(&finished());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let dropped = metrics.telemetry.spans.with_label_values(&["otel", "dropped"]).get();
    // What is not dropped waits, or is in the one batch under way.
    let most = u64::try_from(all).unwrap();
    assert!(dropped >= most - 2 * QUEUE as u64 && dropped < most, "{dropped} of {most}");
}

fn counted(metrics: &Metrics, result: &str) -> u64 {
    metrics.telemetry.spans.with_label_values(&["otel", result]).get()
}

#[test]
fn a_batch_that_a_sink_cannot_take_now_is_sent_again_after_a_pause() {
    let receiving = Receiving::answering(None, vec![(503, Bytes::new())]);
    let (telemetry, metrics) = start(sink(receiving.at));
    open(&telemetry.spans(), &asking(None)).finish(&finished());
    let first = receiving.spans();
    let began = Instant::now();
    assert_eq!(receiving.spans()[0].span_id, first[0].span_id, "the same batch");
    assert!(began.elapsed() >= Duration::from_millis(900), "after a pause");
    telemetry.stop();
    assert_eq!((counted(&metrics, "sent"), counted(&metrics, "dropped")), (1, 0));
}

#[test]
fn a_batch_that_a_sink_never_takes_is_dropped_at_once() {
    let receiving = Receiving::answering(None, vec![(400, Bytes::new())]);
    let (telemetry, metrics) = start(sink(receiving.at));
    open(&telemetry.spans(), &asking(None)).finish(&finished());
    receiving.spans();
    // Its answer is on its way; a gate that ends before it came would send the batch once more.
    let began = Instant::now();
    while counted(&metrics, "dropped") == 0 && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    telemetry.stop();
    assert_eq!(receiving.next().path, "/v1/metrics", "it is not sent again");
    assert_eq!((counted(&metrics, "sent"), counted(&metrics, "dropped")), (0, 1));
}

#[test]
fn what_a_sink_refuses_of_a_batch_that_it_took_is_counted() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 7,
            error_message: String::new(),
        }),
    };
    let receiving = Receiving::answering(None, vec![(200, partial.encode_to_vec().into())]);
    let (telemetry, metrics) = start(sink(receiving.at));
    open(&telemetry.spans(), &asking(None)).finish(&finished());
    telemetry.stop();
    assert_eq!((counted(&metrics, "sent"), counted(&metrics, "dropped")), (0, 1));
}

#[test]
fn what_waits_is_sent_when_the_gate_ends_and_the_metrics_with_it() {
    let receiving = Receiving::start(None);
    let (telemetry, metrics) = start(sink(receiving.at));
    metrics.models.admit(["gpt-5-mini"]);
    metrics.finished(&finished());
    open(&telemetry.spans(), &asking(None)).finish(&finished());
    telemetry.stop();
    let sent = receiving.next();
    assert_eq!(sent.path, "/v1/traces");
    assert_eq!(sent.headers["authorization"], "Bearer canary");
    assert_eq!(sent.headers["content-type"], "application/x-protobuf");
    let sent = receiving.next();
    assert_eq!(sent.path, "/v1/metrics");
    let request = ExportMetricsServiceRequest::decode(sent.body).unwrap();
    let all = &request.resource_metrics[0].scope_metrics[0].metrics;
    let named = |name: &str| all.iter().find(|metric| metric.name == name).unwrap();
    let duration = named("gen_ai.client.operation.duration");
    assert_eq!(duration.unit, "s");
    let Some(Data::Histogram(histogram)) = &duration.data else { panic!("{duration:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.bucket_counts.len()), (1, point.explicit_bounds.len() + 1));
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 1, "buckets do not overlap");
    let keys: Vec<&str> = point.attributes.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!(
        keys,
        ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"],
        "a label without a value is no attribute"
    );
    named("gen_ai.client.token.usage");
    named("gen_ai.client.operation.time_to_first_chunk");
    let Some(Data::Sum(requests)) = &named("tollgate_requests_total").data else { panic!() };
    assert!(requests.is_monotonic);
    assert_eq!(metrics.telemetry.spans.with_label_values(&["otel", "sent"]).get(), 1);
}

#[test]
fn what_the_agent_wrote_is_shortened_and_no_header_is_in_a_span() {
    let receiving = Receiving::start(None);
    let (telemetry, _metrics) = start(sink(receiving.at));
    let long = format!("gpt\r\n{}", "é".repeat(10_000));
    let span = open(&telemetry.spans(), &asking(Some(CALLER)));
    span.finish(&Finished { model: Some(&long), ..finished() });
    let sent = receiving.next();
    assert!(!sent.body.windows(6).any(|window| window == b"canary"));
    let request = ExportTraceServiceRequest::decode(sent.body).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    let model = said(span, "gen_ai.request.model").unwrap();
    assert_eq!(model.chars().count(), 128);
    assert!(model.starts_with("gpté"));
}

/// A certificate for `localhost` and the authority behind it.
fn certified() -> (rustls::ServerConfig, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![authority.clone()], key)
        .unwrap();
    (config, authority)
}

#[test]
fn a_sink_must_show_a_certificate_that_is_trusted() {
    let (config, authority) = certified();
    let receiving = Receiving::start(Some(config));
    let url = format!("https://localhost:{}", receiving.at.port());

    let stranger = Sink::new("otel", &url, [], &[]).unwrap();
    let (telemetry, metrics) = start(stranger);
    open(&telemetry.spans(), &asking(None)).finish(&finished());
    telemetry.stop();
    let batches = &metrics.telemetry.batches;
    assert!(batches.with_label_values(&["otel", "traces", "failed"]).get() >= 1);
    assert_eq!(metrics.telemetry.spans.with_label_values(&["otel", "dropped"]).get(), 1);
    assert!(receiving.sent.try_recv().is_err());

    let known = Sink::new("otel", &url, [], &[authority]).unwrap();
    let (telemetry, _metrics) = start(known);
    open(&telemetry.spans(), &asking(None)).finish(&finished());
    assert_eq!(receiving.spans().len(), 1);
}

#[test]
fn a_sink_is_refused_that_would_show_a_token_or_is_none() {
    let token = [("authorization", "Bearer canary")];
    for url in ["http://collector.example:4318", "http://10.0.0.1"] {
        let refused = Sink::new("otel", url, token, &[]).unwrap_err().to_string();
        assert!(refused.contains("clear") && !refused.contains("canary"), "{refused}");
        assert!(Sink::new("otel", url, [], &[]).is_ok());
    }
    for url in ["http://localhost:4318", "http://[::1]:4318/otlp/", "https://collector.example"] {
        let sink = Sink::new("otel", url, token, &[]).unwrap();
        assert!(!format!("{sink:?}").contains("canary"));
    }
    for url in ["", "collector", "ftp://x/", "https://x/?token=1", "https://user:pw@x/", "/v1"] {
        assert!(Sink::new("otel", url, [], &[]).is_err(), "{url}");
    }
    let header = Sink::new("otel", "https://x", [("a b", "canary")], &[]).unwrap_err().to_string();
    assert!(header.contains("a b") && !header.contains("canary"), "{header}");
}

#[test]
fn the_time_of_a_span_is_the_gate_s_own() {
    let receiving = Receiving::start(None);
    let metrics = Metrics::new().unwrap();
    let clock = Clock::from_fn(|| Timestamp(5_000_000));
    let telemetry = Telemetry::start(vec![sink(receiving.at)], &metrics, &clock).unwrap();
    let opened = Opened { received: Timestamp(4_000_000), decision: DECISION };
    telemetry.spans().open(&HeaderMap::new(), opened).finish(&finished());
    let spans = receiving.spans();
    assert_eq!(spans[0].start_time_unix_nano, 4_000_000_000);
    assert_eq!(spans[0].end_time_unix_nano, 5_000_000_000);
}
