//! The most that a request can cost, by the dearest thing its provider's documentation allows.
//!
//! Every estimate errs to the dear side: a byte is counted as a token, an hour of cache as bought,
//! a service tier that the account may have as its default as used. What has no bound is refused by
//! the name of the field that takes the bound away.

use decide::case::{Ask, MicroUsd, ToolKind};

use super::catalog::Model;
use super::usage::{FILE_SEARCH, SCALE, Step, WEB_SEARCH, micro};

/// Tokens that a provider adds to every prompt, at most: the frame of a conversation and the system
/// prompt that goes with tools (Anthropic documents up to 804).
const OVERHEAD: u64 = 1024;
/// Tokens that one tool adds beyond its bytes, at most: a type that the provider defines is short in
/// the request and long in the prompt (Anthropic documents 735 for a computer, 700 for an editor).
const OVERHEAD_OF_TOOL: u64 = 1024;

/// What is weighed: the request's own facts and what the gate knows about it besides.
#[derive(Debug, Clone, Copy)]
pub struct Weighed<'a> {
    /// What is asked of the model.
    pub ask: &'a Ask,
    /// The provider counted this many tokens for a prefix of this very body, of this many bytes.
    pub counted: Option<Counted>,
    /// The prompt has parts that are not in its bytes: objects that the provider holds, addresses
    /// that it fetches, images, sound, documents.
    pub beyond_bytes: bool,
    /// The most calls of provider-run tools that the request allows, all tools together
    /// (`max_uses`, `max_tool_calls`); `None` where it sets no bound.
    pub tool_calls: Option<u64>,
    /// Fields that move the price and are not in the ask, with their values, as the dialect lists
    /// them: `inference_geo`, `speed`, `modalities`, … A field that is absent is not listed.
    pub price_fields: &'a [(&'a str, &'a str)],
    /// The smallest output limit that the operation takes.
    pub least_output: u64,
}

/// What the provider counted for the beginning of a body in an earlier exchange of the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Bytes of the identical prefix.
    pub bytes: u64,
    /// Input tokens that the provider counted for it, overhead included.
    pub tokens: u64,
}

/// The most that a request can cost, as a function of its output limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// Input, in micro-dollars times [`SCALE`].
    input: u128,
    /// Fees beside tokens, in micro-dollars.
    fees: u128,
    /// One output token in every answer asked for, in micro-dollars times [`SCALE`].
    output: u128,
    /// Output tokens of one answer.
    limit: u64,
    /// The least output limit that may be written into the request; 0 where there is none to write.
    least: u64,
}

impl WorstCase {
    /// Of a request whose price is known from elsewhere and does not depend on an output limit.
    #[must_use]
    pub fn flat(cost: MicroUsd) -> Self {
        Self { input: 0, fees: u128::from(cost.0), output: 0, limit: 0, least: 0 }
    }

    /// The worst case of the request as it stands.
    #[must_use]
    pub fn total(&self) -> MicroUsd {
        self.with_output(self.limit)
    }

    /// The worst case with an output limit of `tokens`.
    #[must_use]
    pub fn with_output(&self, tokens: u64) -> MicroUsd {
        let output = self.output.saturating_mul(u128::from(tokens));
        micro(self.input.saturating_add(output), self.fees)
    }

    /// The largest output limit, below the request's own, with which it costs no more than `left`;
    /// `None` where even the least one costs more.
    #[must_use]
    pub fn fit(&self, left: MicroUsd) -> Option<u64> {
        if self.output == 0 || self.least == 0 {
            return None;
        }
        let for_tokens = u128::from(left.0).checked_sub(self.fees)?.saturating_mul(SCALE);
        let tokens = for_tokens.checked_sub(self.input)? / self.output;
        let limit = u64::try_from(tokens).unwrap_or(u64::MAX).min(self.limit);
        (limit >= self.least).then_some(limit)
    }
}

/// What takes the bound away: the field of the request, to be named in the refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbounded {
    /// The field.
    pub field: String,
}

/// Weighs a request for `model`.
///
/// # Errors
///
/// [`Unbounded`] names the field without a bound, or with a value that has no price.
pub fn weigh(what: &Weighed<'_>, model: &Model) -> Result<WorstCase, Unbounded> {
    let ask = what.ask;
    let tools = provider_tools(what, model)?;
    let input = input_tokens(what, model, tools.calls)?;
    let limit = match (ask.output_limit, model.max_output) {
        _ if model.embeds => 0,
        (Some(limit), Some(most)) => limit.min(most),
        (Some(limit), None) => limit,
        (None, Some(most)) => most,
        (None, None) => return Err(unbounded("max_tokens")),
    };
    let step = dearest(what, model, input)?;
    let output = if model.embeds { 0 } else { step.output.ok_or_else(|| unbounded("model"))? };
    let mille = modifiers(what, model)?;
    let choices = u128::from(ask.choices.max(1));
    Ok(WorstCase {
        input: (u128::from(input) * u128::from(step.dearest_input())).saturating_mul(mille),
        fees: tools.fees,
        output: (u128::from(output) * choices).saturating_mul(mille),
        limit,
        least: if model.embeds { 0 } else { what.least_output.max(1) },
    })
}

fn unbounded(field: impl Into<String>) -> Unbounded {
    Unbounded { field: field.into() }
}

