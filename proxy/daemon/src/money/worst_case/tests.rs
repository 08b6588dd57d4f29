use decide::case::ToolOffered;
use proptest::prelude::*;

use super::*;
use crate::money::{Catalog, Rates, Usage, actual};

pub(in crate::money) fn plain_ask() -> Ask {
    Ask {
        model: "m".to_owned(),
        stream: false,
        output_limit: None,
        choices: 1,
        input_bytes: 0,
        service_tier: None,
        tools: Vec::new(),
        contacts: Vec::new(),
        foreign_objects: Vec::new(),
        ungoverned: Vec::new(),
    }
}

pub(in crate::money) const fn weighed(ask: &Ask) -> Weighed<'_> {
    Weighed {
        ask,
        counted: None,
        beyond_bytes: false,
        tool_calls: None,
        price_fields: &[],
        least_output: 1,
    }
}

/// One micro-dollar a token in, two a token out.
fn model() -> Model {
    Model {
        provider: "openai".to_owned(),
        standard: Rates { input: 1_000_000, output: Some(2_000_000), ..Rates::default() },
        search: Some(10_000),
        context: Some(100_000),
        max_output: Some(1_000),
        ..Model::default()
    }
}

fn total(what: &Weighed<'_>, model: &Model) -> u64 {
    weigh(what, model).unwrap().total().0
}

#[test]
fn a_byte_is_a_token_and_every_request_has_an_overhead() {
    let ask = Ask { input_bytes: 500, output_limit: Some(10), ..plain_ask() };
    assert_eq!(total(&weighed(&ask), &model()), 500 + OVERHEAD + 20);
}

#[test]
fn without_a_limit_the_output_is_the_models_most_for_each_answer() {
    let ask = Ask { choices: 3, ..plain_ask() };
    assert_eq!(total(&weighed(&ask), &model()), OVERHEAD + 3 * 2_000);
    let over = Ask { output_limit: Some(u64::MAX), ..plain_ask() };
    assert_eq!(total(&weighed(&over), &model()), OVERHEAD + 2_000);
}

#[test]
fn the_input_is_never_more_than_the_window() {
    let ask = Ask { input_bytes: 5_000_000, output_limit: Some(0), ..plain_ask() };
    assert_eq!(total(&weighed(&ask), &model()), 100_000);
}

#[test]
fn tokens_that_the_provider_counted_replace_their_bytes() {
    let ask = Ask { input_bytes: 5_000, output_limit: Some(0), ..plain_ask() };
    let counted = Some(Counted { bytes: 4_000, tokens: 900 });
    let what = Weighed { counted, ..weighed(&ask) };
    assert_eq!(total(&what, &model()), 900 + 1_000 + OVERHEAD);
    let longer = Weighed { counted: Some(Counted { bytes: 6_000, tokens: 1 }), ..weighed(&ask) };
    assert_eq!(total(&longer, &model()), 5_000 + OVERHEAD);
}

#[test]
fn what_the_provider_holds_or_fetches_counts_as_the_whole_window() {
    let fetched = Ask { contacts: vec!["example.com:443".into()], ..plain_ask() };
    let plain = plain_ask();
    for what in [weighed(&fetched), Weighed { beyond_bytes: true, ..weighed(&plain) }] {
        assert_eq!(total(&what, &model()), 100_000 + 2_000);
    }
    let unknown = Model { context: None, ..model() };
    assert_eq!(weigh(&weighed(&fetched), &unknown), Err(unbounded("input")));
}

#[test]
fn a_tool_of_the_provider_costs_its_fee_and_the_window_once_more_for_each_call() {
    let kind = ToolKind::Provider("web_search".to_owned());
    let tools = vec![ToolOffered { name: "web_search".to_owned(), kind }];
    let ask = Ask { tools, ..plain_ask() };
    let what = Weighed { tool_calls: Some(2), ..weighed(&ask) };
    assert_eq!(total(&what, &model()), 3 * 100_000 + 2 * 10_000 + 2_000);
    assert!(weigh(&weighed(&ask), &model()).is_err());
}

