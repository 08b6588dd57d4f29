//! Limits that are raised.

use super::*;

/// One of the six that can be raised.
pub(super) fn purse(which: u64, run: &str) -> Purse {
    match which % 6 {
        0 => Purse::Run(run.to_owned()),
        1 => Purse::KeyDay("k_1".to_owned()),
        2 => Purse::AgentDay("agent".to_owned()),
        3 => Purse::AgentMonth("agent".to_owned()),
        4 => Purse::TeamDay("team".to_owned()),
        _ => Purse::TeamMonth("team".to_owned()),
    }
}

#[test]
fn a_raised_limit_holds_for_the_present_window_and_survives_a_restart() {
    // A day's limits first, then a month's: 40 days later both are over.
    for which in [1, 2, 3, 4, 5] {
        let mut all = [1_000_000; 6];
        all[usize::try_from(which).unwrap()] = 100;
        let (limits, books) = (six(all), Books::default());
        let spend = |books: &Books, id: &str, now| {
            let answer = books.reserve(&ask(id, "r", 100, limits), now);
            books.settle(id, Settlement::Actual { cost: MicroUsd(100), tokens: 0 }, now);
            granted(&answer)
        };
        assert!(spend(&books, "1", at(0)) && !spend(&books, "2", at(1)));
        books.raise(purse(which, "r").at(at(1)), MicroUsd(50), at(1));
        assert!(!spend(&books, "3", at(1)), "{which}: a lower limit changed something");
        let raised = books.raise(purse(which, "r").at(at(1)), MicroUsd(200), at(1));
        assert_eq!(books.limit(&raised.account, Some(MicroUsd(100))), Some(MicroUsd(200)));
        let books = Books::restore(&books.snapshot(at(2)).unwrap()).unwrap();
        assert!(spend(&books, "4", at(2)) && !spend(&books, "5", at(2)));
        let later = at(40 * 86_400);
        assert!(spend(&books, "6", later) && !spend(&books, "7", later), "{which}: it never ended");
        drop(books.state(later));
        let forgotten = books.limit(&raised.account, Some(MicroUsd(100)));
        assert_eq!(forgotten, Some(MicroUsd(100)), "{which}: never forgotten");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_team_is_answered_when_it_is_given_more() {
    let books = Arc::new(Books::default());
    let limits = six([1_000, 1_000, 1_000, 1_000, 100, 1_000]);
    assert!(granted(&books.reserve(&ask("1", "r", 100, limits), at(0))));
    let waiting = tokio::spawn({
        let books = Arc::clone(&books);
        async move { books.reserve_or_wait(ask("2", "r", 100, limits), &clock(), PATIENCE).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(books.waiting(), 1);
    let now = clock().now();
    books.raise(Purse::TeamDay("team".to_owned()).at(now), MicroUsd(200), now);
    assert!(granted(&waiting.await.unwrap()));
}
