use super::*;
use alloc::vec::Vec;

fn push(
    holdback: &mut Holdback<char>,
    number: u64,
    event: char,
    waits_from: Option<u64>,
) -> Vec<char> {
    holdback.push(number, event, Kind::Content, waits_from).collect()
}

#[test]
fn an_event_that_nothing_waits_for_passes_at_once() {
    let mut holdback = Holdback::default();
    assert_eq!(push(&mut holdback, 0, 'a', None), ['a']);
    assert_eq!(holdback.waiting(), 0);
}

#[test]
fn the_event_of_a_candidate_and_all_later_ones_wait_and_go_in_order() {
    let mut holdback = Holdback::default();
    assert_eq!(push(&mut holdback, 0, 'a', Some(0)), []);
    assert_eq!(push(&mut holdback, 1, 'b', Some(0)), []);
    assert_eq!(push(&mut holdback, 2, 'c', Some(2)), ['a', 'b']);
    assert_eq!(push(&mut holdback, 3, 'd', None), ['c', 'd']);
}

#[test]
fn a_keep_alive_overtakes_what_waits_and_lets_nothing_else_go() {
    let mut holdback = Holdback::default();
    assert_eq!(push(&mut holdback, 0, 'a', Some(0)), []);
    let alive: Vec<_> = holdback.push(1, '.', Kind::KeepAlive, None).collect();
    assert_eq!((alive.as_slice(), holdback.waiting()), (['.'].as_slice(), 1));
}

#[test]
fn the_end_releases_what_waits() {
    let mut holdback = Holdback::default();
    assert_eq!(push(&mut holdback, 0, 'a', Some(0)), []);
    assert_eq!(holdback.end().collect::<Vec<_>>(), ['a']);
}

#[test]
fn what_is_released_and_not_read_is_not_released_again() {
    let mut holdback = Holdback::default();
    drop(holdback.push(0, 'a', Kind::Content, None));
    assert_eq!(holdback.waiting(), 0);
}
