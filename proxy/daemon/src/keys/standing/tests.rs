use super::super::tests::{NOW, caller, key, master, real};
use super::super::{State, Wanted, is_virtual};
use super::*;

fn keys() -> Keys {
    Keys::new(&master(), State::default())
}

fn asked(name: &str, agent: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        agent: agent.to_owned(),
        credential: "openai-prod".to_owned(),
        expires: None,
        uses: None,
        from: Vec::new(),
        by: "uid 0".to_owned(),
    }
}

/// A key of its own for each `seed`.
fn create(keys: &Keys, asked: NewKey, seed: u8) -> (String, KeyCreated) {
    let created = keys.create(asked, Shape::Openai, &[seed; 32], NOW).unwrap();
    (String::from_utf8(created.key.reveal().to_vec()).unwrap(), created.event)
}

#[test]
fn a_standing_key_opens_for_its_agent_in_every_run_and_for_no_other() {
    let keys = keys();
    let (text, event) = create(&keys, asked("ci", "bot"), 1);
    assert!(is_virtual(&text) && text.starts_with("sk-tg-"));
    for run in ["r1", "r2"] {
        let presentation = keys.present(&["Bearer", &text], &caller(run, "bot"), NOW);
        let found = key(&presentation).unwrap();
        assert_eq!((found.agent.as_str(), found.bound), ("bot", Bound::Bearer));
        assert_eq!(found.credential, "openai-prod");
        assert_eq!(
            presentation.used.unwrap(),
            KeyUsed { id: event.id.clone(), run: run.to_owned() }
        );
    }
    let stranger = keys.present(&[&text], &caller("r3", "other"), NOW);
    assert_eq!((key(&stranger).unwrap().agent.as_str(), &stranger.used), ("bot", &None));
    assert_eq!(keys.show("ci", NOW).unwrap().used, 2);
}

#[test]
fn the_shape_is_that_of_the_credentials_provider() {
    let created = keys().create(asked("ci", "bot"), Shape::Anthropic, &[9; 32], NOW).unwrap();
    assert!(created.key.reveal().starts_with(b"sk-ant-tg-"));
}

#[test]
fn a_key_says_whose_it_is_before_anybody_is_judged() {
    let keys = keys();
    let from: Vec<Origin> = vec!["address:10.0.0.0/8".parse().unwrap()];
    let (text, event) = create(&keys, NewKey { from: from.clone(), ..asked("ci", "bot") }, 1);
    let (other, _) = create(&keys, asked("ci2", "bot"), 2);
    let owner = Owner {
        id: event.id.clone(),
        name: "ci".to_owned(),
        agent: "bot".to_owned(),
        credential: "openai-prod".to_owned(),
        from,
    };
    assert_eq!(keys.owner(&["", "x", &text, &text]).as_ref(), Some(&owner));
    assert_eq!(keys.owner(&[&text, &other]), None, "ambiguous");
    assert_eq!(keys.owner(&[&format!("sk-tg-{}", "A".repeat(43))]), None, "unknown");
    assert_eq!(keys.owner(&[]), None);
    let run = Wanted {
        credential: "openai",
        shape: Shape::Openai,
        run: "r",
        agent: "bot",
        expires: None,
        uses: None,
    };
    let issued = keys.issue(&real(), &run).unwrap();
    assert_eq!(keys.owner(&[std::str::from_utf8(issued.key.reveal()).unwrap()]), None, "a run's");
    keys.revoke("ci", "INC-1", "uid 0").unwrap();
    assert_eq!(keys.owner(&[&text]), Some(owner), "the chain says that it is revoked");
}

#[test]
fn uses_are_counted_over_all_runs_and_given_back() {
    let keys = keys();
    let (text, _) = create(&keys, NewKey { uses: Some(2), ..asked("ci", "bot") }, 1);
    let present = |run: &str| keys.present(&[&text], &caller(run, "bot"), NOW);
    let first = present("r1");
    let second = present("r2");
    assert_eq!(
        (key(&first).unwrap().uses_left, key(&second).unwrap().uses_left),
        (Some(2), Some(1))
    );
    assert_eq!((key(&present("r3")).unwrap().uses_left, present("r3").used), (Some(0), None));
    assert_eq!(keys.show("ci", NOW).unwrap().condition, Condition::UsedUp);
    keys.close("r1");
    assert_eq!(present("r3").used, None, "the end of a run gives nothing back");
    keys.give_back(&second.used.unwrap());
    assert!(present("r3").used.is_some());
}

