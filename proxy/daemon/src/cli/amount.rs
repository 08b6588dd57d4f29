//! Amounts of money as they are typed: `5`, `$5`, `0.25`.

use decide::case::MicroUsd;

/// Dollars with at most six decimals, exactly or not at all.
pub(crate) fn parse(text: &str) -> Result<MicroUsd, String> {
    read(text).ok_or_else(|| {
        "not an amount in dollars like 5, $5 or 0.25, with at most six decimals".to_owned()
    })
}

fn read(text: &str) -> Option<MicroUsd> {
    let dollars = text.strip_prefix('$').unwrap_or(text);
    let (whole, part) = dollars.split_once('.').unwrap_or((dollars, "0"));
    if !(1..=6).contains(&part.len()) {
        return None;
    }
    let micro = digits(&format!("{part:0<6}"))?;
    digits(whole)?.checked_mul(1_000_000)?.checked_add(micro).map(MicroUsd)
}

fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (text, micro) in [
            ("5", Some(5_000_000)),
            ("$5", Some(5_000_000)),
            ("0.25", Some(250_000)),
            ("$0.000001", Some(1)),
            ("0.0000001", None),
            ("5.", None),
            (".5", None),
            ("-5", None),
            ("1e3", None),
            ("5 USD", None),
            ("$$5", None),
            ("", None),
            ("99999999999999", None),
        ] {
            assert_eq!(parse(text).ok().map(|m| m.0), micro, "{text}");
        }
    }
}