#[test]
fn a_search_whose_price_is_not_listed_is_reckoned_with_the_dearest() {
    let kind = ToolKind::Provider("web_search".to_owned());
    let tools = vec![ToolOffered { name: "web_search".to_owned(), kind }];
    let ask = Ask { tools, ..plain_ask() };
    let unlisted = Model { search: None, ..model() };
    let what = Weighed { tool_calls: Some(2), ..weighed(&ask) };
    assert_eq!(total(&what, &unlisted), 3 * 100_000 + 2 * 25_000 + 2_000);
}

#[test]
fn a_tool_without_a_fixed_price_has_no_bound() {
    let kind = ToolKind::Provider("code_interpreter".to_owned());
    let unknown = ToolKind::Unknown("teleport".to_owned());
    for kind in [kind, unknown] {
        let tools = vec![ToolOffered { name: "t".to_owned(), kind }];
        let ask = Ask { tools, ..plain_ask() };
        let what = Weighed { tool_calls: Some(1), ..weighed(&ask) };
        assert_eq!(weigh(&what, &model()).unwrap_err().field, "the tool t");
    }
}

#[test]
fn a_tier_that_is_not_asked_for_may_be_the_accounts_default() {
    let mut model = model();
    let dear = Rates { input: 3_000_000, output: Some(5_000_000), ..Rates::default() };
    let cheap = Rates { input: 500_000, output: Some(1_000_000), ..Rates::default() };
    model.tiers = [("priority", dear), ("flex", cheap)].into_iter().collect();
    let tier = |tier: Option<&str>| {
        let ask =
            Ask { service_tier: tier.map(str::to_owned), output_limit: Some(100), ..plain_ask() };
        weigh(&weighed(&ask), &model).map(|worst| worst.total().0)
    };
    assert_eq!(tier(Some("default")), Ok(OVERHEAD + 200));
    assert_eq!(tier(Some("flex")), Ok(OVERHEAD + 200));
    for dearest in [None, Some("auto"), Some("priority")] {
        assert_eq!(tier(dearest), Ok(3 * OVERHEAD + 500));
    }
    assert_eq!(tier(Some("scale")), Err(unbounded("service_tier")));
}

#[test]
fn a_field_that_moves_the_price_is_priced_or_has_no_bound() {
    let mut model = model();
    "anthropic".clone_into(&mut model.provider);
    model.multipliers = [("us".to_owned(), 1_100), ("fast".to_owned(), 2_000)].into();
    let with = |price_fields: &[(&str, &str)]| {
        let ask = Ask { input_bytes: 1_000 - OVERHEAD % 1_000, ..plain_ask() };
        weigh(&Weighed { price_fields, ..weighed(&ask) }, &model).map(|worst| worst.total().0)
    };
    let plain = with(&[("inference_geo", "global")]).unwrap();
    assert_eq!(with(&[]), Ok(plain * 11 / 10));
    assert_eq!(with(&[("inference_geo", "us"), ("speed", "fast")]), Ok(plain * 22 / 10));
    assert_eq!(with(&[("inference_geo", "mars")]), Err(unbounded("inference_geo")));
    assert_eq!(with(&[("modalities", "audio")]), Err(unbounded("modalities")));
}

#[test]
fn a_model_without_a_known_most_needs_a_limit() {
    let model = Model { max_output: None, ..model() };
    assert_eq!(weigh(&weighed(&plain_ask()), &model), Err(unbounded("max_tokens")));
    let ask = Ask { output_limit: Some(5), ..plain_ask() };
    assert!(weigh(&weighed(&ask), &model).is_ok());
}

