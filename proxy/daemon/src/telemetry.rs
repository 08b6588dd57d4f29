//! Traces and metrics leave the gate over OTLP/HTTP, and never hold it up.
//!
//! A span that is over is put into a bounded queue for each sink, or dropped and counted. All else happens on a thread
//! of its own: batches, the clients, what they wait for. No span holds content: names, counts and times only.

pub mod context;
mod export;
mod otlp;
mod sink;
mod span;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use decide::case::Timestamp;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};
use crate::metrics::Metrics;
use context::{SpanId, TraceId, TraceParent};
use export::Exporter;
use sink::Client;
use span::Open;

pub use sink::{Sink, SinkError};
pub use span::{ExchangeSpan, Opened};

/// Spans that wait for one sink. One holds 4 KiB at most, so a sink that is down costs 16 MiB.
const QUEUE: usize = 4096;

/// The exporters. Dropped without [`Telemetry::stop`], what still waits is lost.
#[derive(Debug)]
pub struct Telemetry {
    spans: Spans,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Telemetry {
    /// Starts one exporter for each of `sinks`; without one, spans are off and there is no thread.
    ///
    /// # Errors
    ///
    /// There is no thread or no descriptor to be had.
    pub fn start(sinks: Vec<Sink>, metrics: &Metrics, clock: &Clock) -> io::Result<Self> {
        let stop = CancellationToken::new();
        if sinks.is_empty() {
            return Ok(Self { spans: Spans::off(), stop, thread: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut queues, mut exporters) = (Vec::new(), Vec::new());
        for sink in sinks {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let counted = Counted::new(metrics, sink.name());
            queues.push((queue, counted.clone()));
            let client = Client::new(sink);
            exporters.push(Exporter::new(client, waiting, counted, metrics.clone(), clock.clone()));
        }
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            runtime.block_on(async {
                let running = exporters.into_iter().map(|exporter| {
                    let stopped = stopped.clone();
                    tokio::spawn(exporter.run(stopped))
                });
                for ended in running.collect::<Vec<_>>() {
                    // An exporter that panicked has said so, and is missed by nobody else.
                    drop(ended.await);
                }
            });
        })?;
        let spans = Spans(Some(Arc::new(Standing { queues, clock: clock.clone() })));
        Ok(Self { spans, stop, thread: Some(thread) })
    }

    /// Where exchanges get their spans.
    #[must_use]
    pub fn spans(&self) -> Spans {
        self.spans.clone()
    }

    /// Sends what waits, once and for no longer than [`Telemetry::LAST_WORDS`], and ends.
    pub fn stop(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }

    /// How long the last batches may take.
    pub const LAST_WORDS: Duration = Duration::from_secs(5);
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Where exchanges get their spans. Cheap to clone; off where no sink is configured.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Arc<Standing>>);

/// What all spans share.
#[derive(Debug)]
pub struct Standing {
    queues: Vec<(mpsc::Sender<Arc<span::Done>>, Counted)>,
    clock: Clock,
}

impl Spans {
    /// No sink is configured.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the span of an exchange: a child of the caller's where the request names one, else of a trace whose id is
    /// the decision's. Where spans are off this is one branch.
    #[must_use]
    pub fn open(&self, headers: &HeaderMap, opened: Opened<'_>) -> ExchangeSpan {
        let Some(standing) = &self.0 else { return ExchangeSpan::none() };
        // Without random numbers there is no span; the exchange itself goes on or not by its own judgement.
        let Some(open) = Open::new(standing, headers, opened) else { return ExchangeSpan::none() };
        ExchangeSpan::of(open)
    }
}

impl Standing {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn queue(&self, done: span::Done) {
        let done = Arc::new(done);
        for (queue, counted) in &self.queues {
            if queue.try_send(Arc::clone(&done)).is_err() {
                counted.dropped.inc();
            }
        }
    }
}

/// What becomes of one sink's spans.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    sent: prometheus::IntCounter,
    dropped: prometheus::IntCounter,
}

impl Counted {
    fn new(metrics: &Metrics, sink: &str) -> Self {
        let spans = &metrics.telemetry.spans;
        Self {
            sent: spans.with_label_values(&[sink, "sent"]),
            dropped: spans.with_label_values(&[sink, "dropped"]),
        }
    }
}

/// The ids of an exchange's two spans, and of its trace where the caller names none.
fn ids() -> Option<(SpanId, SpanId)> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = clock::random::<16>().ok()?;
    Some((SpanId::new([a, b, c, d, e, f, g, h])?, SpanId::new([i, j, k, l, m, n, o, p])?))
}

/// The trace of an exchange that belongs to no other: its decision's id, which is 128 bits of time and chance.
fn trace_of(decision: &str) -> Option<TraceId> {
    TraceId::new(ulid::Ulid::from_string(decision).ok()?.0.to_be_bytes())
}

/// Whose child an exchange's span is.
fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::read(headers)
}

#[cfg(test)]
mod tests;
