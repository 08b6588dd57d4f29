//! The metrics that the OpenTelemetry conventions for generative AI name, with the buckets that they ask for.
//!
//! <https://github.com/open-telemetry/semantic-conventions-genai>, `docs/gen-ai/gen-ai-metrics.md`, status Development.

use prometheus::HistogramVec;

use super::finished::Finished;
use super::labels::Bounded;
use super::register::Register;

/// One metric in both of its names.
#[derive(Debug)]
pub struct Named {
    /// As Prometheus may write it.
    pub prometheus: &'static str,
    /// As the conventions write it.
    pub otel: &'static str,
    /// Its unit, in UCUM.
    pub unit: &'static str,
}

/// The metrics of this file.
pub static NAMES: [Named; 3] = [
    Named {
        prometheus: "gen_ai_client_operation_duration_seconds",
        otel: "gen_ai.client.operation.duration",
        unit: "s",
    },
    Named {
        prometheus: "gen_ai_client_token_usage",
        otel: "gen_ai.client.token.usage",
        unit: "{token}",
    },
    Named {
        prometheus: "gen_ai_client_operation_time_to_first_chunk_seconds",
        otel: "gen_ai.client.operation.time_to_first_chunk",
        unit: "s",
    },
];

/// Labels and the attributes that they stand for.
pub static ATTRIBUTES: [(&str, &str); 5] = [
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("error_type", "error.type"),
];

/// What the conventions call an operation; `None` where no model answers.
#[must_use]
pub fn operation(dialect: &str, operation: &str) -> Option<&'static str> {
    match (dialect, operation) {
        ("openai", "chat_completions" | "responses") | ("anthropic", "messages") => Some("chat"),
        ("openai", "completions") | ("anthropic", "complete") => Some("text_completion"),
        ("openai", "embeddings") => Some("embeddings"),
        _ => None,
    }
}

/// The histograms.
#[derive(Debug, Clone)]
pub struct GenAi {
    duration: HistogramVec,
    tokens: HistogramVec,
    first_chunk: HistogramVec,
}

impl GenAi {
    pub(super) fn new(register: &Register) -> Result<Self, prometheus::Error> {
        let [duration, tokens, first_chunk] = &NAMES;
        let common = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"];
        let with = |more| [common[0], common[1], common[2], more];
        Ok(Self {
            duration: register.histograms(
                duration.prometheus,
                "Duration of requests to a model, from the request's head to the end of its answer.",
                &with("error_type"),
                prometheus::exponential_buckets(0.01, 2.0, 14)?,
            )?,
            tokens: register.histograms(
                tokens.prometheus,
                "Tokens of one request, by the provider's count.",
                &with("gen_ai_token_type"),
                prometheus::exponential_buckets(1.0, 4.0, 14)?,
            )?,
            first_chunk: register.histograms(
                first_chunk.prometheus,
                "From the request's head to the first event of a streamed answer.",
                &common,
                vec![
                    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
                    5.0, 7.5, 10.0,
                ],
            )?,
        })
    }

    /// Counts a request that was asked of a model.
    pub(super) fn count(&self, finished: &Finished<'_>, models: &Bounded) {
        let Some(operation) = operation(finished.dialect, finished.operation) else { return };
        let model = finished.model.map_or("", |model| models.label(model));
        let provider = finished.dialect;
        let error = finished.error().unwrap_or_default();
        self.duration
            .with_label_values(&[operation, provider, model, &error])
            .observe(super::seconds_of(finished.took_us));
        if let Some(usage) = finished.usage {
            let input = usage.total().saturating_sub(usage.output);
            for (kind, count) in [("input", input), ("output", usage.output)] {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "no answer has 2^52 tokens, and a histogram's sum is a float"
                )]
                self.tokens
                    .with_label_values(&[operation, provider, model, kind])
                    .observe(count as f64);
            }
        }
        if let Some(first) = finished.first_byte_us.filter(|_| finished.streamed) {
            self.first_chunk
                .with_label_values(&[operation, provider, model])
                .observe(super::seconds_of(first));
        }
    }
}
