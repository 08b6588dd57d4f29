use super::*;

const LIST: &str = include_str!("../../fixtures/litellm.json");

#[test]
fn the_small_list_converts_exactly() {
    let catalog = convert(LIST, "2026-10-21", "litellm 0.0.0").unwrap();
    assert_eq!(catalog, include_str!("../../fixtures/prices.json"));
}

#[test]
fn decimal_text_is_scaled_without_a_float() {
    assert_eq!(scaled("1.25e-06", 12).unwrap(), 1_250_000);
    assert_eq!(scaled("0.00015", 12).unwrap(), 150_000_000);
    assert_eq!(scaled("3E-7", 12).unwrap(), 300_000);
    assert_eq!(scaled("0.0", 12).unwrap(), 0);
    assert_eq!(scaled("272000", 0).unwrap(), 272_000);
    assert_eq!(scaled("1.1", 3).unwrap(), 1_100);
}

#[test]
fn what_is_not_a_whole_number_of_units_stops_the_conversion() {
    for odd in ["1.25e-13", "-1", "\"1\"", "1e30", "0.5e0"] {
        assert!(scaled(odd, if odd == "0.5e0" { 0 } else { 12 }).is_err(), "{odd}");
    }
}

#[test]
fn a_list_without_our_providers_is_an_error_and_no_empty_catalog() {
    assert!(convert(r#"{"x":{"litellm_provider":"azure","mode":"chat"}}"#, "", "").is_err());
}
