use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::Clock;

const NOW: Timestamp = Timestamp(1_795_000_000_000_000);

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn policy(name: &str) -> Admission {
    match name {
        "api.openai.com" | "other.example" => Admission::Exact,
        _ if name.ends_with(".wild.example") => Admission::Wildcard,
        _ => Admission::No,
    }
}

fn responder() -> Responder {
    Responder::new(Addresses::default())
}

fn answer(responder: &mut Responder, query: &[u8]) -> Message {
    match responder.ask(query, NOW, &policy, &|_| {}) {
        Step::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        step @ (Step::Drop | Step::LookUp(_)) => panic!("{step:?}"),
    }
}

fn address(answer: &Message) -> Option<Ipv4Addr> {
    answer.answers.first().and_then(|record| record.data.ip_addr()).map(|ip| match ip {
        std::net::IpAddr::V4(v4) => v4,
        std::net::IpAddr::V6(v6) => panic!("{v6}"),
    })
}

#[test]
fn each_kind_of_question_has_its_answer() {
    use RecordType as T;
    use ResponseCode as R;
    let table = [
        ("api.openai.com.", T::A, R::NoError, 1),
        ("API.OpenAI.com.", T::A, R::NoError, 1),
        ("api.openai.com.", T::AAAA, R::NoError, 0),
        ("api.openai.com.", T::HTTPS, R::NoError, 0),
        ("api.openai.com.", T::SVCB, R::NoError, 0),
        ("api.openai.com.", T::MX, R::NoError, 0),
        ("api.openai.com.", T::TXT, R::NoError, 0),
        ("api.openai.com.", T::NULL, R::NoError, 0),
        ("api.openai.com.", T::CNAME, R::NoError, 0),
        ("x.wild.example.", T::TXT, R::NoError, 0),
        ("x.wild.example.", T::NULL, R::NoError, 0),
        ("evil.example.", T::NULL, R::NXDomain, 0),
        ("evil.example.", T::HTTPS, R::NXDomain, 0),
        ("api.openai.com.", T::ANY, R::NoError, 0),
        ("x.wild.example.", T::AAAA, R::NoError, 0),
        ("evil.example.", T::A, R::NXDomain, 0),
        ("evil.example.", T::AAAA, R::NXDomain, 0),
        ("evil.example.", T::TXT, R::NXDomain, 0),
        ("sub.api.openai.com.", T::A, R::NXDomain, 0),
        ("a\\.b.wild.example.", T::A, R::NXDomain, 0),
        (".", T::NS, R::NXDomain, 0),
        ("1.0.18.198.in-addr.arpa.", T::PTR, R::NoError, 1),
        ("2.0.18.198.in-addr.arpa.", T::PTR, R::NXDomain, 0),
        ("0.0.18.198.in-addr.arpa.", T::PTR, R::NXDomain, 0),
        ("18.198.in-addr.arpa.", T::PTR, R::NXDomain, 0),
        ("8.8.8.8.in-addr.arpa.", T::PTR, R::NXDomain, 0),
    ];
    let mut responder = responder();
    answer(&mut responder, &query("api.openai.com.", T::A));
    for (name, kind, code, answers) in table {
        let got = answer(&mut responder, &query(name, kind));
        assert_eq!(
            (got.metadata.response_code, got.answers.len()),
            (code, answers),
            "{name} {kind}"
        );
        assert_eq!((got.metadata.id, got.metadata.message_type), (4711, MessageType::Response));
        assert_eq!(
            got.queries.first().unwrap().name().to_ascii(),
            name,
            "the question comes back as it was written"
        );
    }
}

#[test]
fn an_address_leads_back_to_its_name() {
    let mut responder = responder();
    let first = address(&answer(&mut responder, &query("API.openai.com.", RecordType::A))).unwrap();
    assert_eq!(first, Ipv4Addr::new(198, 18, 0, 1));
    assert_eq!(responder.addresses.name_of(first).as_deref(), Some("api.openai.com"));
    assert_eq!(responder.addresses.name_of(Ipv4Addr::new(198, 18, 0, 2)), None);
    assert_eq!(responder.addresses.name_of(Ipv4Addr::new(198, 18, 0, 0)), None);
    assert_eq!(responder.addresses.name_of(Ipv4Addr::LOCALHOST), None);
    let other = address(&answer(&mut responder, &query("other.example.", RecordType::A))).unwrap();
    assert_eq!(other, Ipv4Addr::new(198, 18, 0, 2));
    let back = answer(&mut responder, &query("1.0.18.198.in-addr.arpa.", RecordType::PTR));
    assert_eq!(back.answers[0].data.to_string(), "api.openai.com.");
}

