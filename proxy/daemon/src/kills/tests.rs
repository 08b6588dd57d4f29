use proptest::prelude::*;

use super::*;

fn kills() -> Arc<Kills> {
    Arc::new(Kills::default())
}

fn entry(agent: &str, key: Option<&str>) -> Entry {
    let reset = CancellationToken::new();
    Entry {
        exchange: format!("{agent}'s"),
        agent: agent.to_owned(),
        team: Some(format!("{agent}-team")),
        key: key.map(str::to_owned),
        reset,
    }
}

fn agent(name: &str) -> Target {
    Target::Agent(name.to_owned())
}

fn key(id: &str) -> Target {
    Target::Key(id.to_owned())
}

fn team(name: &str) -> Target {
    Target::Team(name.to_owned())
}

#[test]
fn a_switch_is_in_force_when_kill_returns_and_until_it_is_lifted() {
    let kills = kills();
    let (switched, _) = kills.kill(agent("a"));
    assert_eq!(switched, Switched { target: agent("a"), on: true });
    assert_eq!(kills.covering("a", Some("a-team"), None), BTreeSet::from([KillScope::Agent]));
    assert_eq!(kills.covering("b", Some("b-team"), None), BTreeSet::new());
    assert_eq!(kills.lift(&agent("a")), Some(Switched { target: agent("a"), on: false }));
    assert_eq!(kills.lift(&agent("a")), None);
    assert_eq!(kills.covering("a", Some("a-team"), None), BTreeSet::new());
}

#[test]
fn every_scope_that_covers_a_caller_is_named() {
    let kills = kills();
    for target in [key("k_1"), Target::Global, team("a-team"), agent("a")] {
        kills.kill(target);
    }
    let all = [KillScope::Key, KillScope::Agent, KillScope::Team, KillScope::Global];
    assert_eq!(kills.covering("a", Some("a-team"), Some("k_1")), BTreeSet::from(all));
    assert_eq!(
        kills.covering("b", Some("b-team"), Some("k_2")),
        BTreeSet::from([KillScope::Global])
    );
}

#[test]
fn a_kill_tells_the_exchanges_it_covers_and_no_other() {
    let kills = kills();
    let covered = kills.enter(entry("a", Some("k_1")));
    let other = kills.enter(entry("b", Some("k_2")));
    let (_, killing) = kills.kill(key("k_1"));
    assert_eq!(killing.covered(), 1);
    assert_eq!((covered.is_killed(), other.is_killed()), (Some(KillScope::Key), None));
}

#[test]
fn a_team_is_stopped_whole_and_alone_before_and_after_the_kill() {
    let kills = kills();
    let (covered, other) = (kills.enter(entry("a", None)), kills.enter(entry("b", None)));
    assert_eq!((kills.would_stop(&team("a-team")), kills.would_stop(&team("a"))), (1, 0));
    let (_, killing) = kills.kill(team("a-team"));
    assert_eq!(killing.covered(), 1);
    let later = kills.enter(entry("a", Some("k_1")));
    let told = [&covered, &later, &other].map(Guard::is_killed);
    assert_eq!(told, [Some(KillScope::Team), Some(KillScope::Team), None]);
    kills.lift(&team("a-team"));
    assert_eq!(kills.enter(entry("a", None)).is_killed(), None);
    assert_eq!(kills.covering("a", None, None), BTreeSet::new());
}

#[test]
fn a_cut_stops_what_is_under_way_and_nothing_that_comes_later() {
    let kills = kills();
    let (covered, other) = (kills.enter(entry("a", Some("k_1"))), kills.enter(entry("b", None)));
    assert_eq!(kills.cut(&key("k_1")).covered(), 1);
    assert_eq!((covered.is_killed(), other.is_killed()), (Some(KillScope::Key), None));
    assert_eq!(kills.enter(entry("a", Some("k_1"))).is_killed(), None);
    assert!(kills.state().is_empty());
}

