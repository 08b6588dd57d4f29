//! One sink's exporter: collects spans into batches, sends them and the metrics, and drops rather than waits.

use std::sync::Arc;
use std::time::Duration;

use decide::case::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::sink::{Client, SendError, Signal};
use super::span::Done;
use super::{Counted, Telemetry, otlp};
use crate::clock::Clock;
use crate::metrics::{self, Metrics};

/// Exchanges of one batch.
const BATCH: usize = 512;
/// How long the first span of a batch waits for more.
const GATHER: Duration = Duration::from_secs(1);
/// How often the metrics are sent.
const METRICS: Duration = Duration::from_secs(15);
/// Attempts at one batch.
const ATTEMPTS: u32 = 3;
/// The wait after a failure; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(30);
/// How often a sink's failures are logged.
const SAID: Duration = Duration::from_mins(1);

/// One sink's exporter.
#[derive(Debug)]
pub(super) struct Exporter {
    client: Client,
    waiting: mpsc::Receiver<Arc<Done>>,
    counted: Counted,
    metrics: Metrics,
    clock: Clock,
    began: Timestamp,
    pause: Duration,
    /// Nothing is tried before.
    rest: Option<Instant>,
    said: Option<Instant>,
    told: u64,
}

impl Exporter {
    pub(super) fn new(
        client: Client,
        waiting: mpsc::Receiver<Arc<Done>>,
        counted: Counted,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        let began = clock.now();
        Self {
            client,
            waiting,
            counted,
            metrics,
            clock,
            began,
            pause: SHORTEST,
            rest: None,
            said: None,
            told: 0,
        }
    }

    /// Works until `stop`, then sends what waits.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut due = interval(METRICS);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and there is nothing to tell yet.
        due.tick().await;
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = due.tick() => {
                    stop.run_until_cancelled(self.send_metrics()).await;
                    continue;
                }
                received = self.waiting.recv_many(&mut batch, BATCH) => {
                    // Every sender is gone: so is the gate.
                    if received == 0 {
                        break;
                    }
                }
            }
            if stop.run_until_cancelled(self.fill(&mut batch)).await.is_some() {
                let sending = self.send_spans(&batch);
                if stop.run_until_cancelled(sending).await.is_some() {
                    continue;
                }
            }
            drop(timeout(Telemetry::LAST_WORDS, self.last_words(batch)).await);
            return;
        }
        drop(timeout(Telemetry::LAST_WORDS, self.last_words(Vec::new())).await);
    }

    async fn fill(&mut self, batch: &mut Vec<Arc<Done>>) {
        let gathering = async {
            while batch.len() < BATCH {
                let room = BATCH.saturating_sub(batch.len());
                if self.waiting.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        // The time is over, or the batch is full: both are fine.
        drop(timeout(GATHER, gathering).await);
    }

    /// What waits is tried once.
    async fn last_words(&mut self, mut batch: Vec<Arc<Done>>) {
        self.rest = None;
        self.waiting.close();
        loop {
            while batch.len() < BATCH
                && let Ok(done) = self.waiting.try_recv()
            {
                batch.push(done);
            }
            if batch.is_empty() {
                break;
            }
            if self.try_spans(&batch).await.is_err() {
                self.drop_spans(batch.len().saturating_add(self.waiting.len()));
                return;
            }
            batch.clear();
        }
        self.send_metrics().await;
    }

    /// Sends a batch, or drops it after the last attempt.
    async fn send_spans(&mut self, batch: &[Arc<Done>]) {
        for _ in 0..ATTEMPTS {
            self.wait().await;
            match self.try_spans(batch).await {
                Ok(()) => return,
                Err(SendError::Later(_)) => {}
                Err(SendError::Never(_)) => break,
            }
        }
        self.drop_spans(batch.len());
    }

    async fn try_spans(&mut self, batch: &[Arc<Done>]) -> Result<(), SendError> {
        let body = otlp::traces(batch).encode_to_vec();
        let sent = self.client.send(Signal::Traces, body).await;
        let answer = self.note(Signal::Traces, sent)?;
        // Of what the sink took, it may still refuse a part. An answer that cannot be read refuses nothing.
        let refused = ExportTraceServiceResponse::decode(answer)
            .ok()
            .and_then(|answer| answer.partial_success)
            .and_then(|partial| u64::try_from(partial.rejected_spans).ok())
            .unwrap_or_default()
            .min(batch.len() as u64);
        self.counted.sent.inc_by((batch.len() as u64).saturating_sub(refused));
        self.counted.dropped.inc_by(refused);
        Ok(())
    }

    /// Metrics that do not arrive are not sent again: the next ones say more.
    async fn send_metrics(&mut self) {
        self.complain("spans are dropped");
        if self.rest.is_some_and(|rest| rest > Instant::now()) {
            return;
        }
        let families = self.metrics.gather();
        let body = otlp::metrics(&families, self.began, self.clock.now()).encode_to_vec();
        let sent = self.client.send(Signal::Metrics, body).await;
        // Noted and logged; there is nothing else to do about it.
        drop(self.note(Signal::Metrics, sent));
    }

    async fn wait(&self) {
        if let Some(rest) = self.rest {
            tokio::time::sleep_until(rest).await;
        }
    }

    /// Counts how an attempt went, and lets the sink rest after one that failed.
    fn note<T>(&mut self, signal: Signal, sent: Result<T, SendError>) -> Result<T, SendError> {
        let result = if sent.is_ok() { metrics::OK } else { metrics::FAILED };
        let batches = &self.metrics.telemetry.batches;
        batches.with_label_values(&[self.client.name(), signal.name(), result]).inc();
        match &sent {
            Ok(_) => (self.pause, self.rest) = (SHORTEST, None),
            Err(error) => {
                self.rest = Some(Instant::now() + self.pause);
                self.pause = self.pause.saturating_mul(2).min(LONGEST);
                self.complain(&error.to_string());
            }
        }
        sent
    }

    fn drop_spans(&self, count: usize) {
        self.counted.dropped.inc_by(count as u64);
    }

    /// Logs once a minute, where something failed or was dropped.
    fn complain(&mut self, why: &str) {
        let dropped = self.counted.dropped.get();
        let resting = self.rest.is_some();
        let quiet = self.said.is_some_and(|said| said.elapsed() < SAID);
        if quiet || (!resting && dropped == self.told) {
            return;
        }
        tracing::warn!(
            sink = self.client.name(),
            dropped = dropped.saturating_sub(self.told),
            why,
            "telemetry does not arrive"
        );
        self.said = Some(Instant::now());
        self.told = dropped;
    }
}
