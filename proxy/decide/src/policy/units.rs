//! Reads what people write: money, durations, sizes, points in time. Without floats, and exactly or
//! not at all.

use crate::case::{MicroUsd, Timestamp};

/// `$5`, `$0.25`, `2.50`: dollars with at most six decimals.
pub(super) fn money(text: &str) -> Option<MicroUsd> {
    let dollars = text.strip_prefix('$').unwrap_or(text);
    let (whole, part) = match dollars.split_once('.') {
        Some((whole, part)) if (1..=6).contains(&part.len()) => (whole, part),
        Some(_) => return None,
        None => (dollars, "0"),
    };
    let scale = 10_u64.checked_pow(u32::try_from(6 - part.len()).ok()?)?;
    let micro = digits(part)?.checked_mul(scale)?;
    digits(whole)?.checked_mul(1_000_000)?.checked_add(micro).map(MicroUsd)
}

/// `30s`, `10m`, `8h`, `7d` in seconds; never zero.
pub(super) fn seconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    counted(text, &UNITS)
}

/// `512KiB`, `8MiB`, `1GiB`, `100B` in bytes; never zero.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] =
        [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    counted(text, &UNITS)
}

/// An RFC 3339 point in time: `2026-11-21T00:00:00Z`, with an offset or a fraction if need be.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let split = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at_checked(split)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    digits(fraction)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=longest).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let utc = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => local,
        (sign, offset) => {
            let [hours, minutes] = fields(offset, ':', [2, 2])?;
            let east = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            if sign == "+" { local.checked_sub(east)? } else { local + east }
        }
    };
    utc.checked_mul(1_000_000).map(Timestamp)
}

/// Days from 1970-01-01, counting years from March so that the leap day is the last of its year.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    year * 365 + year / 4 - year / 100 + year / 400 + before_month + day - 1 - 719_468
}

/// Numbers of these widths between separators, and nothing else.
fn fields<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        *number = parts.next().filter(|part| part.len() == width).and_then(digits)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn counted(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (count, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    digits(count)?.checked_mul(*size).filter(|total| *total > 0)
}

/// A number in decimal digits only.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_to_the_millionth_or_refused() {
        for (text, micro) in [
            ("$5", Some(5_000_000)),
            ("$0.25", Some(250_000)),
            ("2.5", Some(2_500_000)),
            ("$0.000001", Some(1)),
            ("$0", Some(0)),
            ("$0.0000001", None),
            ("$1.", None),
            ("$.5", None),
            ("$-1", None),
            ("$1e3", None),
            ("1,000", None),
            ("", None),
            ("$18446744073710", None),
        ] {
            assert_eq!(money(text).map(|m| m.0), micro, "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_have_a_unit_and_are_not_zero() {
        for (text, expected) in [
            ("10m", Some(600)),
            ("8h", Some(28_800)),
            ("10", None),
            ("0s", None),
            ("1w", None),
            ("m", None),
            ("1 m", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for (text, expected) in [
            ("8MiB", Some(8 << 20)),
            ("100B", Some(100)),
            ("8MB", None),
            ("8", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn points_in_time_are_those_of_the_calendar() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T00:00:00Z", Some(1_795_219_200)),
            ("2024-02-29T12:30:15.5Z", Some(1_709_209_815)),
            ("2026-11-21T01:00:00+01:00", Some(1_795_219_200)),
            ("2026-11-20T19:00:00-05:00", Some(1_795_219_200)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-21", None),
            ("2026-11-21T00:00:00", None),
            ("2026-11-21T24:00:00Z", None),
            ("2026-11-21T00:00:00Zx", None),
            ("26-11-21T00:00:00Z", None),
        ] {
            assert_eq!(timestamp(text), expected.map(|s: u64| Timestamp(s * 1_000_000)), "{text}");
        }
    }
}
