//! The registry's families as OTLP metrics: the same numbers under the same names, those of the conventions under theirs.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use prometheus::proto::{MetricFamily, MetricType};

use super::{resource, scope, text};
use crate::metrics::genai;

/// When counting began, and now.
#[derive(Clone, Copy)]
struct Span {
    began: u64,
    now: u64,
}

pub(super) fn request(
    families: &[MetricFamily],
    began: u64,
    now: u64,
) -> ExportMetricsServiceRequest {
    let metrics = families.iter().filter_map(|family| metric(family, Span { began, now }));
    let scope_metrics = vec![ScopeMetrics {
        scope: Some(scope()),
        metrics: metrics.collect(),
        ..ScopeMetrics::default()
    }];
    let metrics =
        ResourceMetrics { resource: Some(resource()), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![metrics] }
}

fn metric(family: &MetricFamily, span: Span) -> Option<Metric> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(family, span),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge { data_points: numbers(family, span) }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: histograms(family, span),
            aggregation_temporality: cumulative,
        }),
        // The gate has none.
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let known = genai::NAMES.iter().find(|named| named.prometheus == family.name());
    let (name, unit) =
        known.map_or((family.name(), unit(family.name())), |named| (named.otel, named.unit));
    Some(Metric {
        name: name.to_owned(),
        description: family.help().to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// The unit that a name ends in, in UCUM.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else if name.ends_with("_microdollars") {
        "{microdollar}"
    } else {
        "1"
    }
}

fn numbers(family: &MetricFamily, span: Span) -> Vec<NumberDataPoint> {
    let counter = family.get_field_type() == MetricType::COUNTER;
    let point = |metric: &prometheus::proto::Metric| {
        let value =
            if counter { metric.get_counter().get_value() } else { metric.get_gauge().get_value() };
        NumberDataPoint {
            attributes: labels(metric),
            start_time_unix_nano: if counter { span.began } else { 0 },
            time_unix_nano: span.now,
            value: Some(Value::AsDouble(value)),
            ..NumberDataPoint::default()
        }
    };
    family.get_metric().iter().map(point).collect()
}

fn histograms(family: &MetricFamily, span: Span) -> Vec<HistogramDataPoint> {
    family.get_metric().iter().map(|metric| histogram(metric, span)).collect()
}

/// Prometheus counts what is below each bound, OTLP what lies between two.
fn histogram(metric: &prometheus::proto::Metric, span: Span) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0_u64);
    for bucket in histogram.get_bucket() {
        if bucket.upper_bound().is_finite() {
            bounds.push(bucket.upper_bound());
            counts.push(bucket.cumulative_count().saturating_sub(below));
            below = bucket.cumulative_count();
        }
    }
    counts.push(histogram.get_sample_count().saturating_sub(below));
    HistogramDataPoint {
        attributes: labels(metric),
        start_time_unix_nano: span.began,
        time_unix_nano: span.now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    }
}

/// A label without a value is to Prometheus what an attribute that is not there is here.
fn labels(metric: &prometheus::proto::Metric) -> Vec<KeyValue> {
    let known = |name: &str| {
        genai::ATTRIBUTES.iter().find(|(label, _)| *label == name).map(|(_, attribute)| *attribute)
    };
    let filled = metric.get_label().iter().filter(|label| !label.value().is_empty());
    filled.map(|label| text(known(label.name()).unwrap_or(label.name()), label.value())).collect()
}
