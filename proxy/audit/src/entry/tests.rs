use proptest::prelude::*;

use super::*;

fn drafts() -> impl Strategy<Value = Draft> {
    let text = || proptest::option::of(".{0,12}");
    (
        0..Kind::ALL.len(),
        (text(), text(), text(), text(), text(), text()),
        (text(), text(), text(), text(), text(), text()),
        ".{0,80}",
        proptest::option::of(any::<[u8; 32]>()),
    )
        .prop_map(|(kind, a, b, body, salt)| Draft {
            kind: Kind::ALL[kind],
            who: Who {
                tenant: a.0,
                workspace: a.1,
                project: a.2,
                environment: a.3,
                team: a.4,
                agent: a.5,
                did: b.0,
                key: b.1,
                run: b.2,
                runtime_target: b.3,
                connector: b.4,
                process: b.5,
            },
            body: Body::of(&body).unwrap(),
            commitment: salt.map(|salt| Commitment::to(&salt, b"payload")),
        })
}

proptest! {
    #[test]
    fn an_entry_reads_back_as_it_was_written(draft in drafts(), seq: u64, time: u64, prev: [u8; 32]) {
        let mut bytes = Vec::new();
        let length = draft.measure().unwrap();
        let entry = Entry::seal(draft, seq, Hash(prev), time, &mut bytes);
        prop_assert_eq!(bytes.len(), length);
        prop_assert_eq!(Entry::decode(&bytes).unwrap(), entry);
    }

    #[test]
    fn any_changed_byte_changes_the_hash_or_is_malformed(draft in drafts(), at: prop::sample::Index, flip in 1u8..) {
        let mut bytes = Vec::new();
        let entry = Entry::seal(draft, 7, Hash::ZERO, 9, &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Entry::decode(&bytes).map_or(true, |changed| changed.hash != entry.hash));
    }

    #[test]
    fn any_bytes_at_all_are_read_without_a_panic(bytes: Vec<u8>, cut: prop::sample::Index) {
        let mut encoded = MAGIC.to_vec();
        encoded.extend_from_slice(&bytes);
        encoded.truncate(cut.index(encoded.len() + 1));
        let once = Entry::decode(&encoded);
        prop_assert_eq!(once, Entry::decode(&encoded));
    }
}

#[test]
fn unknown_and_empty_identities_are_different_entries() {
    let draft = |agent: Option<&str>| Draft {
        kind: Kind::Run,
        who: Who { agent: agent.map(str::to_owned), ..Who::default() },
        body: Body::of(&()).unwrap(),
        commitment: None,
    };
    let hash = |draft| Entry::seal(draft, 0, Hash::ZERO, 0, &mut Vec::new()).hash;
    assert_ne!(hash(draft(None)), hash(draft(Some(""))));
}

#[test]
fn the_encoding_is_the_documented_one() {
    let draft = Draft {
        kind: Kind::Kill,
        who: Who { agent: Some("a".into()), ..Who::default() },
        body: Body::of(&1).unwrap(),
        commitment: None,
    };
    let mut bytes = Vec::new();
    Entry::seal(draft, 258, Hash([3; 32]), 5, &mut bytes);
    let mut expected = b"TGE\x01\0\0\0\0\0\0\x01\x02".to_vec();
    expected.extend_from_slice(&[3; 32]);
    expected.extend_from_slice(b"\0\0\0\0\0\0\0\x05\x04");
    expected.extend_from_slice(&[0xff; 10]);
    expected.extend_from_slice(b"\0\x01a");
    expected.extend_from_slice(&[0xff; 12]);
    expected.extend_from_slice(b"\0\0\0\0\x011");
    assert_eq!(bytes, expected);
}

#[test]
fn a_commitment_opens_only_with_its_salt_and_payload() {
    let commitment = Commitment::to(&[1; 32], b"prompt");
    assert!(commitment.opens(&[1; 32], b"prompt"));
    assert!(!commitment.opens(&[2; 32], b"prompt"));
    assert!(!commitment.opens(&[1; 32], b"Prompt"));
}

#[test]
fn an_identity_over_the_limit_is_named() {
    let who = Who { team: Some("x".repeat(MAX_IDENTITY + 1)), ..Who::default() };
    let draft = Draft { kind: Kind::Run, who, body: Body::of(&()).unwrap(), commitment: None };
    assert_eq!(draft.measure(), Err("team"));
}

#[test]
fn a_hash_reads_back_from_its_text() {
    let hash = Hash::of(b"x");
    let json = serde_json::to_string(&hash).unwrap();
    assert_eq!(serde_json::from_str::<Hash>(&json).unwrap(), hash);
    assert!(serde_json::from_str::<Hash>("\"zz\"").is_err());
}
