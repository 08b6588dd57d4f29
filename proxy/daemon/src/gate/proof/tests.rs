use super::*;
use std::thread;

fn key(byte: u8) -> StateKey {
    Zeroizing::new([byte; 32])
}

/// What each side concludes when the gate holds `gate` and the client `client`.
fn meet(gate: u8, client: u8) -> (Result<(), ProofError>, Result<(), ProofError>) {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || as_gate(&mut theirs, &key(gate)));
    let client = as_client(&mut ours, &key(client));
    drop(ours);
    (server.join().unwrap(), client)
}

#[test]
fn two_holders_of_the_key_trust_each_other() {
    let (gate, client) = meet(1, 1);
    assert!(gate.is_ok() && client.is_ok(), "{gate:?} {client:?}");
}

#[test]
fn a_gate_without_the_key_learns_nothing_and_is_refused() {
    let (gate, client) = meet(2, 1);
    assert!(matches!(client, Err(ProofError::False { .. })), "{client:?}");
    assert!(matches!(gate, Err(ProofError::Ended)), "{gate:?}");
}

#[test]
fn a_client_without_the_key_is_refused() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let server = thread::spawn(move || as_gate(&mut theirs, &key(1)));
    ours.write_all(&[MAGIC.as_slice(), &[7; 32]].concat()).unwrap();
    let mut answer = [0; 68];
    ours.read_exact(&mut answer).unwrap();
    // What it could try without the key: the gate's own proof, sent back.
    ours.write_all(&answer[36..]).unwrap();
    let gate = server.join().unwrap();
    assert!(matches!(gate, Err(ProofError::False { .. })), "{gate:?}");
}

#[test]
fn a_proof_for_one_pair_of_processes_does_not_hold_for_another() {
    let words = |gate_pid| Words { client: [1; 32], gate: [2; 32], client_pid: 10, gate_pid };
    let proof = words(20).prove(&key(1), GATE).unwrap();
    assert!(words(20).check(&key(1), GATE, &proof));
    assert!(!words(21).check(&key(1), GATE, &proof), "passed on by another process");
    assert!(!words(20).check(&key(1), CLIENT, &proof), "used for the other side");
}

#[test]
fn another_protocol_is_named_as_such() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.write_all(&[b'G'; 36]).unwrap();
    let gate = as_gate(&mut theirs, &key(1));
    assert!(matches!(gate, Err(ProofError::Version)), "{gate:?}");
}

#[test]
fn a_side_that_ends_early_is_not_taken_for_a_false_one() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let gate = as_gate(&mut theirs, &key(1));
    assert!(matches!(gate, Err(ProofError::Ended)), "{gate:?}");
}
