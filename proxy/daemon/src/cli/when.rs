//! Points in time as they are shown: local on a terminal, RFC 3339 in UTC elsewhere.

use decide::case::Timestamp;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Instant, Zoned};

use super::failure::Failure;

/// `at` for whoever reads: local time on a terminal, RFC 3339 UTC elsewhere.
pub(crate) fn shown(at: Timestamp, terminal: bool) -> String {
    if terminal { local(at, &TimeZone::system()) } else { utc(at) }
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn utc(at: Timestamp) -> String {
    instant(at).map_or_else(String::new, |at| format!("{at:.3}"))
}

fn local(at: Timestamp, zone: &TimeZone) -> String {
    instant(at).map_or_else(String::new, |at| {
        at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    })
}

fn instant(at: Timestamp) -> Option<Instant> {
    Instant::from_microsecond(i64::try_from(at.0).ok()?).ok()
}

/// The UTC day that `at` lies in: `2026-11-21`. Budgets count by it.
pub(crate) fn day(at: Timestamp) -> String {
    instant(at).map_or_else(String::new, |at| at.to_zoned(TimeZone::UTC).date().to_string())
}

/// The time that is `span` (`30d`, `12h`, `2w`) after `now`, by the calendar in UTC.
pub(crate) fn after(now: Timestamp, span: &str) -> Result<Timestamp, Failure> {
    let wrong = || Failure::usage(format!("`{span}` is not a time like 90m, 12h, 30d or 2w"));
    let ahead: Span = span.parse().map_err(|_form| wrong())?;
    let begin = instant(now).ok_or_else(wrong)?.to_zoned(TimeZone::UTC);
    let end = begin.checked_add(ahead).map_err(|_calendar| wrong())?.timestamp();
    let end = u64::try_from(end.as_microsecond()).map_err(|_before_1970| wrong())?;
    if end > now.0 { Ok(Timestamp(end)) } else { Err(wrong()) }
}

/// How far back a sum goes. Days begin at midnight UTC, as those of the budgets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Window {
    /// Since midnight UTC.
    Day,
    /// Since Monday, UTC.
    Week,
    /// Since the first of the month, UTC.
    Month,
    /// Everything in the ledger.
    All,
}

impl Window {
    /// When the window that holds `now` began.
    pub(crate) fn start(self, now: Timestamp) -> Timestamp {
        let begin = || -> Option<Zoned> {
            let today = instant(now)?.to_zoned(TimeZone::UTC).start_of_day().ok()?;
            let back = match self {
                Self::Day => Span::new(),
                Self::Week => Span::new().days(i64::from(today.weekday().to_monday_zero_offset())),
                Self::Month => Span::new().days(i64::from(today.day()) - 1),
                Self::All => return None,
            };
            today.checked_sub(back).ok()
        };
        let start = begin().map_or(0, |start| start.timestamp().as_microsecond());
        Timestamp(u64::try_from(start).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T13:59:04.123456Z, a Saturday.
    const AT: Timestamp = Timestamp(1_795_269_544_123_456);

    #[test]
    fn a_pipe_gets_rfc_3339_in_utc_and_a_terminal_its_own_time() {
        assert_eq!(shown(AT, false), "2026-11-21T13:59:04.123Z");
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(local(AT, &tokyo), "2026-11-21 22:59:04");
    }

    #[test]
    fn a_time_ahead_has_a_unit_and_is_ahead() {
        for (span, end) in [
            ("30d", "2026-12-21T13:59:04.123Z"),
            ("2w", "2026-12-05T13:59:04.123Z"),
            ("12h", "2026-11-22T01:59:04.123Z"),
            ("1y", "2027-11-21T13:59:04.123Z"),
        ] {
            assert_eq!(utc(after(AT, span).unwrap()), end, "{span}");
        }
        for wrong in ["", "30", "-1d", "0d", "soon", "1d ago", "99999y"] {
            assert!(after(AT, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_begin_at_midnight_utc() {
        for (window, start) in [
            (Window::Day, "2026-11-21T00:00:00.000Z"),
            (Window::Week, "2026-11-16T00:00:00.000Z"),
            (Window::Month, "2026-11-01T00:00:00.000Z"),
            (Window::All, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(window.start(AT)), start);
        }
        assert_eq!(day(AT), "2026-11-21");
    }
}