#[test]
fn what_is_not_one_question_is_malformed_and_what_is_no_query_gets_nothing() {
    let good = query("api.openai.com.", RecordType::A);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let table = [
        (changed(5, 0), ResponseCode::FormErr),
        (changed(5, 2), ResponseCode::FormErr),
        (changed(4, 255), ResponseCode::FormErr),
        (changed(7, 1), ResponseCode::FormErr),
        (changed(9, 1), ResponseCode::FormErr),
        (changed(11, 1), ResponseCode::FormErr),
        (good[..20].to_vec(), ResponseCode::FormErr),
        (good[..12].to_vec(), ResponseCode::FormErr),
        // A pointer to itself, a label longer than 63.
        (changed(12, 0xc0), ResponseCode::FormErr),
        (changed(12, 0x40), ResponseCode::FormErr),
        // Operation STATUS; class CH.
        (changed(2, 0x10), ResponseCode::NotImp),
        (changed(good.len() - 1, 3), ResponseCode::NotImp),
    ];
    for (bytes, code) in table {
        let got = answer(&mut responder(), &bytes);
        assert_eq!((got.metadata.id, got.metadata.response_code), (4711, code), "{bytes:?}");
    }
    for nothing in [&good[..11], b"", &changed(2, 0x80)] {
        assert!(matches!(responder().ask(nothing, NOW, &policy, &|_| {}), Step::Drop));
    }
}

#[test]
fn a_client_that_speaks_edns_is_answered_in_it() {
    let mut message = Message::from_vec(&query("api.openai.com.", RecordType::A)).unwrap();
    message.set_edns(Edns::new());
    let got = answer(&mut responder(), &message.to_vec().unwrap());
    assert_eq!(got.edns.unwrap().max_payload(), PAYLOAD);
    message.set_edns(Edns::new().set_version(1).clone());
    let got = answer(&mut responder(), &message.to_vec().unwrap());
    // BADVERS, which the parser calls by its other name.
    assert_eq!(u16::from(got.metadata.response_code), 16);
}

#[test]
fn no_refused_name_of_a_thousand_is_looked_up_or_given_an_address() {
    let mut responder = responder();
    let refused = RefCell::new(0);
    for n in 0..1000 {
        let bytes = query(&format!("n{n}.evil.example."), RecordType::A);
        let step = responder.ask(&bytes, NOW, &policy, &|event| {
            assert!(matches!(event, Event::Refused(_)));
            *refused.borrow_mut() += 1;
        });
        assert!(matches!(step, Step::Reply(_)));
    }
    assert_eq!(
        (*refused.borrow(), responder.addresses.name_of(Ipv4Addr::new(198, 18, 0, 1))),
        (1000, None)
    );
}

#[test]
fn a_refused_name_that_is_asked_for_in_both_families_at_once_is_one_refusal() {
    use RecordType::{A, AAAA, TXT};
    let mut responder = responder();
    let mut refused = |name: &str, kinds: &[RecordType], now: Timestamp| {
        let count = RefCell::new(0);
        for kind in kinds {
            let bytes = query(name, *kind);
            drop(responder.ask(&bytes, now, &policy, &|_| *count.borrow_mut() += 1));
        }
        count.into_inner()
    };
    let later = Timestamp(NOW.0 + PAIRED_WITHIN);
    for (kinds, wanted) in [
        (&[A, AAAA][..], 1),
        (&[AAAA, A], 1),
        (&[A, AAAA, A, AAAA], 2),
        (&[A, A], 2),
        (&[AAAA, AAAA], 2),
        (&[A, TXT], 2),
    ] {
        assert_eq!(
            refused(
                &format!("x{wanted}{kinds:?}.evil.example.").replace(['[', ']', ',', ' '], ""),
                kinds,
                NOW
            ),
            wanted,
            "{kinds:?}"
        );
    }
    assert_eq!(refused("one.evil.example.", &[A], NOW), 1);
    assert_eq!(refused("two.evil.example.", &[AAAA], NOW), 1, "another name");
    assert_eq!(refused("two.evil.example.", &[A], later), 1, "another time");
}

#[test]
fn a_name_under_a_wildcard_gets_an_address_only_once_it_is_known_to_exist() {
    let mut responder = responder();
    for (found, code) in [
        (Exists::No, ResponseCode::NXDomain),
        (Exists::Unknown, ResponseCode::ServFail),
        (Exists::Yes, ResponseCode::NoError),
    ] {
        let bytes = query("x.wild.example.", RecordType::A);
        let Step::LookUp(pending) = responder.ask(&bytes, NOW, &policy, &|_| {}) else {
            panic!("not looked up")
        };
        assert_eq!(pending.name(), "x.wild.example");
        let got = responder.looked_up(pending, found, &|event| {
            assert_eq!(event, Event::LookedUp("x.wild.example", found));
        });
        let got = Message::from_vec(&got).unwrap();
        assert_eq!((got.metadata.id, got.metadata.response_code), (4711, code));
        assert_eq!(address(&got).is_some(), found == Exists::Yes);
    }
    let again = answer(&mut responder, &query("x.wild.example.", RecordType::A));
    assert!(address(&again).is_some(), "known once, it is not looked up again");
}

