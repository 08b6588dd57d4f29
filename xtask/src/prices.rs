//! The price catalog is litellm's public list, converted once, exactly, and committed.
//!
//! litellm states dollars per token as decimal fractions. The catalog holds integers of micro-dollars per million
//! tokens, which is that figure times 10^12. The decimal text is scaled, never a float, and a price that is not a
//! whole number of these units stops the conversion.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::shell;

#[cfg(test)]
mod tests;

/// The release of litellm the committed catalog comes from, and the day its list was packed.
const LITELLM: &str = "1.106.2";
const AS_OF: &str = "2026-10-21";
const LIST: &str = "litellm/model_prices_and_context_window_backup.json";
const CATALOG: &str = "proxy/daemon/catalog/prices.json";

/// Modes whose whole price is a price per token.
const MODES: [&str; 4] = ["chat", "completion", "embedding", "responses"];

/// One model's fields in litellm's list, each with its source text.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Prices of one service tier, in micro-dollars per million tokens.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Rates {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_1h: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_above: Option<Box<Above>>,
}

/// What a tier costs once the input is longer than `tokens`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Above {
    tokens: u64,
    #[serde(flatten)]
    rates: Rates,
}

/// One model of the catalog.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Model {
    provider: String,
    mode: String,
    #[serde(flatten)]
    standard: Rates,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flex: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ultrafast: Option<Rates>,
    /// Per mille of the standard price, by what the request asks for (`us`, `eu`: where it runs; `fast`: the speed).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    multipliers: BTreeMap<String, u64>,
    /// Micro-dollars of one web search, at its dearest context size.
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output: Option<u64>,
}

/// The committed file.
#[derive(Debug, Serialize)]
struct Catalog {
    as_of: String,
    source: String,
    models: BTreeMap<String, Model>,
}

/// Fetches the pinned wheel with pip and writes the catalog.
pub(crate) fn update() -> Result<()> {
    let dir = shell::cache()?.join(format!("litellm-{LITELLM}"));
    let list = dir.join(LIST);
    if !list.is_file() {
        std::fs::create_dir_all(&dir)?;
        let wanted = format!("litellm=={LITELLM}");
        let pip =
            ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"];
        shell::run(Command::new("python3").args(pip).arg(&dir).arg(wanted))?;
        let wheel = wheel_in(&dir)?;
        shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&dir))?;
    }
    let text = std::fs::read_to_string(&list)
        .with_context(|| format!("cannot read {}", list.display()))?;
    let written = convert(&text, AS_OF, &format!("litellm {LITELLM}"))?;
    let path = shell::root()?.join(CATALOG);
    std::fs::create_dir_all(path.parent().context("the catalog lies in no folder")?)?;
    std::fs::write(&path, written).with_context(|| format!("cannot write {}", path.display()))?;
    shell::say(format_args!("wrote {CATALOG}"));
    Ok(())
}

fn wheel_in(dir: &Path) -> Result<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "whl") {
            return Ok(path);
        }
    }
    bail!("pip left no wheel in {}", dir.display())
}

/// Converts the whole list; the result ends with a newline and has one line per field.
fn convert(list: &str, as_of: &str, source: &str) -> Result<String> {
    let raw: BTreeMap<String, &RawValue> =
        serde_json::from_str(list).context("the list is not an object")?;
    let mut models = BTreeMap::new();
    for (id, fields) in raw {
        if id.contains('/') || id == "sample_spec" {
            continue;
        }
        let fields: Fields<'_> = serde_json::from_str(fields.get()).with_context(|| id.clone())?;
        if let Some(model) = model(&fields).with_context(|| id.clone())? {
            models.insert(id, model);
        }
    }
    ensure!(!models.is_empty(), "the list names no model of openai or anthropic");
    let catalog = Catalog { as_of: as_of.to_owned(), source: source.to_owned(), models };
    Ok(serde_json::to_string_pretty(&catalog)? + "\n")
}

/// A model the gate can price, or none: another provider, another mode, or a price that tokens alone do not give.
fn model(fields: &Fields<'_>) -> Result<Option<Model>> {
    let (Some(provider), Some(mode)) = (text(fields, "litellm_provider")?, text(fields, "mode")?)
    else {
        return Ok(None);
    };
    let priced_otherwise = fields.keys().any(|name| {
        name.contains("cost_per")
            && ["audio", "image", "pixel", "second", "character"]
                .iter()
                .any(|unit| name.contains(unit))
    });
    if !["openai", "anthropic"].contains(&provider.as_str())
        || !MODES.contains(&mode.as_str())
        || priced_otherwise
    {
        return Ok(None);
    }
    let standard = rates(fields, "")?;
    if standard.input.is_none() || standard.output.is_none() {
        return Ok(None);
    }
    Ok(Some(Model {
        standard,
        priority: tier(fields, "_priority")?,
        flex: tier(fields, "_flex")?,
        batch: tier(fields, "_batches")?,
        ultrafast: tier(fields, "_ultrafast")?,
        multipliers: multipliers(fields)?,
        search: search(fields)?,
        context: number(fields, "max_input_tokens")?,
        max_output: number(fields, "max_output_tokens")?,
        provider,
        mode,
    }))
}

