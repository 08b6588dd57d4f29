use std::os::fd::OwnedFd;

use decide::case::Identified;
use proptest::prelude::*;

use super::*;

const REAL: &str = "sk-proj-canary-8841-real";

pub(super) fn master() -> MasterKey {
    let folder = tempfile::tempdir().unwrap();
    MasterKey::open(OwnedFd::from(std::fs::File::open(folder.path()).unwrap())).unwrap()
}

pub(super) fn real() -> Secret {
    Secret::from(REAL.to_owned())
}

fn wanted<'a>(run: &'a str, agent: &'a str) -> Wanted<'a> {
    Wanted { credential: "openai", shape: Shape::Openai, run, agent, expires: None, uses: None }
}

pub(super) fn caller(run: &str, agent: &str) -> Caller {
    Caller {
        agent: agent.to_owned(),
        run: run.to_owned(),
        team: None,
        by: Identified::Run,
        proxied: None,
        from: None,
    }
}

fn text(issued: &Issued) -> String {
    String::from_utf8(issued.key.reveal().to_vec()).unwrap()
}

pub(super) fn key(presentation: &Presentation) -> Option<&Key> {
    match &presentation.presented {
        Presented::Key(key) => Some(key),
        Presented::Nothing | Presented::Unknown | Presented::Ambiguous => None,
    }
}

pub(super) const NOW: Timestamp = Timestamp(1_000);

#[test]
fn a_virtual_key_has_the_providers_shape_and_says_nothing_of_the_real_one() {
    let keys = Keys::new(&master(), State::default());
    let openai = text(&keys.issue(&real(), &wanted("r", "a")).unwrap());
    let shaped = Wanted { shape: Shape::Anthropic, ..wanted("r", "a") };
    let anthropic = text(&keys.issue(&real(), &shaped).unwrap());
    assert!(openai.starts_with("sk-tg-") && is_virtual(&openai));
    assert!(anthropic.starts_with("sk-ant-tg-") && is_virtual(&anthropic));
    assert!(!is_virtual(REAL) && !is_virtual("sk-tg-short") && !is_virtual(&format!("{openai}x")));
}

#[test]
fn one_real_key_has_one_virtual_key_in_every_run_of_a_state_folder_and_another_elsewhere() {
    let master_key = master();
    let issue = |master: &MasterKey, real: &Secret, run: &str| {
        text(&Keys::new(master, State::default()).issue(real, &wanted(run, "a")).unwrap())
    };
    let first = issue(&master_key, &real(), "r1");
    assert_eq!(first, issue(&master_key, &real(), "r2"));
    assert_ne!(first, issue(&master_key, &Secret::from("other".to_owned()), "r1"));
    assert_ne!(first, issue(&master(), &real(), "r1"));
}

#[test]
fn a_key_opens_for_the_run_that_was_given_it() {
    let keys = Keys::new(&master(), State::default());
    let issued = keys.issue(&real(), &wanted("r", "a")).unwrap();
    let presentation = keys.present(&["", &text(&issued)], &caller("r", "a"), NOW);
    let found = key(&presentation).unwrap();
    assert_eq!((found.id.as_str(), found.agent.as_str()), (issued.event.id.as_str(), "a"));
    assert_eq!((found.credential.as_str(), found.revoked), ("openai", false));
    assert!(presentation.used.is_some());
}

#[test]
fn another_agent_is_told_whose_it_is_and_another_run_that_it_is_not_known() {
    let keys = Keys::new(&master(), State::default());
    let virtual_key = text(&keys.issue(&real(), &wanted("r", "a")).unwrap());
    let stranger = keys.present(&[&virtual_key], &caller("r2", "b"), NOW);
    assert_eq!(key(&stranger).unwrap().agent, "a");
    assert_eq!(stranger.used, None);
    let same_run = keys.present(&[&virtual_key], &caller("r", "b"), NOW);
    assert_eq!((key(&same_run).unwrap().agent.as_str(), &same_run.used), ("a", &None));
    let other_run = keys.present(&[&virtual_key], &caller("r2", "a"), NOW);
    assert_eq!(other_run.presented, Presented::Unknown);
    keys.close("r");
    let closed = keys.present(&[&virtual_key], &caller("r", "a"), NOW);
    assert_eq!(closed.presented, Presented::Unknown);
}