#[test]
fn look_ups_are_limited_in_rate_and_length() {
    let mut responder = responder();
    let mut asked =
        |name: &str, at| responder.ask(&query(name, RecordType::A), at, &policy, &|_| {});
    let long = format!("{}.{}.wild.example.", "a".repeat(63), "b".repeat(63));
    assert!(matches!(asked(&long, NOW), Step::Reply(_)));
    let looked_up = (0..200)
        .filter(|n| matches!(asked(&format!("n{n}.wild.example."), NOW), Step::LookUp(_)))
        .count();
    assert_eq!(looked_up, 50);
    let later = Timestamp(NOW.0 + 1_000_000);
    let looked_up = (0..99)
        .filter(|n| matches!(asked(&format!("m{n}.wild.example."), later), Step::LookUp(_)))
        .count();
    assert_eq!(looked_up, 10);
}

#[test]
fn a_flood_is_dropped_unanswered_and_what_comes_after_it_is_not() {
    let mut responder = responder();
    let bytes = query("api.openai.com.", RecordType::A);
    let answered = (0..10_000)
        .filter(|_| matches!(responder.ask(&bytes, NOW, &policy, &|_| {}), Step::Reply(_)))
        .count();
    assert_eq!(answered, 4_000);
    let later = Timestamp(NOW.0 + 1_000_000);
    assert!(matches!(responder.ask(&bytes, later, &policy, &|_| {}), Step::Reply(_)));
}

#[test]
fn a_full_table_fails_new_names_says_so_and_keeps_the_old_ones() {
    let mut responder = responder();
    let mut given = HashSet::new();
    for n in 0..CAPACITY {
        assert!(
            given.insert(responder.addresses.give(&format!("n{n}.example")).unwrap()),
            "no address is given twice"
        );
    }
    assert_eq!(given.iter().max(), Some(&Ipv4Addr::new(198, 19, 255, 254)));
    let full = RefCell::new(0);
    let bytes = query("api.openai.com.", RecordType::A);
    let Step::Reply(got) = responder.ask(&bytes, NOW, &policy, &|event| {
        assert_eq!(event, Event::Full("api.openai.com"));
        *full.borrow_mut() += 1;
    }) else {
        panic!("no reply");
    };
    assert_eq!(Message::from_vec(&got).unwrap().metadata.response_code, ResponseCode::ServFail);
    assert_eq!(*full.borrow(), 1);
    assert_eq!(
        responder.addresses.name_of(Ipv4Addr::new(198, 18, 0, 1)).as_deref(),
        Some("n0.example")
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        responder().ask(&bytes, NOW, &|_| Admission::Exact, &|_| {});
    }

    #[test]
    fn no_change_to_a_question_makes_it_panic(at in 0_usize..32, byte: u8, cut in 0_usize..40) {
        let mut bytes = query("api.openai.com.", RecordType::A);
        bytes[at] = byte;
        bytes.truncate(cut.max(12));
        let step = responder().ask(&bytes, NOW, &|_| Admission::Exact, &|_| {});
        if let Step::Reply(reply) = step {
            proptest::prop_assert_eq!(&reply[..2], &bytes[..2]);
        }
    }

    #[test]
    fn no_address_stands_for_two_names(names in proptest::collection::vec("[a-c]{1,3}", 1..200)) {
        let addresses = Addresses::default();
        let mut held = HashMap::new();
        for name in names {
            let address = addresses.give(&name).unwrap();
            proptest::prop_assert_eq!(held.entry(address).or_insert_with(|| name.clone()), &name);
            let back = addresses.name_of(address);
            proptest::prop_assert_eq!(back.as_deref(), Some(name.as_str()));
        }
    }
}

struct Fixed;

impl Directory for Fixed {
    fn admits(&self, name: &str) -> Admission {
        policy(name)
    }
    async fn exists(&self, name: &str) -> Exists {
        if name.starts_with("real") { Exists::Yes } else { Exists::No }
    }
    fn event(&self, _: Event<'_>) {}
}

#[tokio::test]
async fn both_transports_answer_from_one_table() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let responder = Arc::new(Mutex::new(responder()));
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let clock = Clock::from_fn(|| NOW);
    let over_udp =
        tokio::spawn(serve_udp(udp, Arc::clone(&responder), Arc::new(Fixed), clock.clone()));
    let over_tcp = tokio::spawn(serve_tcp(tcp, responder, Arc::new(Fixed), clock));

    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(udp_at).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(tcp_at).await.unwrap();
    for (name, exists) in
        [("api.openai.com.", true), ("real.wild.example.", true), ("gone.wild.example.", false)]
    {
        let bytes = query(name, RecordType::A);
        client.send(&bytes).await.unwrap();
        let mut datagram = [0; 512];
        let length = client.recv(&mut datagram).await.unwrap();
        let by_udp = Message::from_vec(&datagram[..length]).unwrap();

        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut segment = vec![0; usize::from(length)];
        stream.read_exact(&mut segment).await.unwrap();
        let by_tcp = Message::from_vec(&segment).unwrap();

        assert_eq!(address(&by_udp), address(&by_tcp));
        assert_eq!(address(&by_udp).is_some(), exists, "{name}");
    }
    over_udp.abort();
    over_tcp.abort();
}