fn tier(fields: &Fields<'_>, suffix: &str) -> Result<Option<Rates>> {
    Some(rates(fields, suffix)?)
        .filter(|rates| *rates != Rates::default())
        .map_or(Ok(None), |rates| Ok(Some(rates)))
}

fn rates(fields: &Fields<'_>, suffix: &str) -> Result<Rates> {
    let mut rates = step(fields, "", suffix)?;
    let steps: Vec<u64> = fields.keys().filter_map(|name| threshold(name, suffix)).collect();
    if let Some(&tokens) = steps.first() {
        ensure!(steps.iter().all(|step| *step == tokens), "more than one price step");
        let above = step(fields, &format!("_above_{}k_tokens", tokens / 1000), suffix)?;
        rates.input_above = Some(Box::new(Above { tokens, rates: above }));
    }
    Ok(rates)
}

/// The rates of one price step (`""` or `_above_272k_tokens`) of one tier.
fn step(fields: &Fields<'_>, step: &str, suffix: &str) -> Result<Rates> {
    let rate = |name: &str| price(fields, &format!("{name}{step}{suffix}"));
    Ok(Rates {
        input: rate("input_cost_per_token")?,
        output: rate("output_cost_per_token")?,
        cache_read: rate("cache_read_input_token_cost")?,
        cache_write: rate("cache_creation_input_token_cost")?,
        cache_write_1h: rate("cache_creation_input_token_cost_above_1hr")?,
        input_above: None,
    })
}

/// The number of tokens in `input_cost_per_token_above_272k_tokens`, for the tier with that suffix.
fn threshold(name: &str, suffix: &str) -> Option<u64> {
    let thousands = name
        .strip_prefix("input_cost_per_token_above_")?
        .strip_suffix(suffix)?
        .strip_suffix("k_tokens")?;
    Some(thousands.parse::<u64>().ok()? * 1000)
}

fn multipliers(fields: &Fields<'_>) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    for region in ["us", "eu"] {
        if let Some(raw) = fields.get(&format!("regional_processing_uplift_multiplier_{region}")) {
            found.insert(region.to_owned(), scaled(raw.get(), 3)?);
        }
    }
    if let Some(raw) = fields.get("provider_specific_entry") {
        let entries: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())?;
        for (name, raw) in entries {
            found.insert(name, scaled(raw.get(), 3)?);
        }
    }
    Ok(found)
}

fn search(fields: &Fields<'_>) -> Result<Option<u64>> {
    let Some(raw) = fields.get("search_context_cost_per_query") else { return Ok(None) };
    let sizes: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())?;
    let prices = sizes.values().map(|raw| scaled(raw.get(), 6)).collect::<Result<Vec<_>>>()?;
    Ok(prices.into_iter().max())
}

fn price(fields: &Fields<'_>, name: &str) -> Result<Option<u64>> {
    fields.get(name).map(|raw| scaled(raw.get(), 12).with_context(|| name.to_owned())).transpose()
}

fn number(fields: &Fields<'_>, name: &str) -> Result<Option<u64>> {
    fields.get(name).map(|raw| scaled(raw.get(), 0).with_context(|| name.to_owned())).transpose()
}

fn text(fields: &Fields<'_>, name: &str) -> Result<Option<String>> {
    fields
        .get(name)
        .map(|raw| serde_json::from_str(raw.get()).with_context(|| name.to_owned()))
        .transpose()
}

/// A JSON number times ten to the power of `places`, exactly.
fn scaled(number: &str, places: i32) -> Result<u64> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().context("exponent")?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mut value: u64 = digits.parse().with_context(|| format!("{number} is not a price"))?;
    let mut shift = exponent + places - i32::try_from(fraction.len())?;
    while shift > 0 && value > 0 {
        value = value.checked_mul(10).with_context(|| format!("{number} is too large"))?;
        shift -= 1;
    }
    while shift < 0 && value > 0 {
        ensure!(value.is_multiple_of(10), "{number} is finer than the catalog's unit");
        value /= 10;
        shift += 1;
    }
    Ok(value)
}