#[test]
fn who_enters_after_a_kill_is_killed_already() {
    let kills = kills();
    kills.kill(Target::Global);
    assert_eq!(kills.enter(entry("a", None)).is_killed(), Some(KillScope::Global));
}

#[test]
fn a_key_that_is_known_only_later_is_covered_from_then_on() {
    let kills = kills();
    let (before, after) = (kills.enter(entry("a", None)), kills.enter(entry("a", None)));
    after.uses_key("k_1");
    kills.kill(key("k_1"));
    assert_eq!((before.is_killed(), after.is_killed()), (None, Some(KillScope::Key)));
    before.uses_key("k_1");
    assert_eq!(before.is_killed(), Some(KillScope::Key));
}

#[test]
fn the_widest_switch_is_the_one_told_and_lifting_revives_nobody() {
    let kills = kills();
    let guard = kills.enter(entry("a", None));
    kills.kill(Target::Global);
    kills.kill(agent("a"));
    assert_eq!(guard.is_killed(), Some(KillScope::Global));
    kills.lift(&Target::Global);
    assert_eq!(guard.is_killed(), Some(KillScope::Global));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_exchange_is_woken_and_its_end_is_reported() {
    let kills = kills();
    let guard = kills.enter(entry("a", None));
    let exchange = tokio::spawn(async move {
        let scope = guard.killed().await;
        drop(guard);
        scope
    });
    tokio::task::yield_now().await;
    let (_, killing) = kills.kill(agent("a"));
    let ended = killing.ended(Duration::from_millis(50)).await;
    assert_eq!(ended, Ended { ended: 1, stuck: Vec::new() });
    assert_eq!(exchange.await.unwrap(), KillScope::Agent);
    assert_eq!(kills.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_not_ended_at_the_deadline_is_named() {
    let kills = kills();
    let (stuck, good) = (kills.enter(entry("a", None)), kills.enter(entry("b", None)));
    let (_, killing) = kills.kill(Target::Global);
    drop(good);
    let before = tokio::time::Instant::now();
    let ended = killing.ended(Duration::from_millis(50)).await;
    assert_eq!(before.elapsed(), Duration::from_millis(50));
    assert_eq!(ended, Ended { ended: 1, stuck: vec!["a's".to_owned()] });
    drop(stuck);
}

#[test]
fn threads_that_enter_while_a_kill_is_set_all_hear_of_it() {
    for _ in 0..2_000 {
        let kills = kills();
        let over = std::sync::atomic::AtomicBool::new(false);
        let start = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            let entering: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let mut guards = Vec::new();
                        while !over.load(Ordering::Relaxed) && guards.len() < 500 {
                            guards.push(kills.enter(entry("a", None)));
                        }
                        guards
                    })
                })
                .collect();
            start.wait();
            kills.kill(agent("a"));
            over.store(true, Ordering::Relaxed);
            for guards in entering.into_iter().map(|one| one.join().unwrap()) {
                assert!(guards.iter().all(|guard| guard.is_killed() == Some(KillScope::Agent)));
            }
        });
    }
}

proptest! {
    #[test]
    fn switches_rebuilt_from_their_events_are_the_switches(
        steps in prop::collection::vec((0_usize..5, any::<bool>()), 0..40),
    ) {
        let targets = [Target::Global, agent("a"), agent("b"), key("k_1"), team("t")];
        let (live, mut ledger) = (kills(), Vec::new());
        for (which, on) in steps {
            if on {
                ledger.push(live.kill(targets[which].clone()).0);
            } else {
                ledger.extend(live.lift(&targets[which]));
            }
        }
        let rebuilt = kills();
        for event in &ledger {
            rebuilt.apply(event);
        }
        prop_assert_eq!(rebuilt.state(), live.state());
        prop_assert_eq!(Kills::restore(&live.snapshot().unwrap()).unwrap().state(), live.state());
    }
}
