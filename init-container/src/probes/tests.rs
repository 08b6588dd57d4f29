use super::*;

fn denied() -> Seen {
    Seen::Refused(io::Error::from_raw_os_error(1))
}

#[test]
fn what_the_kernel_took_is_a_way_round() {
    assert_eq!(unsent(&Seen::Sent), Outcome::Fails);
    assert_eq!(unsent(&denied()), Outcome::Holds);
}

#[test]
fn what_the_kernel_lacks_is_not_run_and_never_held() {
    let lacking = || Seen::no_socket(io::Error::from_raw_os_error(93));
    for judge in [unsent, led, unanswered, taken] {
        assert_eq!(judge(&lacking()), Outcome::NotRun);
    }
}

#[test]
fn a_port_of_the_gate_that_answers_is_a_way_round() {
    assert_eq!(unanswered(&Seen::Connected), Outcome::Fails);
    assert_eq!(unanswered(&Seen::Silent), Outcome::Holds);
}

#[test]
fn a_connection_may_arrive_at_the_gate_as_long_as_nothing_leaves() {
    let counted = |packets| Counters::from([(PROBE_PASSED.to_owned(), packets)]);
    assert_eq!(led(&Seen::Connected), Outcome::Holds);
    assert_eq!(passed(&counted(3), &counted(3)).outcome, Outcome::Holds);
    assert_eq!(passed(&counted(3), &counted(4)).outcome, Outcome::Fails);
}

#[test]
fn without_a_floor_nothing_holds() {
    let findings = vec![passed(&Counters::new(), &Counters::new())];
    assert!(!hold(&findings));
}

#[test]
fn af_xdp_that_nobody_holds_is_weaker() {
    assert_eq!(taken(&Seen::Possible), Outcome::Weaker);
    assert_eq!(taken(&Seen::Held), Outcome::Holds);
}

#[test]
fn the_greeting_is_the_tokens_digest() {
    // printf %s abc | sha256sum
    assert_eq!(
        greeting_of("abc").line(),
        "tollgate ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
    );
}
