//! What an exchange did cost, from the provider's own counts.

use decide::case::MicroUsd;

use super::catalog::{Model, Rates};

/// What the provider counted for one exchange. The counts are disjoint: a token is in one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens neither read from nor written to a cache.
    pub input: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read: u64,
    /// Input tokens written to the cache for five minutes, or for a time that is not stated.
    pub cache_write_5m: u64,
    /// Input tokens written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Web searches that the provider ran and bills apart.
    pub searches: u64,
    /// File searches that the provider ran and bills apart.
    pub file_searches: u64,
    /// The service tier that the answer names.
    pub service_tier: Option<String>,
    /// Where it ran, as the answer names it (`us`, `global`).
    pub geography: Option<String>,
    /// The speed that the answer names (`fast`, `standard`).
    pub speed: Option<String>,
}

impl Usage {
    /// All input tokens.
    #[must_use]
    pub const fn all_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
    }

    /// All tokens.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.all_input().saturating_add(self.output)
    }
}

/// Micro-dollars of one web search where the catalog lists no price for the model: the dearest that either
/// provider documents (`OpenAI`'s preview tool, $25 per 1,000).
pub(super) const WEB_SEARCH: u64 = 25_000;

/// Micro-dollars of one call of `file_search` (`OpenAI`: $2.50 per 1,000).
pub(super) const FILE_SEARCH: u64 = 2_500;

/// What `usage` costs, rounded up to a micro-dollar; `None` where the catalog has no price for a
/// class that the answer names, so that the exchange stays in doubt instead of being guessed.
#[must_use]
pub fn actual(usage: &Usage, model: &Model) -> Option<MicroUsd> {
    let rates = tier_billed(usage.service_tier.as_deref(), model)?;
    let step = Step::of(rates, &model.standard, usage.all_input());
    let output = match (usage.output, step.output) {
        (0, _) => 0,
        (tokens, rate) => u128::from(tokens) * u128::from(rate?),
    };
    let tokens = u128::from(usage.input) * u128::from(step.input)
        + u128::from(usage.cache_read) * u128::from(step.cache_read)
        + u128::from(usage.cache_write_5m) * u128::from(step.cache_write)
        + u128::from(usage.cache_write_1h) * u128::from(step.cache_write_1h)
        + output;
    let searches = match (usage.searches, model.search) {
        (0, _) => 0,
        (count, price) => u128::from(count) * u128::from(price?),
    };
    let files = u128::from(usage.file_searches) * u128::from(FILE_SEARCH);
    let mille = multiplier(usage.geography.as_deref(), &["global", "not_available"], model)?
        * multiplier(usage.speed.as_deref(), &["standard"], model)?;
    Some(micro(tokens.saturating_mul(mille), searches + files))
}

/// The rates of the tier that an answer names. `default`, `standard` and none are the ordinary ones.
fn tier_billed<'a>(name: Option<&str>, model: &'a Model) -> Option<&'a Rates> {
    match name {
        None | Some("default" | "standard" | "auto") => Some(&model.standard),
        // Anthropic's priority tier is capacity paid in advance; its list price is the standard one.
        Some("priority") if model.provider == "anthropic" => Some(&model.standard),
        Some(other) => model.tiers.get(other),
    }
}

/// Per mille for one field; `plain` are the values that leave the price as it is.
fn multiplier(value: Option<&str>, plain: &[&str], model: &Model) -> Option<u128> {
    match value {
        None => Some(1000),
        Some(value) if plain.contains(&value) => Some(1000),
        Some(value) => model.multipliers.get(value).copied().map(u128::from),
    }
}

/// Token prices times per mille times per mille, to micro-dollars, rounded up; plus a flat sum.
pub(super) fn micro(scaled: u128, flat: u128) -> MicroUsd {
    let dear = scaled.div_ceil(SCALE).saturating_add(flat);
    MicroUsd(u64::try_from(dear).unwrap_or(u64::MAX))
}

/// A million tokens, twice per mille.
pub(super) const SCALE: u128 = 1_000_000 * 1000 * 1000;

/// The prices that hold for one length of input, with what the list leaves out filled in from above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) input: u64,
    pub(super) output: Option<u64>,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) cache_write_1h: u64,
}

