//! Makes a metric and enters it in the registry in one step, so that none is counted and not shown.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// The registry, while it is filled.
#[derive(Debug)]
pub(super) struct Register(pub(super) Registry);

type Made<T> = Result<T, prometheus::Error>;

impl Register {
    fn enter<C: Collector + Clone + 'static>(&self, made: C) -> Made<C> {
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Made<IntCounter> {
        self.enter(IntCounter::new(name, help)?)
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
        self.enter(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Made<IntGauge> {
        self.enter(IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Made<IntGaugeVec> {
        self.enter(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram of `count` buckets, each twice as wide, from `first` seconds.
    pub(super) fn seconds(
        &self,
        name: &str,
        help: &str,
        first: f64,
        count: usize,
    ) -> Made<Histogram> {
        let buckets = prometheus::exponential_buckets(first, 2.0, count)?;
        self.enter(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Made<HistogramVec> {
        self.enter(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?)
    }
}
