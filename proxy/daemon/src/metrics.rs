//! What the gate counts, by names that stay the same. Labels come from closed sets, or from a bounded one.

mod finished;
pub mod genai;
mod labels;
mod pod;
mod register;

use std::fmt;
use std::sync::{Arc, OnceLock};

use decide::case::Timestamp;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

pub use finished::Finished;
pub use genai::GenAi;
pub use labels::{
    Bounded, Distrust, Ended, Intake, KeyFault, Listener, NAMES, OTHER, Step, UpstreamFault,
};
pub use pod::{Guarded, PortBytes};
use register::Register;

/// Every metric of the gate.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    look: Look,
    /// Agents that have a label of their own.
    pub agents: Arc<Bounded>,
    /// Models that have a label of their own.
    pub models: Arc<Bounded>,
    /// Requests and what they used.
    pub traffic: Traffic,
    /// Decisions, by `outcome` (forward, refuse) and the `rule` that refused, else empty.
    pub decisions: IntCounterVec,
    /// Answers cut, by `rule`.
    pub cuts: IntCounterVec,
    /// What observe let pass, by `rule`.
    pub observed: IntCounterVec,
    /// Tokens, by `kind`.
    pub tokens: IntCounterVec,
    /// Micro-dollars settled by the provider's numbers.
    pub spent: IntCounter,
    /// Micro-dollars that may have been spent.
    pub in_doubt: IntCounter,
    /// Exchanges under way.
    pub live: IntGauge,
    /// Answers that are being streamed.
    pub streams: IntGauge,
    /// Exchanges that wait for money that others have set aside.
    pub waiting: IntGauge,
    /// Bytes of request bodies in memory, of the gate's room for them.
    pub held: IntGauge,
    /// Connections taken, by `intake`: the [`Listener`].
    pub connections: IntCounterVec,
    /// Connections open, by `intake`.
    pub open: IntGaugeVec,
    /// Connections closed because too many from their address were of no known agent.
    pub crowded: IntCounter,
    /// Connections closed because they had no original destination.
    pub strays: IntCounter,
    /// Seconds from a decision to its fsync.
    pub commit: Histogram,
    /// Entries that wait for the ledger's writer.
    pub queue: IntGauge,
    /// Seconds from the request's head to the first byte of its answer.
    pub first_byte: Histogram,
    /// Exchanges that an upstream failed, by `kind`; see [`Metrics::upstream_failed`].
    pub upstream_errors: IntCounterVec,
    /// Virtual keys that were not accepted, by `reason`; see [`Metrics::key_refused`].
    pub key_refusals: IntCounterVec,
    /// What became of the gate's certificates.
    pub certificates: Certificates,
    /// The state of the process.
    pub standing: Standing,
    /// What the exporters of traces and metrics do.
    pub telemetry: Exports,
    /// What is refused past the gate, and what comes in to an agent.
    pub guarded: Guarded,
}

/// Requests that are over, by what people ask about.
#[derive(Debug, Clone)]
pub struct Traffic {
    requests: IntCounterVec,
    duration: HistogramVec,
    added: HistogramVec,
    of_agent: IntCounterVec,
    spent_by: IntCounterVec,
    model_tokens: IntCounterVec,
    genai: GenAi,
}

/// What holds now.
#[derive(Debug, Clone)]
pub struct Standing {
    /// 1 while every condition of readiness holds.
    pub ready: IntGauge,
    /// 1 from the moment that the gate was told to end.
    pub draining: IntGauge,
    /// Readings of the policy's files, by `result`.
    pub reloads: IntCounterVec,
    /// When the policy in force was read, seconds of the Unix epoch.
    pub policy_read: IntGauge,
    /// 1 while the policy in force is what its files say; 0 while they cannot be read.
    pub policy_current: IntGauge,
    /// Workloads attached, by the `mode` of their enforcement.
    pub attached: IntGaugeVec,
}

/// What became of the certificates that the gate shows to agents.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Clients that did not take one, by `reason`: the [`Distrust`].
    pub distrusted: IntCounterVec,
    /// Those that were not made because an agent asked for too many names.
    pub unminted: IntCounter,
}

