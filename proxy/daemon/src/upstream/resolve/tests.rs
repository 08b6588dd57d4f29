use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use super::*;

/// A name server on loopback that knows `two.example`, `mixed.example` and `rebound.example`, keeps silent about `mute.example`, fails
/// `broken.example`, denies the rest and counts what it is asked.
async fn name_server() -> (ResolverConfig, Arc<AtomicUsize>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let bound = AtomicUsize::new(0);
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
            answer.metadata.recursion_available = true;
            let question = query.queries[0].clone();
            let name = question.name().clone();
            let mut add = |data| answer.answers.push(Record::from_rdata(name.clone(), 60, data));
            match (question.name().to_ascii().to_ascii_lowercase().as_str(), question.query_type())
            {
                ("two.example.", RecordType::A) => {
                    add(RData::A(A::new(9, 9, 9, 9)));
                    add(RData::A(A::new(1, 1, 1, 1)));
                }
                ("two.example.", RecordType::AAAA) => {
                    add(RData::AAAA(AAAA::new(0x2606, 0, 0, 0, 0, 0, 0, 1)));
                }
                ("mixed.example.", RecordType::A) => {
                    add(RData::A(A::new(9, 9, 9, 9)));
                    add(RData::A(A::new(10, 0, 0, 1)));
                }
                // Another answer each time, to be kept for no time.
                ("rebound.example.", RecordType::A) => {
                    let nth = bound.fetch_add(1, Ordering::SeqCst);
                    let ip = if nth == 0 { A::new(9, 9, 9, 9) } else { A::new(169, 254, 169, 254) };
                    answer.answers.push(Record::from_rdata(name.clone(), 0, RData::A(ip)));
                }
                ("mixed.example." | "rebound.example.", _) => {}
                ("mute.example.", _) => continue,
                ("broken.example.", _) => answer.metadata.response_code = ResponseCode::ServFail,
                _ => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            answer.add_query(question);
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    let mut connection = ConnectionConfig::udp();
    connection.port = port;
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    (ResolverConfig::from_parts(None, vec![], vec![server]), asked)
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_name_leads_to_all_its_addresses_and_is_asked_for_once_within_their_time() {
    let (servers, asked) = name_server().await;
    let resolver = Resolver::with_servers(servers, vec![]).unwrap();
    let found = resolver.resolve("two.example", 443).await.unwrap();
    let mut addresses = found.addresses.clone();
    assert_eq!(addresses.pop(), Some(at("[2606::1]:443")), "IPv6 comes last");
    addresses.sort();
    assert_eq!(addresses, [at("1.1.1.1:443"), at("9.9.9.9:443")]);
    assert_eq!((found.class, found.named), (AddressClass::Public, false));
    let first = asked.load(Ordering::SeqCst);
    resolver.resolve("two.example", 80).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), first);
}

#[tokio::test]
async fn one_private_address_among_public_ones_makes_the_name_private() {
    let (servers, _) = name_server().await;
    let found = Resolver::with_servers(servers, vec![])
        .unwrap()
        .resolve("mixed.example", 443)
        .await
        .unwrap();
    assert_eq!(found.class, AddressClass::Private);
}

#[tokio::test]
async fn a_name_that_is_bound_anew_is_judged_by_where_it_leads_now() {
    let (servers, _) = name_server().await;
    let resolver = Resolver::with_servers(servers, vec![]).unwrap();
    let first = resolver.resolve("rebound.example", 80).await.unwrap();
    assert_eq!((first.class, first.addresses), (AddressClass::Public, vec![at("9.9.9.9:80")]));
    let then = resolver.resolve("rebound.example", 80).await.unwrap();
    assert_eq!(then.class, AddressClass::LinkLocal);
}

#[tokio::test]
async fn a_literal_and_a_name_of_the_hosts_file_ask_nobody() {
    let (servers, asked) = name_server().await;
    let resolver = Resolver::with_servers(servers, vec![]).unwrap();
    assert_eq!(resolver.resolve("192.0.2.1", 1).await.unwrap().class, AddressClass::Reserved);
    assert_eq!(resolver.resolve("[::1]", 1).await.unwrap().addresses, [at("[::1]:1")]);
    assert_eq!(resolver.resolve("localhost", 1).await.unwrap().class, AddressClass::Loopback);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_host_dialled_elsewhere_is_named_and_not_looked_up() {
    let (servers, asked) = name_server().await;
    let rules =
        vec!["two.example:443:127.0.0.1:8443".parse().unwrap(), "::two.example:".parse().unwrap()];
    let resolver = Resolver::with_servers(servers, rules).unwrap();
    let found = resolver.resolve("two.example", 443).await.unwrap();
    assert_eq!(found.addresses, [at("127.0.0.1:8443")]);
    assert_eq!((found.class, found.named), (AddressClass::Loopback, true));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let found = resolver.resolve("elsewhere.example", 99).await.unwrap();
    assert_eq!(
        (found.addresses.len(), found.named),
        (3, true),
        "the second rule leads any host to a name"
    );
}

#[tokio::test]
async fn a_name_that_leads_nowhere_says_which_way_it_failed() {
    let (servers, _) = name_server().await;
    let resolver = Resolver::with_servers(servers, vec![]).unwrap();
    let gone = resolver.resolve("gone.example", 443).await.unwrap_err();
    assert_eq!(gone, ResolveError::NoSuchName("gone.example".into()));
    assert!(matches!(
        resolver.resolve("b\u{fc}cher.example", 443).await,
        Err(ResolveError::NoSuchName(_))
    ));
    assert!(matches!(
        resolver.resolve("broken.example", 443).await,
        Err(ResolveError::Failed { .. })
    ));
    assert_eq!(resolver.exists("two.example").await, Exists::Yes);
    assert_eq!(resolver.exists("gone.example").await, Exists::No);
    assert_eq!(resolver.exists("broken.example").await, Exists::Unknown);
}

#[tokio::test]
async fn a_mute_name_server_is_waited_for_no_longer_than_the_deadline() {
    let (servers, _) = name_server().await;
    let resolver = Resolver::with_servers(servers, vec![]).unwrap();
    let start = tokio::time::Instant::now();
    assert!(resolver.resolve("mute.example", 443).await.is_err());
    assert!(start.elapsed() <= DEADLINE + Duration::from_secs(1));
}