/// Input tokens that may be billed. What a tool of the provider fetches comes back as input, so each
/// allowed call may bill the whole window once more.
fn input_tokens(what: &Weighed<'_>, model: &Model, calls: u64) -> Result<u64, Unbounded> {
    let ask = what.ask;
    let tools = u64::try_from(ask.tools.len()).unwrap_or(u64::MAX);
    let overhead = OVERHEAD.saturating_add(OVERHEAD_OF_TOOL.saturating_mul(tools));
    let by_bytes = ask.input_bytes.saturating_add(overhead);
    let by_count = what.counted.filter(|counted| counted.bytes <= ask.input_bytes).map(|counted| {
        counted.tokens.saturating_add(ask.input_bytes - counted.bytes).saturating_add(overhead)
    });
    let bound = by_count.map_or(by_bytes, |counted| counted.min(by_bytes));
    let whole = what.beyond_bytes
        || !ask.contacts.is_empty()
        || !ask.foreign_objects.is_empty()
        || calls > 0;
    // The window is one text's, and an embedding request carries many.
    let window = model.context.filter(|_| !model.embeds);
    match (window, whole) {
        (Some(window), true) => Ok(window.saturating_mul(calls.saturating_add(1))),
        (Some(window), false) => Ok(bound.min(window)),
        (None, true) => Err(unbounded("input")),
        (None, false) => Ok(bound),
    }
}

struct ProviderTools {
    calls: u64,
    fees: u128,
}

/// Calls of tools that the provider runs, and what they cost beside tokens.
fn provider_tools(what: &Weighed<'_>, model: &Model) -> Result<ProviderTools, Unbounded> {
    let ask = what.ask;
    let mut dearest: Option<u64> = None;
    for tool in &ask.tools {
        let fee = match &tool.kind {
            ToolKind::Agent => continue,
            ToolKind::Provider(kind) => fee(kind, model),
            ToolKind::Unknown(_) => None,
        };
        let fee = fee.ok_or_else(|| unbounded(format!("the tool {}", tool.name)))?;
        dearest = dearest.max(Some(fee));
    }
    // A search model searches once for each answer, without being offered a tool.
    let searches = if ask.model.contains("-search-") { u64::from(ask.choices.max(1)) } else { 0 };
    let search = if searches == 0 { 0 } else { model.search.ok_or_else(|| unbounded("model"))? };
    let calls = match dearest {
        None => 0,
        Some(_) => what.tool_calls.ok_or_else(|| unbounded("max_uses of provider-run tools"))?,
    };
    Ok(ProviderTools {
        calls: calls.saturating_add(searches),
        fees: u128::from(calls) * u128::from(dearest.unwrap_or(0))
            + u128::from(searches) * u128::from(search),
    })
}

/// Micro-dollars of one call of a tool that the provider runs; `None` where it has no fixed price.
fn fee(kind: &str, model: &Model) -> Option<u64> {
    match kind {
        "web_search" | "web_search_preview" => Some(model.search.unwrap_or(WEB_SEARCH)),
        "file_search" => Some(FILE_SEARCH),
        "web_fetch" | "mcp" | "tool_search" => Some(0),
        _ => None,
    }
}

/// The dearest prices that the request's service tier can lead to. Where it names none, the account
/// may have any as its default; a tier that is asked for may fall back to the ordinary service. A
/// tier without an output price is not on offer.
fn dearest(what: &Weighed<'_>, model: &Model, input: u64) -> Result<Step, Unbounded> {
    let standard = Step::of(&model.standard, &model.standard, input);
    let of = |name: &str| {
        let rates = model.tiers.get(name).filter(|rates| model.embeds || rates.output.is_some())?;
        Some(Step::of(rates, &model.standard, input).or_dearer(standard))
    };
    match what.ask.service_tier.as_deref() {
        Some("default" | "standard_only") => Ok(standard),
        None | Some("auto") => Ok(["priority", "flex", "ultrafast"]
            .into_iter()
            .filter_map(of)
            .fold(standard, Step::or_dearer)),
        Some(named @ ("priority" | "flex" | "ultrafast")) => {
            of(named).ok_or_else(|| unbounded("service_tier"))
        }
        Some(_) => Err(unbounded("service_tier")),
    }
}

/// Per mille squared for the fields that multiply the price. Where an Anthropic request does not say
/// where it runs, the account's default may be the dearest place.
fn modifiers(what: &Weighed<'_>, model: &Model) -> Result<u128, Unbounded> {
    let of = |name: &str| model.multipliers.get(name).copied().unwrap_or(1000).max(1000);
    let mut geography = if model.provider == "anthropic" { of("us").max(of("eu")) } else { 1000 };
    let mut speed = 1000;
    for (field, value) in what.price_fields {
        match (*field, *value) {
            ("inference_geo", "global") => geography = 1000,
            ("inference_geo", place) if model.multipliers.contains_key(place) => {
                geography = of(place);
            }
            ("speed", "standard") => speed = 1000,
            ("speed", "fast") if model.multipliers.contains_key("fast") => speed = of("fast"),
            (field, _) => return Err(unbounded(field)),
        }
    }
    Ok(u128::from(geography) * u128::from(speed))
}

#[cfg(test)]
pub(super) mod tests;