/// What became of spans and batches, by `sink`.
#[derive(Debug, Clone)]
pub struct Exports {
    /// Exchanges, by what became of their spans, `result`: sent, dropped.
    pub spans: IntCounterVec,
    /// Attempts to send a batch, by `signal` and `result`: ok, failed.
    pub batches: IntCounterVec,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    ///
    /// Two metrics have one name: a fault of this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let to = Register(registry.clone());
        to.gauges("tollgate_build_info", "The version that runs; always 1.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let metrics = Self {
            registry,
            look: Look::default(),
            agents: Arc::default(),
            models: Arc::default(),
            traffic: Traffic::new(&to)?,
            decisions: to.counters(
                "tollgate_decisions_total",
                "Decisions.",
                &["outcome", "rule"],
            )?,
            cuts: to.counters("tollgate_cuts_total", "Answers cut.", &["rule"])?,
            observed: to.counters("tollgate_observed_total", OBSERVED, &["rule"])?,
            tokens: to.counters("tollgate_tokens_total", TOKENS, &["kind"])?,
            spent: to.counter(
                "tollgate_spent_microdollars_total",
                "Settled by the provider's numbers.",
            )?,
            in_doubt: to.counter("tollgate_in_doubt_microdollars_total", IN_DOUBT)?,
            live: to.gauge("tollgate_exchanges_live", "Exchanges under way.")?,
            streams: to.gauge("tollgate_streams_open", "Answers that are being streamed.")?,
            waiting: to.gauge("tollgate_exchanges_waiting", "Exchanges that wait for money.")?,
            held: to.gauge("tollgate_held_bytes", "Request bodies in memory.")?,
            connections: to.counters(
                "tollgate_connections_total",
                "Connections taken.",
                &["intake"],
            )?,
            open: to.gauges("tollgate_connections_open", "Connections open.", &["intake"])?,
            crowded: to.counter("tollgate_crowded_connections_total", CROWDED)?,
            strays: to.counter("tollgate_stray_connections_total", STRAYS)?,
            commit: to.seconds(
                "tollgate_commit_seconds",
                "From a decision to its fsync.",
                0.000_05,
                16,
            )?,
            queue: to.gauge(
                "tollgate_ledger_queue_entries",
                "Entries that wait for the ledger's writer.",
            )?,
            first_byte: to.seconds("tollgate_first_byte_seconds", FIRST_BYTE, 0.000_5, 16)?,
            upstream_errors: to.counters("tollgate_upstream_errors_total", UPSTREAM, &["kind"])?,
            key_refusals: to.counters("tollgate_key_refusals_total", KEYS, &["reason"])?,
            certificates: Certificates::new(&to)?,
            standing: Standing::new(&to)?,
            telemetry: Exports::new(&to)?,
            guarded: Guarded::new(&to)?,
        };
        metrics.begin();
        Ok(metrics)
    }

    /// Shows the series of closed sets from the start, so that the first event is an increase from 0.
    fn begin(&self) {
        for listener in Listener::ALL {
            self.connections.with_label_values(&[listener.name()]);
            self.open.with_label_values(&[listener.name()]);
        }
        for fault in UpstreamFault::ALL {
            self.upstream_errors.with_label_values(&[fault.name()]);
        }
        for fault in KeyFault::ALL {
            self.key_refusals.with_label_values(&[fault.name()]);
        }
        for way in Distrust::ALL {
            self.certificates.distrusted.with_label_values(&[way.name()]);
        }
        for step in Step::ALL {
            self.traffic.added.with_label_values(&[step.name()]);
        }
        for technique in ebpf::TECHNIQUES {
            self.guarded.refused(technique.name(), 0);
        }
        for result in [OK, FAILED] {
            self.standing.reloads.with_label_values(&[result]);
        }
        self.decisions.with_label_values(&["forward", ""]);
        // What an alert counts must be seen to rise the first time it happens.
        for intake in Intake::ALL {
            for dialect in ["openai", "anthropic", "plain"] {
                let unrecorded = [Ended::Unrecorded.name(), intake.name(), dialect];
                self.traffic.requests.with_label_values(&unrecorded);
            }
        }
    }

    /// Counts a request of a service that is over: outcome, duration, agent, model. Money and tokens in total are counted where they
    /// are settled.
    pub fn finished(&self, finished: &Finished<'_>) {
        let traffic = &self.traffic;
        let (outcome, dialect) = (finished.ended.name(), finished.dialect);
        let agent = self.agents.label(finished.agent);
        traffic.requests.with_label_values(&[outcome, finished.intake.name(), dialect]).inc();
        traffic.duration.with_label_values(&[dialect]).observe(seconds_of(finished.took_us));
        traffic.of_agent.with_label_values(&[agent, outcome]).inc();
        if finished.spent.0 > 0 {
            traffic.spent_by.with_label_values(&[agent]).inc_by(finished.spent.0);
        }
        if let (Some(model), Some(usage)) = (finished.model, finished.usage) {
            let model = self.models.label(model);
            let kinds = [
                ("input", usage.input),
                ("cache_read", usage.cache_read),
                ("cache_write", usage.cache_write_5m.saturating_add(usage.cache_write_1h)),
                ("output", usage.output),
            ];
            for (kind, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
                traffic.model_tokens.with_label_values(&[dialect, model, kind]).inc_by(count);
            }
        }
        traffic.genai.count(finished, &self.models);
    }

    /// Counts the time that one step of the gate's own work took.
    pub fn added(&self, step: Step, took: std::time::Duration) {
        self.traffic.added.with_label_values(&[step.name()]).observe(took.as_secs_f64());
    }

    /// Counts an exchange that its upstream failed.
    pub fn upstream_failed(&self, fault: UpstreamFault) {
        self.upstream_errors.with_label_values(&[fault.name()]).inc();
    }

    /// Counts a virtual key that was not accepted.
    pub fn key_refused(&self, fault: KeyFault) {
        self.key_refusals.with_label_values(&[fault.name()]).inc();
    }

    /// A connection was taken. It is open until the guard is dropped.
    #[must_use]
    pub fn connected(&self, listener: Listener) -> Open {
        self.connections.with_label_values(&[listener.name()]).inc();
        Open::counted_in(&self.open.with_label_values(&[listener.name()]))
    }

    /// Has `look` set the gauges of what others keep count of, each time that somebody wants to know. The first one
    /// stays.
    pub fn look_with(&self, look: impl Fn(&Self) + Send + Sync + 'static) {
        drop(self.look.0.set(Box::new(look)));
    }

    /// All families with their values.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        if let Some(look) = self.look.0.get() {
            look(self);
        }
        self.registry.gather()
    }

    /// The text form that Prometheus reads.
    ///
    /// # Errors
    ///
    /// A metric cannot be encoded: a fault of this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather())
    }
}