impl Step {
    /// The prices of `rates` for `input` tokens. Where this tier names no step but the standard
    /// service does, a request beyond that step is billed by whichever of the two is dearer.
    pub(super) fn of(rates: &Rates, standard: &Rates, input: u64) -> Self {
        let cache = [rates.cache_read, rates.cache_write, rates.cache_write_1h];
        let below = Self::filled(rates.input, rates.output, cache, standard);
        let own = rates.input_above.as_deref();
        match own.or(standard.input_above.as_deref()) {
            Some(above) if input > above.tokens => {
                let cache = [above.cache_read, above.cache_write, above.cache_write_1h];
                let output = above.output.or(below.output);
                let beyond = Self::filled(above.input, output, cache, standard);
                if own.is_some() { beyond } else { beyond.or_dearer(below) }
            }
            _ => below,
        }
    }

    /// A cache write that has no price here stands to plain input as it does in the standard
    /// service; a cache read that has none costs what plain input does.
    fn filled(
        input: u64,
        output: Option<u64>,
        [read, write, hour]: [Option<u64>; 3],
        standard: &Rates,
    ) -> Self {
        let as_standard = |class: Option<u64>| {
            let scaled = u128::from(input) * u128::from(class.unwrap_or(standard.input));
            let rate = scaled.div_ceil(u128::from(standard.input.max(1)));
            u64::try_from(rate).unwrap_or(u64::MAX).max(input)
        };
        let write = write.unwrap_or_else(|| as_standard(standard.cache_write));
        Self {
            input,
            output,
            cache_read: read.unwrap_or(input),
            cache_write: write,
            cache_write_1h: hour.unwrap_or_else(|| as_standard(standard.cache_write_1h).max(write)),
        }
    }

    pub(super) fn or_dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
        }
    }

    /// The dearest class that one input token can fall into.
    pub(super) fn dearest_input(self) -> u64 {
        self.input.max(self.cache_read).max(self.cache_write).max(self.cache_write_1h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Catalog;

    fn cost(model: &str, usage: &Usage) -> Option<u64> {
        let catalog = Catalog::built_in().unwrap();
        let provider = if model.starts_with("claude") { "anthropic" } else { "openai" };
        actual(usage, catalog.model(provider, model).unwrap()).map(|cost| cost.0)
    }

    #[test]
    fn every_kind_of_token_has_its_own_price() {
        let million = 1_000_000;
        // claude-haiku-4-5: 1 in, 0.10 read, 1.25 written, 2 written for an hour, 5 out.
        let kinds =
            [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1)];
        let costs = kinds.map(|(input, read, short, long, output)| {
            let usage = Usage {
                input: input * million,
                cache_read: read * million,
                cache_write_5m: short * million,
                cache_write_1h: long * million,
                output: output * million,
                ..Usage::default()
            };
            cost("claude-haiku-4-5", &usage).unwrap()
        });
        assert_eq!(costs, [1_000_000, 100_000, 1_250_000, 2_000_000, 5_000_000]);
    }

    #[test]
    fn a_part_of_a_micro_dollar_is_a_whole_one() {
        let usage = Usage { input: 1, ..Usage::default() };
        assert_eq!(cost("gpt-5-mini", &usage), Some(1));
    }

    #[test]
    fn beyond_the_step_the_whole_request_is_dearer() {
        let at = Usage { input: 272_000, output: 10, ..Usage::default() };
        let beyond = Usage { input: 272_001, ..at.clone() };
        assert_eq!(cost("gpt-5.5", &at), Some(272_000 * 5 + 300));
        assert_eq!(cost("gpt-5.5", &beyond), Some(272_001 * 10 + 450));
    }

    #[test]
    fn the_tier_that_the_answer_names_is_billed() {
        let usage = Usage {
            input: 1_000_000,
            service_tier: Some("priority".to_owned()),
            ..Usage::default()
        };
        assert_eq!(cost("gpt-5-mini", &usage), Some(450_000));
        let unknown = Usage { service_tier: Some("gold".to_owned()), ..usage };
        assert_eq!(cost("gpt-5-mini", &unknown), None);
    }

    #[test]
    fn a_tier_without_a_step_of_its_own_is_not_cheaper_beyond_the_standard_one() {
        let priority = Usage {
            input: 272_001,
            output: 10,
            service_tier: Some("priority".to_owned()),
            ..Usage::default()
        };
        assert_eq!(cost("gpt-5.5", &priority), Some((272_001 * 125_u64).div_ceil(10) + 750));
    }

    #[test]
    fn searches_are_billed_apart() {
        let usage = Usage { searches: 3, file_searches: 2, ..Usage::default() };
        assert_eq!(cost("gpt-5-mini", &usage), Some(3 * 10_000 + 2 * 2_500));
    }
}
