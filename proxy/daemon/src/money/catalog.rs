//! The dated catalog of public prices that the binary carries.
//!
//! A model is found by its exact id and in no other way. That a dated id costs what its undated
//! name costs is not certain (`gpt-4o-2024-05-13` costs twice as much as `gpt-4o`), so no id is
//! derived from another: an id that is not listed has no price, which is not a price of zero.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

static BUILT_IN: LazyLock<Result<Catalog, serde_json::Error>> =
    LazyLock::new(|| Catalog::parse(include_bytes!("../../catalog/prices.json")));

/// Public prices as of one day.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The day the list was made, `YYYY-MM-DD`.
    pub as_of: String,
    /// What it was made from, with its version.
    pub source: String,
    models: BTreeMap<String, Model>,
}

/// What one model costs, and how large a request to it can become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Listed")]
pub struct Model {
    /// Who sells it: `openai`, `anthropic`.
    pub provider: String,
    /// It answers with a vector, not with tokens.
    pub embeds: bool,
    /// The provider's ordinary service.
    pub standard: Rates,
    /// Service tiers with prices of their own, by the name that requests and answers use.
    pub tiers: BTreeMap<&'static str, Rates>,
    /// Per mille of the price, by what the request asks for (`us`: where it runs; `fast`).
    pub multipliers: BTreeMap<String, u64>,
    /// Micro-dollars of one web search by the provider.
    pub search: Option<u64>,
    /// The most input tokens.
    pub context: Option<u64>,
    /// The most output tokens of one answer, reasoning included.
    pub max_output: Option<u64>,
}

/// Prices of one service tier, in micro-dollars per million tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Input that is not cached.
    pub input: u64,
    /// Output, reasoning included; `None` where the list has none.
    pub output: Option<u64>,
    /// Input read from the provider's cache.
    pub cache_read: Option<u64>,
    /// Input written to the cache for five minutes.
    pub cache_write: Option<u64>,
    /// Input written to the cache for an hour.
    pub cache_write_1h: Option<u64>,
    /// What the whole request costs once its input is longer than a step.
    pub input_above: Option<Box<Above>>,
}

/// The prices beyond a length of input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Above {
    /// The step: input tokens up to which the ordinary prices hold.
    pub tokens: u64,
    /// As [`Rates::input`].
    pub input: u64,
    /// As [`Rates::output`].
    pub output: Option<u64>,
    /// As [`Rates::cache_read`].
    pub cache_read: Option<u64>,
    /// As [`Rates::cache_write`].
    pub cache_write: Option<u64>,
    /// As [`Rates::cache_write_1h`].
    pub cache_write_1h: Option<u64>,
}

impl Catalog {
    /// The catalog of this binary, parsed at its first use.
    ///
    /// # Errors
    ///
    /// The binary was built with a catalog that is not one; a test keeps that from happening.
    pub fn built_in() -> Result<&'static Self, &'static serde_json::Error> {
        BUILT_IN.as_ref()
    }

    /// Reads a catalog.
    ///
    /// # Errors
    ///
    /// It is not JSON of the catalog's form. A field that is not known is an error too: it might
    /// be a price.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The model that `provider` sells under exactly this id.
    #[must_use]
    pub fn model(&self, provider: &str, id: &str) -> Option<&Model> {
        self.models.get(id).filter(|model| model.provider == provider)
    }

    /// Every model with its id, in the order of the ids.
    pub fn models(&self) -> impl Iterator<Item = (&String, &Model)> {
        self.models.iter()
    }
}

/// A model as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    provider: String,
    mode: Mode,
    input: u64,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    input_above: Option<Box<Above>>,
    priority: Option<Rates>,
    flex: Option<Rates>,
    batch: Option<Rates>,
    ultrafast: Option<Rates>,
    #[serde(default)]
    multipliers: BTreeMap<String, u64>,
    search: Option<u64>,
    context: Option<u64>,
    max_output: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Chat,
    Completion,
    Responses,
    Embedding,
}

impl From<Listed> for Model {
    fn from(listed: Listed) -> Self {
        let tiers = [
            ("priority", listed.priority),
            ("flex", listed.flex),
            ("batch", listed.batch),
            ("ultrafast", listed.ultrafast),
        ];
        Self {
            provider: listed.provider,
            embeds: match listed.mode {
                Mode::Embedding => true,
                Mode::Chat | Mode::Completion | Mode::Responses => false,
            },
            standard: Rates {
                input: listed.input,
                output: listed.output,
                cache_read: listed.cache_read,
                cache_write: listed.cache_write,
                cache_write_1h: listed.cache_write_1h,
                input_above: listed.input_above,
            },
            tiers: tiers.into_iter().filter_map(|(name, rates)| Some((name, rates?))).collect(),
            multipliers: listed.multipliers,
            search: listed.search,
            context: listed.context,
            max_output: listed.max_output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalog_parses_and_is_dated() {
        let catalog = Catalog::built_in().unwrap();
        assert_eq!(catalog.as_of.len(), 10);
        assert!(catalog.source.starts_with("litellm "));
    }

    #[test]
    fn a_model_is_found_by_its_exact_id_at_its_own_provider() {
        let catalog = Catalog::built_in().unwrap();
        let mini = catalog.model("openai", "gpt-5-mini").unwrap();
        assert_eq!((mini.standard.input, mini.standard.output), (250_000, Some(2_000_000)));
        assert_eq!(mini.max_output, Some(128_000));
        assert!(catalog.model("openai", "gpt-5-mini-2025-08-07").is_some());
        assert!(catalog.model("anthropic", "gpt-5-mini").is_none());
    }

    #[test]
    fn an_id_that_only_begins_like_a_listed_one_has_no_price() {
        let catalog = Catalog::built_in().unwrap();
        for id in ["gpt-5-mini-2031-01-01", "gpt-5-min", "GPT-5-mini", "openai/gpt-5-mini", ""] {
            assert!(catalog.model("openai", id).is_none(), "{id}");
        }
    }

    #[test]
    fn a_field_that_is_not_known_is_refused_because_it_might_be_a_price() {
        let model = r#"{"provider":"openai","mode":"chat","input":1,"output":1,"per_smile":9}"#;
        let json =
            format!(r#"{{"as_of":"2026-01-01","source":"litellm 1","models":{{"m":{model}}}}}"#);
        assert!(Catalog::parse(json.as_bytes()).unwrap_err().to_string().contains("per_smile"));
    }
}