#[test]
fn an_embedding_costs_its_input_and_has_no_limit_to_lower() {
    let catalog = Catalog::built_in().unwrap();
    let model = catalog.model("openai", "text-embedding-3-small").unwrap();
    let ask = Ask { input_bytes: 100_000, ..plain_ask() };
    let worst = weigh(&weighed(&ask), model).unwrap();
    assert_eq!(worst.total().0, (100_000 + OVERHEAD) * 20_000 / 1_000_000 + 1);
    assert_eq!(worst.fit(MicroUsd(1)), None);
}

#[test]
fn a_search_model_searches_for_every_answer_without_being_offered_a_tool() {
    let catalog = Catalog::built_in().unwrap();
    let model = catalog.model("openai", "gpt-4o-search-preview").unwrap();
    let ask = Ask { model: "gpt-4o-search-preview".to_owned(), ..plain_ask() };
    assert!(total(&weighed(&ask), model) > 25_000 + 128_000 * 2_500_000 / 1_000_000);
}

#[test]
fn the_least_limit_is_not_undercut() {
    let ask = Ask { input_bytes: 0, ..plain_ask() };
    let what = Weighed { least_output: 16, ..weighed(&ask) };
    let worst = weigh(&what, &model()).unwrap();
    assert_eq!(worst.fit(MicroUsd(OVERHEAD + 32)), Some(16));
    assert_eq!(worst.fit(MicroUsd(OVERHEAD + 31)), None);
    assert_eq!(worst.fit(MicroUsd(0)), None);
}

/// An index into the catalog, tokens of each kind, a tier.
fn billed() -> impl Strategy<Value = (prop::sample::Index, [u64; 5], u8, bool)> {
    let tokens = proptest::array::uniform5(0_u64..300_000);
    (any::<prop::sample::Index>(), tokens, 0..4_u8, any::<bool>())
}

proptest! {
    #[test]
    fn no_usage_within_its_bounds_costs_more_than_the_worst_case(
        (which, [input, read, short, long, output], tier, fast) in billed()
    ) {
        let models: Vec<_> = Catalog::built_in().unwrap().models().collect();
        let (id, model) = *which.get(&models);
        let tier = ["default", "priority", "flex", "ultrafast"][usize::from(tier)];
        let usage = Usage {
            input,
            cache_read: read,
            cache_write_5m: short,
            cache_write_1h: long,
            output: if model.embeds { 0 } else { output.min(model.max_output.unwrap_or(u64::MAX)) },
            service_tier: Some(tier.to_owned()),
            geography: (model.provider == "anthropic" && model.multipliers.contains_key("us"))
                .then(|| "us".to_owned()),
            speed: (fast && model.multipliers.contains_key("fast")).then(|| "fast".to_owned()),
            ..Usage::default()
        };
        prop_assume!(model.context.is_none_or(|window| usage.all_input() <= window));
        let complete = model.tiers.get(tier).is_none_or(|rates| rates.output.is_some());
        prop_assume!(tier == "default" || complete);
        let Some(cost) = actual(&usage, model) else { return Ok(()) };
        let ask = Ask {
            model: id.clone(),
            input_bytes: usage.all_input(),
            output_limit: Some(usage.output),
            ..plain_ask()
        };
        let price_fields: &[_] = if usage.speed.is_some() { &[("speed", "fast")] } else { &[] };
        let worst = weigh(&Weighed { price_fields, ..weighed(&ask) }, model).unwrap();
        prop_assert!(cost <= worst.total(), "{id}: {cost} above {}", worst.total());
    }

    #[test]
    fn the_limit_that_fits_is_the_largest(
        left in 0_u64..4_000_000, bytes in 0_u64..50_000, choices in 1_u32..5,
    ) {
        let ask = Ask { input_bytes: bytes, choices, ..plain_ask() };
        let worst = weigh(&weighed(&ask), &model()).unwrap();
        let left = MicroUsd(left);
        match worst.fit(left) {
            None => prop_assert!(worst.with_output(1) > left),
            Some(limit) => {
                prop_assert!(worst.with_output(limit) <= left);
                prop_assert!(limit == 1_000 || worst.with_output(limit + 1) > left);
            }
        }
    }
}
