//! What the gate counts, by names that stay the same. Labels come from closed sets only.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Every metric of the gate.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
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
    /// Connections closed because they had no original destination.
    pub strays: IntCounter,
    /// Seconds from a decision to its fsync.
    pub commit: Histogram,
    /// Seconds from the request's head to the first byte of its answer.
    pub first_byte: Histogram,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    ///
    /// Two metrics have one name: a fault of this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counted = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let metrics = Self {
            registry: Registry::new(),
            decisions: counted("tollgate_decisions_total", "Decisions.", &["outcome", "rule"])?,
            cuts: counted("tollgate_cuts_total", "Answers cut.", &["rule"])?,
            observed: counted(
                "tollgate_observed_total",
                "Requests that enforce would have refused.",
                &["rule"],
            )?,
            tokens: counted("tollgate_tokens_total", "Tokens by the provider's count.", &["kind"])?,
            spent: IntCounter::new(
                "tollgate_spent_microdollars_total",
                "Settled by the provider's numbers.",
            )?,
            in_doubt: IntCounter::new(
                "tollgate_in_doubt_microdollars_total",
                "Reserved for exchanges whose usage never arrived.",
            )?,
            live: IntGauge::new("tollgate_exchanges_live", "Exchanges under way.")?,
            strays: IntCounter::new(
                "tollgate_stray_connections_total",
                "Connections closed because they had no original destination.",
            )?,
            commit: seconds("tollgate_commit_seconds", "From a decision to its fsync.", 0.000_05)?,
            first_byte: seconds(
                "tollgate_first_byte_seconds",
                "From the request's head to the first byte of its answer.",
                0.000_5,
            )?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let Self {
            registry,
            decisions,
            cuts,
            observed,
            tokens,
            spent,
            in_doubt,
            live,
            strays,
            commit,
            first_byte,
        } = self;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(cuts.clone()))?;
        registry.register(Box::new(observed.clone()))?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(spent.clone()))?;
        registry.register(Box::new(in_doubt.clone()))?;
        registry.register(Box::new(live.clone()))?;
        registry.register(Box::new(strays.clone()))?;
        registry.register(Box::new(commit.clone()))?;
        registry.register(Box::new(first_byte.clone()))
    }

    /// The text form that Prometheus reads.
    ///
    /// # Errors
    ///
    /// A metric cannot be encoded: a fault of this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// A histogram of twelve buckets, each twice as wide, from `first` seconds.
fn seconds(name: &str, help: &str, first: f64) -> Result<Histogram, prometheus::Error> {
    let buckets = prometheus::exponential_buckets(first, 2.0, 12)?;
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn what_is_counted_is_rendered_by_name() {
        let metrics = Metrics::new().unwrap();
        metrics.decisions.with_label_values(&["refuse", "destination"]).inc();
        let text = metrics.render().unwrap();
        assert!(
            text.contains(r#"tollgate_decisions_total{outcome="refuse",rule="destination"} 1"#)
        );
        assert!(text.contains("tollgate_exchanges_live 0"));
    }
}