#[test]
fn the_last_uses_are_given_to_as_many_of_many_at_once() {
    let keys = keys();
    let (text, _) = create(&keys, NewKey { uses: Some(9), ..asked("ci", "bot") }, 1);
    let entered: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|run| {
                let (keys, text) = (&keys, &text);
                scope.spawn(move || {
                    let run = caller(&format!("r{run}"), "bot");
                    (0..10).filter_map(|_| keys.present(&[text], &run, NOW).used).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(entered, 9);
}

#[test]
fn an_expired_or_revoked_key_is_told_as_such_and_enters_no_use() {
    let keys = keys();
    let end = Timestamp(NOW.0 + 1);
    let (text, _) = create(&keys, NewKey { expires: Some(end), ..asked("ci", "bot") }, 1);
    assert!(keys.present(&[&text], &caller("r", "bot"), NOW).used.is_some());
    let late = keys.present(&[&text], &caller("r", "bot"), end);
    assert_eq!((key(&late).unwrap().expires, &late.used), (Some(end), &None));
    assert_eq!(keys.show("ci", end).unwrap().condition, Condition::Expired);
    let (text, event) = create(&keys, asked("other", "bot"), 2);
    assert_eq!(keys.revoke(&event.id, "lost", "uid 7").unwrap().reason, "lost");
    let revoked = keys.present(&[&text], &caller("r", "bot"), NOW);
    assert!(key(&revoked).unwrap().revoked && revoked.used.is_none());
}

#[test]
fn a_name_is_of_one_live_key_and_free_again_when_that_is_dead() {
    let keys = keys();
    let end = Timestamp(NOW.0 + 10);
    let (_, first) = create(&keys, NewKey { expires: Some(end), ..asked("ci", "bot") }, 1);
    let again = |seed: u8, now| keys.create(asked("ci", "bot"), Shape::Openai, &[seed; 32], now);
    let taken = CreateError::Taken { name: "ci".to_owned(), id: first.id.clone() };
    assert_eq!(again(2, NOW).unwrap_err(), taken);
    let second = again(3, end).unwrap().event;
    assert_eq!(keys.show("ci", NOW).unwrap().id, second.id);
    assert_eq!(keys.show(&first.id, NOW).unwrap().id, first.id);
    keys.revoke("ci", "", "").unwrap();
    let ids: Vec<_> = keys.list(NOW).into_iter().map(|row| (row.id, row.condition)).collect();
    let newest_first = [(second.id, Condition::Revoked), (first.id, Condition::Live)];
    assert_eq!(ids, newest_first);
    assert!(again(4, end).is_ok());
}

#[test]
fn what_makes_no_key_is_refused() {
    let keys = keys();
    let refused = |asked: NewKey| keys.create(asked, Shape::Openai, &[1; 32], NOW).unwrap_err();
    for name in ["", "k_1", "a b", "a\n", "ü", &"x".repeat(65)] {
        assert_eq!(refused(asked(name, "bot")), CreateError::Name(name.to_owned()), "{name}");
    }
    assert_eq!(refused(NewKey { expires: Some(NOW), ..asked("a", "b") }), CreateError::Expired);
    assert_eq!(refused(NewKey { uses: Some(0), ..asked("a", "b") }), CreateError::NoUses);
    assert!(keys.list(NOW).is_empty());
}

#[test]
fn a_key_that_the_ledger_did_not_take_opens_nothing() {
    let keys = keys();
    let (text, event) = create(&keys, asked("ci", "bot"), 1);
    keys.forget(&event);
    assert!(keys.present(&[&text], &caller("r", "bot"), NOW).used.is_none());
    create(&keys, asked("ci", "bot"), 2);
}

#[test]
fn the_key_itself_is_in_nothing_that_is_stored_or_printed() {
    let keys = keys();
    let created = keys.create(asked("ci", "bot"), Shape::Openai, &[1; 32], NOW).unwrap();
    let text = std::str::from_utf8(created.key.reveal()).unwrap();
    let entry = serde_json::to_string(&KeyEvent::Created(created.event.clone())).unwrap();
    let stored = String::from_utf8(keys.snapshot().unwrap()).unwrap();
    let printed = format!("{created:?} {entry} {stored} {:?} {:?}", keys.list(NOW), keys.state());
    assert!(!printed.contains(text.trim_start_matches("sk-tg-")), "{printed}");
}

#[test]
fn a_state_of_before_standing_keys_is_read() {
    let old = br#"{"keys":{}}"#;
    assert_eq!(serde_json::from_slice::<State>(old).unwrap(), State::default());
    let revoked: KeyEvent = serde_json::from_str(r#"{"revoked":{"id":"k_1"}}"#).unwrap();
    assert_eq!(revoked, KeyEvent::Revoked(super::super::KeyRevoked::of("k_1")));
}

#[test]
fn a_real_key_of_the_vault_is_recognised() {
    let keys = keys();
    keys.remember(&real(), Shape::Anthropic);
    assert_eq!(keys.recognise("sk-proj-canary-8841-real"), Some(Shape::Anthropic));
    assert_eq!(keys.recognise("sk-proj-canary-8841-reaL"), None);
}

#[test]
fn one_of_ten_thousand_is_found_by_its_text_its_name_and_its_id() {
    let keys = keys();
    let mut last = None;
    for number in 0..10_000_u32 {
        let mut random = [0; 32];
        random[..4].copy_from_slice(&number.to_be_bytes());
        let name = format!("key-{number}");
        last = Some(keys.create(asked(&name, "bot"), Shape::Openai, &random, NOW).unwrap());
    }
    let last = last.unwrap();
    let text = std::str::from_utf8(last.key.reveal()).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..1_000 {
        assert_eq!(keys.owner(&[text]).unwrap().name, "key-9999");
        assert!(keys.present(&[text], &caller("r", "bot"), NOW).used.is_some());
        assert_eq!(keys.recognise("sk-nobody's"), None);
        assert_eq!(keys.show(&last.event.id, NOW).unwrap().id, last.event.id);
    }
    // Some microseconds each even unoptimised; a walk over all of them takes a hundred times that.
    assert!(begun.elapsed().as_millis() < 2_000, "{:?}", begun.elapsed());
    assert_eq!(keys.list(NOW).len(), 10_000);
}