#[test]
fn two_runs_share_a_key_each_under_its_own_terms() {
    let keys = Keys::new(&master(), State::default());
    keys.issue(&real(), &Wanted { uses: Some(1), ..wanted("r1", "a") }).unwrap();
    let issued = keys.issue(&real(), &wanted("r2", "b")).unwrap();
    let shared = text(&issued);
    let first = keys.present(&[&shared], &caller("r1", "a"), NOW);
    assert_eq!(key(&first).unwrap().uses_left, Some(1));
    let second = keys.present(&[&shared], &caller("r2", "b"), NOW);
    assert_eq!(key(&second).unwrap().uses_left, None);
    let spent = keys.present(&[&shared], &caller("r1", "a"), NOW);
    assert_eq!((key(&spent).unwrap().uses_left, &spent.used), (Some(0), &None));
}

#[test]
fn nothing_unknown_and_ambiguous_are_told_apart() {
    let keys = Keys::new(&master(), State::default());
    let ours = text(&keys.issue(&real(), &wanted("r", "a")).unwrap());
    let foreign = format!("sk-tg-{}", "A".repeat(BODY));
    let present = |candidates: &[&str]| keys.present(candidates, &caller("r", "a"), NOW).presented;
    assert_eq!(present(&[]), Presented::Nothing);
    assert_eq!(present(&[REAL]), Presented::Nothing);
    assert_eq!(present(&[&foreign]), Presented::Unknown);
    assert_eq!(present(&[&ours, &foreign]), Presented::Ambiguous);
    assert!(matches!(present(&[&ours, &ours]), Presented::Key(_)));
}

#[test]
fn a_use_is_entered_before_judging_and_a_refused_request_gives_it_back() {
    let keys = Keys::new(&master(), State::default());
    let issued = keys.issue(&real(), &Wanted { uses: Some(1), ..wanted("r", "a") }).unwrap();
    let virtual_key = text(&issued);
    let present = || keys.present(&[&virtual_key], &caller("r", "a"), NOW);
    let first = present();
    assert_eq!(present().used, None);
    keys.give_back(&first.used.unwrap());
    assert!(present().used.is_some());
}

#[test]
fn an_expired_key_enters_no_use() {
    let keys = Keys::new(&master(), State::default());
    let expires = Some(Timestamp(NOW.0 + 1));
    let issued = keys.issue(&real(), &Wanted { expires, ..wanted("r", "a") }).unwrap();
    let virtual_key = text(&issued);
    let used = |at| keys.present(&[&virtual_key], &caller("r", "a"), Timestamp(at)).used;
    assert!(used(NOW.0).is_some());
    assert_eq!(used(NOW.0 + 1), None);
}

#[test]
fn a_revoked_key_is_revoked_for_every_run_to_come() {
    let keys = Keys::new(&master(), State::default());
    let issued = keys.issue(&real(), &wanted("r", "a")).unwrap();
    assert_eq!(keys.revoke("k_0", "", ""), None);
    keys.revoke(&issued.event.id, "", "").unwrap();
    let presented = keys.present(&[&text(&issued)], &caller("r", "a"), NOW);
    assert!(key(&presented).unwrap().revoked && presented.used.is_none());
    let again = keys.issue(&real(), &wanted("r2", "a")).unwrap_err().to_string();
    assert!(again.contains(&issued.event.id) && !again.contains(REAL));
}

#[test]
fn a_real_key_that_turns_up_in_a_request_is_recognised() {
    let keys = Keys::new(&master(), State::default());
    keys.issue(&real(), &wanted("r", "a")).unwrap();
    assert_eq!(keys.recognise(REAL), Some(Shape::Openai));
    assert_eq!(keys.recognise("sk-proj-another"), None);
}