/// Sets gauges.
#[derive(Clone, Default)]
struct Look(Arc<OnceLock<SetGauges>>);

type SetGauges = Box<dyn Fn(&Metrics) + Send + Sync>;

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// What a gauge counts until this is dropped.
#[derive(Debug)]
pub struct Open(IntGauge);

impl Open {
    /// One more.
    #[must_use]
    pub fn counted_in(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The label of what went well.
pub(crate) const OK: &str = "ok";
/// And of what did not.
pub(crate) const FAILED: &str = "failed";

const TOKENS: &str = "Tokens by the provider's count.";
const OBSERVED: &str = "Requests that enforce would have refused.";
const IN_DOUBT: &str = "Reserved for exchanges whose usage never arrived.";
const CROWDED: &str =
    "Connections closed because too many from their address were of no known agent.";
const STRAYS: &str = "Connections closed because they had no original destination.";
const FIRST_BYTE: &str = "From the request's head to the first byte of its answer.";
const UPSTREAM: &str = "Exchanges that their upstream failed.";
const DISTRUST: &str = "Clients that did not take the gate's certificate.";
const UNMINTED: &str = "Certificates not made because an agent asked for too many names.";
const KEYS: &str = "Virtual keys that were not accepted.";

impl Traffic {
    fn new(to: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: to.counters(
                "tollgate_requests_total",
                "Requests that are over.",
                &["outcome", "intake", "provider"],
            )?,
            duration: to.histograms(
                "tollgate_request_duration_seconds",
                "From a request's head to the end of its answer.",
                &["provider"],
                prometheus::exponential_buckets(0.001, 2.0, 20)?,
            )?,
            added: to.histograms(
                "tollgate_added_latency_seconds",
                "The gate's own work on a request, by step.",
                &["step"],
                prometheus::exponential_buckets(0.000_01, 2.0, 18)?,
            )?,
            of_agent: to.counters(
                "tollgate_agent_requests_total",
                "Requests that are over, by agent.",
                &["agent", "outcome"],
            )?,
            spent_by: to.counters(
                "tollgate_agent_spent_microdollars_total",
                "Settled by the provider's numbers, by agent.",
                &["agent"],
            )?,
            model_tokens: to.counters(
                "tollgate_model_tokens_total",
                "Tokens by the provider's count, by model; a token is in one kind.",
                &["provider", "model", "kind"],
            )?,
            genai: GenAi::new(to)?,
        })
    }
}

impl Certificates {
    fn new(to: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            distrusted: to.counters("tollgate_untrusting_clients_total", DISTRUST, &["reason"])?,
            unminted: to.counter("tollgate_unminted_certificates_total", UNMINTED)?,
        })
    }
}

impl Standing {
    fn new(to: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ready: to.gauge("tollgate_ready", "1 while every condition of readiness holds.")?,
            draining: to.gauge("tollgate_draining", "1 from when the gate was told to end.")?,
            reloads: to.counters(
                "tollgate_policy_reloads_total",
                "Readings of the policy's files.",
                &["result"],
            )?,
            policy_read: to.gauge(
                "tollgate_policy_read_timestamp_seconds",
                "When the policy in force was read.",
            )?,
            policy_current: to.gauge(
                "tollgate_policy_current",
                "1 while the policy in force is what its files say.",
            )?,
            attached: to.gauges(
                "tollgate_attached_workloads",
                "Workloads attached, by the mode of their enforcement.",
                &["mode"],
            )?,
        })
    }

    /// The policy's files were read at `now` and are in force.
    pub fn policy_loaded(&self, now: Timestamp) {
        self.reloads.with_label_values(&[OK]).inc();
        self.policy_current.set(1);
        self.policy_read.set(i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX));
    }

    /// The policy's files could not be read; the last good ones stay in force.
    pub fn policy_failed(&self) {
        self.reloads.with_label_values(&[FAILED]).inc();
        self.policy_current.set(0);
    }
}

impl Exports {
    fn new(to: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            spans: to.counters(
                "tollgate_telemetry_spans_total",
                "Exchanges, by what became of their spans.",
                &["sink", "result"],
            )?,
            batches: to.counters(
                "tollgate_telemetry_batches_total",
                "Attempts to send a batch.",
                &["sink", "signal", "result"],
            )?,
        })
    }
}

/// Microseconds as seconds.
fn seconds_of(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
pub(crate) mod tests;
