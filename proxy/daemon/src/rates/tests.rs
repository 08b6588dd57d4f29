use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const LIMIT: RateLimit = RateLimit { requests: 3, per_seconds: 10 };

fn at(millis: u64) -> Timestamp {
    Timestamp(1_795_262_400_000_000 + millis * 1_000)
}

fn enter(rates: &Rates, millis: u64) -> Rate {
    rates.enter("agent", Some(LIMIT), at(millis)).0
}

#[test]
fn an_agent_without_a_limit_is_not_counted() {
    let rates = Rates::default();
    assert_eq!(rates.enter("agent", None, at(0)), (Rate::Unlimited, None));
    assert_eq!(rates.state(at(0)), []);
}

#[test]
fn the_request_over_the_limit_is_told_when_to_come_again_and_is_not_counted() {
    let rates = Rates::default();
    for millis in [0, 1_000, 2_000] {
        assert_eq!(enter(&rates, millis), Rate::Within);
    }
    for millis in [2_000_u64, 3_500] {
        let left = 10_000 - millis;
        let seconds = u32::try_from(left.div_ceil(1_000)).unwrap();
        assert_eq!(enter(&rates, millis), Rate::Exceeded { limit: 3, retry_after: seconds });
    }
    assert_eq!(enter(&rates, 9_999), Rate::Exceeded { limit: 3, retry_after: 1 });
    assert_eq!(enter(&rates, 10_000), Rate::Within);
    assert!(matches!(enter(&rates, 10_000), Rate::Exceeded { .. }));
}

#[test]
fn agents_and_limits_have_windows_of_their_own() {
    let rates = Rates::default();
    let one = RateLimit { requests: 1, per_seconds: 10 };
    assert_eq!(rates.enter("a", Some(one), at(0)).0, Rate::Within);
    assert_eq!(rates.enter("b", Some(one), at(0)).0, Rate::Within);
    assert_eq!(rates.enter("a", Some(LIMIT), at(0)).0, Rate::Within);
    assert!(matches!(rates.enter("a", Some(one), at(1)).0, Rate::Exceeded { .. }));
}

#[test]
fn a_limit_of_nothing_allows_nothing() {
    let none = RateLimit { requests: 0, per_seconds: 10 };
    let rate = Rates::default().enter("a", Some(none), at(0)).0;
    assert_eq!(rate, Rate::Exceeded { limit: 0, retry_after: 10 });
}

#[test]
fn a_clock_that_steps_back_does_not_open_the_window() {
    let rates = Rates::default();
    for _ in 0..3 {
        assert_eq!(enter(&rates, 50_000), Rate::Within);
    }
    assert_eq!(enter(&rates, 0), Rate::Exceeded { limit: 3, retry_after: 10 });
    assert_eq!(enter(&rates, 60_000), Rate::Within);
}

#[test]
fn concurrent_requests_cannot_share_the_last_place() {
    let rates = Arc::new(Rates::default());
    let limit = RateLimit { requests: 50, per_seconds: 10 };
    let within: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..20)
                        .filter(|_| rates.enter("a", Some(limit), at(0)).0 == Rate::Within)
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(within, 50);
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_than_the_limit_and_rebuilt_windows_are_the_same(
        steps in prop::collection::vec(0_u64..4_000, 1..60),
    ) {
        let (rates, mut now, mut entered) = (Rates::default(), 0, Vec::new());
        for step in steps {
            now += step;
            entered.extend(rates.enter("agent", Some(LIMIT), at(now)).1);
        }
        for four in entered.windows(4) {
            prop_assert!(four[3].at - four[0].at >= 10 * SECOND);
        }
        let rebuilt = Rates::default();
        for one in &entered {
            rebuilt.apply(one);
        }
        prop_assert_eq!(rebuilt.state(at(now)), rates.state(at(now)));
        let restored = Rates::restore(&rates.snapshot(at(now)).unwrap()).unwrap();
        prop_assert_eq!(restored.state(at(now)), rates.state(at(now)));
    }
}
