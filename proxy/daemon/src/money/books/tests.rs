use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

mod raises;
use raises::purse;

const NOON: u64 = 1_795_262_400_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp(NOON + seconds * 1_000_000)
}

fn clock() -> Clock {
    Clock::from_fn(|| at(0))
}

fn payer(run: &str) -> Payer {
    Payer {
        run: run.to_owned(),
        key: "k_1".to_owned(),
        agent: "agent".to_owned(),
        team: Some("team".to_owned()),
        model: "model".to_owned(),
        cost_center: None,
    }
}

fn ask(id: &str, run: &str, worst: u64, limits: Limits) -> Reserve {
    Reserve {
        id: id.to_owned(),
        payer: payer(run),
        limits,
        worst: WorstCase::flat(MicroUsd(worst)),
    }
}

fn run_limit(limit: u64) -> Limits {
    Limits { run: Some(MicroUsd(limit)), ..Limits::default() }
}

fn granted(answer: &Answer) -> bool {
    matches!(answer, Answer::Granted(_))
}

fn run_account(books: &Books, run: &str) -> Account {
    books.account(&AccountId::Run(run.to_owned()))
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn what_is_set_aside_is_set_aside_in_every_scope() {
    let books = Books::default();
    let limits = run_limit(10);
    assert!(granted(&books.reserve(&ask("a", "r", 7, limits), at(0))));
    for (_, id) in AccountId::of(&payer("r"), at(0)) {
        assert_eq!(books.account(&id).reserved, 7, "{id:?}");
    }
    assert_eq!(AccountId::of(&payer("r"), at(0)).len(), 6);
}

#[test]
fn a_refusal_sets_nothing_aside_and_names_the_limit_with_the_least_left() {
    let books = Books::default();
    let limits = Limits { agent_day: Some(MicroUsd(5)), ..run_limit(10) };
    let answer = books.reserve(&ask("a", "r", 7, limits), at(0));
    let short = Short { scope: BudgetScope::AgentDay, left: MicroUsd(5), limit: MicroUsd(5) };
    assert_eq!(answer, Answer::Refused { asked: MicroUsd(7), short });
    assert_eq!(run_account(&books, "r"), Account::default());
}

#[test]
fn the_requests_own_limit_holds_without_an_account() {
    let limits = Limits { request: Some(MicroUsd(6)), ..Limits::default() };
    let books = Books::default();
    assert!(granted(&books.reserve(&ask("a", "r", 6, limits), at(0))));
    assert!(granted(&books.reserve(&ask("b", "r", 6, limits), at(0))));
    assert!(!granted(&books.reserve(&ask("c", "r", 7, limits), at(0))));
}

#[test]
fn an_actual_cost_replaces_the_reservation_once() {
    let books = Books::default();
    books.reserve(&ask("a", "r", 7, run_limit(10)), at(0));
    let actual = Settlement::Actual { cost: MicroUsd(2), tokens: 30 };
    let settled = books.settle("a", actual, at(1)).unwrap();
    assert_eq!((settled.spent, settled.in_doubt), (MicroUsd(2), MicroUsd(0)));
    assert_eq!(books.settle("a", Settlement::Zero, at(2)), None);
    assert_eq!(run_account(&books, "r"), Account { spent: 2, ..Account::default() });
}

#[test]
fn a_cost_above_its_reservation_is_booked_as_it_is_and_counted() {
    let books = Books::default();
    books.reserve(&ask("a", "r", 7, run_limit(10)), at(0));
    books.settle("a", Settlement::Actual { cost: MicroUsd(12), tokens: 0 }, at(1));
    assert_eq!((run_account(&books, "r").spent, books.overruns()), (12, 1));
    assert!(!granted(&books.reserve(&ask("b", "r", 1, run_limit(10)), at(2))));
}

#[test]
fn doubt_keeps_the_whole_reservation_counted_until_somebody_knows() {
    let books = Books::default();
    books.reserve(&ask("a", "r", 7, run_limit(10)), at(0));
    books.settle("a", Settlement::InDoubt { estimate: MicroUsd(3), tokens: 0 }, at(1));
    assert_eq!(run_account(&books, "r"), Account { spent: 3, reserved: 0, in_doubt: 4 });
    assert!(!granted(&books.reserve(&ask("b", "r", 4, run_limit(10)), at(2))));
    books.release("a", MicroUsd(1), at(3)).unwrap();
    assert_eq!(run_account(&books, "r"), Account { spent: 1, ..Account::default() });
    assert_eq!(books.release("a", MicroUsd(0), at(4)), None);
}

#[test]
fn after_a_crash_a_decision_without_an_outcome_is_in_doubt() {
    let books = Books::default();
    books.reserve(&ask("a", "r", 7, run_limit(10)), at(0));
    let restored = Books::restore(&books.snapshot(at(1)).unwrap()).unwrap();
    let doubted = restored.doubt_open(at(2));
    assert_eq!((doubted.len(), doubted[0].in_doubt), (1, MicroUsd(7)));
    assert_eq!(run_account(&restored, "r").in_doubt, 7);
    assert_eq!(restored.doubt_open(at(3)), []);
}

#[test]
fn an_exchange_that_asks_twice_has_one_reservation() {
    let books = Books::default();
    let first = books.reserve(&ask("a", "r", 7, run_limit(10)), at(0));
    assert_eq!(books.reserve(&ask("a", "r", 7, run_limit(10)), at(1)), first);
    assert_eq!(run_account(&books, "r").reserved, 7);
}

#[test]
fn a_day_and_a_month_start_anew_and_a_run_does_not() {
    let books = Books::default();
    let day = Limits { key_day: Some(MicroUsd(10)), ..run_limit(15) };
    books.reserve(&ask("a", "r", 9, day), at(0));
    books.settle("a", Settlement::Actual { cost: MicroUsd(9), tokens: 0 }, at(1));
    assert!(!granted(&books.reserve(&ask("b", "r", 6, day), at(2))));
    let tomorrow = at(86_400);
    assert!(granted(&books.reserve(&ask("c", "r", 6, day), tomorrow)));
    assert!(!granted(&books.reserve(&ask("d", "r", 1, day), tomorrow)));
}

#[test]
fn a_raised_run_goes_on_and_cannot_be_lowered() {
    let books = Books::default();
    books.raise(AccountId::Run("r".to_owned()), MicroUsd(20), at(0));
    books.raise(AccountId::Run("r".to_owned()), MicroUsd(1), at(0));
    assert!(granted(&books.reserve(&ask("a", "r", 20, run_limit(10)), at(1))));
    assert_eq!(books.run_limit("r", Some(MicroUsd(10))), Some(MicroUsd(20)));
}

#[test]
fn spending_adds_up_by_every_name() {
    let books = Books::default();
    for (id, run) in [("a", "r1"), ("b", "r1"), ("c", "r2")] {
        books.reserve(&ask(id, run, 7, Limits::default()), at(0));
        books.settle(id, Settlement::Actual { cost: MicroUsd(2), tokens: 5 }, at(1));
    }
    let today = Day::of(at(0));
    let state = books.state(at(2));
    let lines = |by, run| {
        let lines = state.spending(by, today, today, run);
        lines.into_iter().map(|line| (line.name, line.spent.spent)).collect::<Vec<_>>()
    };
    assert_eq!(lines(SpentBy::Run, None), [("r1".to_owned(), 4), ("r2".to_owned(), 2)]);
    assert_eq!(lines(SpentBy::Agent, Some("r1")), [("agent".to_owned(), 4)]);
    assert_eq!(lines(SpentBy::Model, None), [("model".to_owned(), 6)]);
    assert_eq!(lines(SpentBy::Key, None), [("k_1".to_owned(), 6)]);
    assert_eq!(lines(SpentBy::Day, None), [("2026-11-21".to_owned(), 6)]);
    assert_eq!(state.spending(SpentBy::Run, today, today, None)[0].spent.tokens, 10);
}

#[test]
fn what_is_over_is_forgotten_and_what_is_open_is_not() {
    let books = Books::default();
    for id in ["a", "b"] {
        books.reserve(&ask(id, "r", 7, Limits::default()), at(0));
    }
    books.settle("a", Settlement::Actual { cost: MicroUsd(2), tokens: 5 }, at(1));
    books.close("r", at(2));
    let later = at(100 * 86_400);
    let state = books.state(later);
    assert_eq!((state.rows().count(), state.all_open().count()), (0, 1));
    assert_eq!(run_account(&books, "r").counted(), 9);
    books.settle("b", Settlement::Zero, later);
    assert_eq!(books.state(later), State::default());
    assert_eq!(run_account(&books, "r"), Account::default());
}

// --- waiting

#[tokio::test(start_paused = true)]
async fn who_would_fit_but_for_open_exchanges_waits_for_them() {
    let books = Arc::new(Books::default());
    let clock = clock();
    books.reserve(&ask("a", "r", 8, run_limit(10)), at(0));
    let waiting = books.reserve_or_wait(ask("b", "r", 5, run_limit(10)), &clock, PATIENCE);
    tokio::pin!(waiting);
    assert!(futures_pending(waiting.as_mut()).await);
    books.settle("a", Settlement::Actual { cost: MicroUsd(2), tokens: 0 }, at(1));
    assert!(granted(&waiting.await));
    assert_eq!(run_account(&books, "r"), Account { spent: 2, reserved: 5, in_doubt: 0 });
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_on_a_scope_that_somebody_waits_for() {
    let (books, clock) = (Books::default(), clock());
    books.reserve(&ask("a", "r", 8, run_limit(10)), at(0));
    let large = books.reserve_or_wait(ask("large", "r", 9, run_limit(10)), &clock, PATIENCE);
    let small = books.reserve_or_wait(ask("small", "r", 1, run_limit(10)), &clock, PATIENCE);
    tokio::pin!(large, small);
    assert!(futures_pending(large.as_mut()).await && futures_pending(small.as_mut()).await);
    assert_eq!(books.reserve(&ask("now", "r", 1, run_limit(10)), at(0)), Answer::Wait);
    assert!(granted(&books.reserve(&ask("other", "r2", 1, run_limit(10)), at(0))));
    books.settle("a", Settlement::Zero, at(1));
    assert!(granted(&large.await) && granted(&small.await));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_in_a_refusal_that_names_what_is_short() {
    let (books, clock) = (Books::default(), clock());
    books.reserve(&ask("a", "r", 8, run_limit(10)), at(0));
    let before = tokio::time::Instant::now();
    let answer = books.reserve_or_wait(ask("b", "r", 5, run_limit(10)), &clock, PATIENCE).await;
    let short = Short { scope: BudgetScope::Run, left: MicroUsd(2), limit: MicroUsd(10) };
    assert_eq!(answer, Answer::Refused { asked: MicroUsd(5), short });
    assert_eq!(before.elapsed(), PATIENCE);
    assert_eq!(books.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_lets_the_next_one_through_and_keeps_nothing() {
    let (books, clock) = (Books::default(), clock());
    books.reserve(&ask("a", "r", 8, run_limit(10)), at(0));
    let mut first =
        Box::pin(books.reserve_or_wait(ask("large", "r", 9, run_limit(10)), &clock, PATIENCE));
    let second = books.reserve_or_wait(ask("small", "r", 1, run_limit(10)), &clock, PATIENCE);
    tokio::pin!(second);
    assert!(futures_pending(first.as_mut()).await && futures_pending(second.as_mut()).await);
    drop(first);
    assert!(granted(&second.await));
    assert_eq!(run_account(&books, "r").reserved, 9);
}

/// Nothing changes on any account when who waits longest leaves, and yet the other goes on.
#[tokio::test(start_paused = true)]
async fn who_fits_and_waits_behind_another_run_goes_on_when_that_one_leaves() {
    let (books, clock) = (Books::default(), clock());
    let limits = Limits { team_day: Some(MicroUsd(10)), ..run_limit(10) };
    books.reserve(&ask("a", "r", 8, limits), at(0));
    let mut first = Box::pin(books.reserve_or_wait(ask("b", "r", 9, limits), &clock, PATIENCE));
    assert!(futures_pending(first.as_mut()).await);
    let second = books.reserve_or_wait(ask("c", "s", 1, limits), &clock, PATIENCE);
    tokio::pin!(second);
    assert!(futures_pending(second.as_mut()).await, "the team's day is waited for");
    drop(first);
    assert!(granted(&second.await));
    assert_eq!(books.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_took_is_given_back() {
    let (books, clock) = (Books::default(), clock());
    books.reserve(&ask("a", "r", 8, run_limit(10)), at(0));
    let mut waiting =
        Box::pin(books.reserve_or_wait(ask("b", "r", 5, run_limit(10)), &clock, PATIENCE));
    assert!(futures_pending(waiting.as_mut()).await);
    books.settle("a", Settlement::Zero, at(1));
    assert_eq!(run_account(&books, "r").reserved, 5);
    drop(waiting);
    assert_eq!(run_account(&books, "r").reserved, 0);
}

#[test]
fn only_what_nobody_can_give_back_lowers_the_limit() {
    let books = Books::default();
    let model = crate::money::Model {
        standard: crate::money::Rates { output: Some(1_000_000), ..crate::money::Rates::default() },
        max_output: Some(100),
        ..crate::money::Model::default()
    };
    let facts = crate::money::worst_case::tests::plain_ask();
    let weighed = crate::money::worst_case::tests::weighed(&facts);
    let worst = crate::money::weigh(&weighed, &model).unwrap();
    let with = |id: &str| Reserve { worst, ..ask(id, "r", 0, run_limit(150)) };
    assert!(granted(&books.reserve(&with("a"), at(0))));
    assert_eq!(books.reserve(&with("b"), at(0)), Answer::Wait);
    books.settle("a", Settlement::Actual { cost: MicroUsd(90), tokens: 0 }, at(1));
    let Answer::Granted(booked) = books.reserve(&with("b"), at(2)) else { panic!("not granted") };
    assert_eq!((booked.worst, booked.output_limit), (MicroUsd(60), Some(60)));
}

async fn futures_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut future = future;
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

// --- under concurrency

fn six(limits: [u64; 6]) -> Limits {
    let [run, key_day, agent_day, agent_month, team_day, team_month] =
        limits.map(|limit| Some(MicroUsd(limit)));
    Limits { request: None, run, key_day, agent_day, agent_month, team_day, team_month }
}

fn within(books: &Books, run: &str, limits: &Limits) {
    for (scope, id) in AccountId::of(&payer(run), at(0)) {
        let counted = books.account(&id).counted();
        assert!(counted <= limits.of(scope).unwrap().0, "{id:?}: {counted}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_interleaving_overspends_any_scope_and_everybody_is_answered(
        limits in proptest::array::uniform6(50_u64..400),
        asks in prop::collection::vec((0_u8..3, 1_u64..120, 0_u64..50, 0_u64..2_000, 0_u64..=120), 1..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let limits = six(limits);
        let books = Arc::new(Books::default());
        let answered = runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for (number, (run, worst, start, hold, cost)) in asks.iter().copied().enumerate() {
                let books = Arc::clone(&books);
                tasks.spawn(async move {
                    let clock = clock();
                    let (id, run) = (number.to_string(), format!("r{run}"));
                    tokio::time::sleep(Duration::from_millis(start)).await;
                    let answer =
                        books.reserve_or_wait(ask(&id, &run, worst, limits), &clock, PATIENCE).await;
                    within(&books, &run, &limits);
                    if granted(&answer) {
                        tokio::time::sleep(Duration::from_millis(hold)).await;
                        let cost = MicroUsd(cost.min(worst));
                        books.settle(&id, Settlement::Actual { cost, tokens: 0 }, at(0)).unwrap();
                    }
                    within(&books, &run, &limits);
                });
            }
            tasks.join_all().await.len()
        });
        prop_assert_eq!(answered, asks.len());
        prop_assert_eq!(books.waiting(), 0);
    }

    #[test]
    fn the_books_rebuilt_from_their_events_are_the_books(
        steps in prop::collection::vec((0_u8..10, 0_u8..3, 1_u64..60, 0_u64..70, 0_u64..5), 1..80),
    ) {
        let limits = six([150, 200, 300, 400, 500, 600]);
        let (books, mut ledger) = (Books::default(), Vec::new());
        let mut open: Vec<String> = Vec::new();
        let mut ended: Vec<String> = Vec::new();
        for (number, (what, run, worst, other, days)) in steps.into_iter().enumerate() {
            let (now, run) = (at(days * 20 * 86_400), format!("r{run}"));
            match what {
                0..=4 => {
                    let id = number.to_string();
                    if let Answer::Granted(booked) = books.reserve(&ask(&id, &run, worst, limits), now) {
                        ledger.push(MoneyEvent::Booked(booked));
                        open.push(id);
                    }
                }
                5 => if let Some(id) = open.pop() {
                    let how = Settlement::Actual { cost: MicroUsd(other), tokens: other };
                    ledger.push(MoneyEvent::Settled(books.settle(&id, how, now).unwrap()));
                },
                6 => if let Some(id) = open.pop() {
                    let how = Settlement::InDoubt { estimate: MicroUsd(other), tokens: 1 };
                    ledger.push(MoneyEvent::Settled(books.settle(&id, how, now).unwrap()));
                    ended.push(id);
                },
                7 => if let Some(id) = open.pop() {
                    books.cancel(&id, now);
                    ledger.retain(|event| !matches!(event, MoneyEvent::Booked(one) if one.id == id));
                },
                8 => ledger.push(MoneyEvent::Raised(books.raise(purse(other, &run).at(now), MicroUsd(100 + other), now))),
                _ => if let Some(released) = ended.pop().and_then(|id| books.release(&id, MicroUsd(other), now)) {
                    ledger.push(MoneyEvent::Released(released));
                } else {
                    ledger.push(MoneyEvent::Closed(books.close(&run, now)));
                },
            }
        }
        let mut rebuilt = State::default();
        for event in &ledger {
            rebuilt.apply(event);
        }
        let then = at(70 * 86_400);
        rebuilt.prune(then);
        prop_assert_eq!(&rebuilt, &books.state(then));
        let written = Books::restore(&books.snapshot(then).unwrap()).unwrap();
        prop_assert_eq!(rebuilt, written.state(then));
    }
}

#[test]
fn threads_at_once_never_overspend() {
    let books = Books::default();
    let limits = six([1_000, 1_500, 1_400, 5_000, 6_000, 7_000]);
    let highest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (books, highest) = (&books, &highest);
            scope.spawn(move || {
                for round in 0..400_u64 {
                    let id = format!("{thread}.{round}");
                    let run = format!("r{}", thread % 2);
                    let worst = 1 + (thread * 31 + round * 17) % 400;
                    if granted(&books.reserve(&ask(&id, &run, worst, limits), at(0))) {
                        let day = AccountId::AgentDay("agent".to_owned(), Day::of(at(0)));
                        highest.fetch_max(books.account(&day).counted(), Ordering::Relaxed);
                        let cost = MicroUsd(u64::from(round % 100 == 0));
                        books.settle(&id, Settlement::Actual { cost, tokens: 0 }, at(0));
                    }
                }
            });
        }
    });
    let highest = highest.into_inner();
    assert!(highest > 400 && highest <= 1_400, "{highest}");
    within(&books, "r0", &limits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_on_several_threads_take_turns_and_nobody_starves() {
    let books = Arc::new(Books::default());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64_u64 {
        let books = Arc::clone(&books);
        tasks.spawn(async move {
            let id = number.to_string();
            let worst = 1 + number * 37 % 100;
            let asked = ask(&id, "r", worst, run_limit(100));
            let answer = books.reserve_or_wait(asked, &clock(), PATIENCE).await;
            assert!(run_account(&books, "r").counted() <= 100);
            tokio::task::yield_now().await;
            books.settle(&id, Settlement::Zero, at(0));
            granted(&answer)
        });
    }
    assert!(tasks.join_all().await.into_iter().all(|granted| granted));
    assert_eq!(run_account(&books, "r"), Account::default());
}