#[test]
fn neither_key_is_in_what_is_stored_or_printed() {
    let master_key = master();
    let keys = Keys::new(&master_key, State::default());
    let issued = keys.issue(&real(), &wanted("r", "a")).unwrap();
    let stored = String::from_utf8(keys.snapshot().unwrap()).unwrap();
    let printed = format!("{keys:?} {issued:?} {:?} {stored} {master_key:?}", keys.state());
    for canary in [REAL, &text(&issued)] {
        assert!(!printed.contains(canary));
    }
    let plain_hash = Hash::of(REAL.as_bytes()).to_string();
    assert!(!printed.contains(&plain_hash), "the real key's fingerprint is keyed");
}

#[test]
fn the_last_use_is_given_to_one_of_many_at_once() {
    let keys = Keys::new(&master(), State::default());
    let issued = keys.issue(&real(), &Wanted { uses: Some(9), ..wanted("r", "a") }).unwrap();
    let virtual_key = text(&issued);
    let entered: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..10)
                        .filter_map(|_| keys.present(&[&virtual_key], &caller("r", "a"), NOW).used)
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(entered, 9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn keys_rebuilt_from_their_events_are_the_keys(
        steps in prop::collection::vec((0_u8..11, 0_u8..3, 0_u8..3), 0..60),
    ) {
        let master_key = master();
        let (keys, mut ledger) = (Keys::new(&master_key, State::default()), Vec::new());
        let mut standing: Vec<Created> = Vec::new();
        for (step, (what, which, run)) in steps.into_iter().enumerate() {
            let now = Timestamp(NOW.0 + step as u64);
            let real = Secret::from(format!("real {which}"));
            let run = format!("r{run}");
            let wanted = Wanted { uses: Some(4), ..wanted(&run, "a") };
            match what {
                0 | 1 => if let Ok(issued) = keys.issue(&real, &wanted) {
                    ledger.push(KeyEvent::Issued(issued.event));
                },
                2..=3 => {
                    let derived = keys.derived(keys.fingerprint_of(real.reveal()), Shape::Openai);
                    let virtual_key = std::str::from_utf8(derived.reveal()).unwrap();
                    if let Some(used) = keys.present(&[virtual_key], &caller(&run, "a"), NOW).used {
                        if what == 2 { ledger.push(KeyEvent::Used(used)); } else { keys.give_back(&used); }
                    }
                }
                4 => ledger.push(KeyEvent::Closed(keys.close(&run))),
                5 | 6 => {
                    let asked = NewKey {
                        name: format!("n{which}"),
                        agent: "a".to_owned(),
                        credential: "openai".to_owned(),
                        expires: (what == 6).then(|| Timestamp(now.0 + 5)),
                        uses: Some(3),
                        from: vec!["cgroup:/a".parse().unwrap()],
                        by: "uid 0".to_owned(),
                    };
                    let random = [u8::try_from(step).unwrap(); 32];
                    if let Ok(created) = keys.create(asked, Shape::Openai, &random, now) {
                        ledger.push(KeyEvent::Created(created.event.clone()));
                        standing.push(created);
                    }
                }
                7 | 8 => if let Some(created) = standing.get(usize::from(which)) {
                    let virtual_key = std::str::from_utf8(created.key.reveal()).unwrap();
                    if let Some(used) = keys.present(&[virtual_key], &caller(&run, "a"), now).used {
                        if what == 7 { ledger.push(KeyEvent::Used(used)); } else { keys.give_back(&used); }
                    }
                },
                9 => ledger.extend(keys.revoke(&format!("n{which}"), "x", "y").map(KeyEvent::Revoked)),
                _ => if which == 0 && run == "r0" {
                    let derived = keys.derived(keys.fingerprint_of(real.reveal()), Shape::Openai);
                    let id = Hash::of(derived.reveal()).key_id();
                    ledger.extend(keys.revoke(&id, "", "").map(KeyEvent::Revoked));
                },
            }
        }
        let mut rebuilt = State::default();
        for event in &ledger {
            rebuilt.apply(event);
        }
        prop_assert_eq!(&rebuilt, &keys.state());
        let restored = Keys::restore(&master_key, &keys.snapshot().unwrap()).unwrap();
        prop_assert_eq!(rebuilt, restored.state());
    }
}
