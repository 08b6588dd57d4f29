//! A rate with a burst.

use decide::case::Timestamp;

/// So many at once, so many a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    burst: u64,
    a_second: u64,
    /// What is left, in millionths, at `at`.
    left: u64,
    at: Timestamp,
}

/// One, in millionths: what a microsecond gives is then `a_second`.
const ONE: u64 = 1_000_000;

impl Allowance {
    pub(crate) const fn new(burst: u64, a_second: u64) -> Self {
        Self { burst, a_second, left: burst * ONE, at: Timestamp(0) }
    }

    /// Takes one if there is one.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let passed = now.0.saturating_sub(self.at.0);
        self.at = self.at.max(now);
        self.left =
            self.left.saturating_add(passed.saturating_mul(self.a_second)).min(self.burst * ONE);
        let taken = self.left.checked_sub(ONE);
        self.left = taken.unwrap_or(self.left);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_at_its_rate() {
        let mut allowance = Allowance::new(3, 2);
        let start = Timestamp(1_795_000_000_000_000);
        assert_eq!((0..5).filter(|_| allowance.take(start)).count(), 3);
        assert!(!allowance.take(Timestamp(start.0 + ONE / 2 - 1)));
        assert!(allowance.take(Timestamp(start.0 + ONE / 2)));
        assert!(!allowance.take(Timestamp(start.0 + ONE / 2)));
        assert_eq!((0..9).filter(|_| allowance.take(Timestamp(start.0 + 60 * ONE))).count(), 3);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_twice() {
        let mut allowance = Allowance::new(1, 1);
        let start = Timestamp(1_795_000_000_000_000);
        assert!(allowance.take(start));
        assert!(!allowance.take(Timestamp(start.0 - 9 * ONE)));
        assert!(!allowance.take(start));
    }
}
