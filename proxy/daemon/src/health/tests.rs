use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use decide::case::Timestamp;

use super::{CONNECTIONS, Condition, Health, Sources};
use crate::metrics::Metrics;

struct Stand {
    at: SocketAddr,
    ready: Arc<AtomicBool>,
    _health: Health,
}

fn stand() -> Stand {
    stand_within(Duration::from_secs(10))
}

fn stand_within(deadline: Duration) -> Stand {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&ready);
    let readiness = move || {
        let draining = !asked.load(Ordering::SeqCst);
        vec![
            Condition {
                name: "policy",
                ready: true,
                says: "2 contracts in force".to_owned(),
                since: Some(Timestamp(1_700_000_000_000_000)),
            },
            Condition {
                name: "draining",
                ready: !draining,
                says: if draining { "told to end" } else { "no" }.to_owned(),
                since: None,
            },
        ]
    };
    let sources = Sources { readiness: Box::new(readiness), metrics: Metrics::new().unwrap() };
    Stand { at, ready, _health: Health::within(listener, sources, deadline).unwrap() }
}

fn ask(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // What was answered before a reset counts.
    stream.read_to_string(&mut answer).ok();
    answer
}

fn get(at: SocketAddr, path: &str) -> String {
    ask(at, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
}

#[test]
fn it_is_alive_and_shows_what_it_counts() {
    let stand = stand();
    assert!(get(stand.at, "/healthz").starts_with("HTTP/1.1 200 "));
    let metrics = get(stand.at, "/metrics");
    assert!(metrics.contains("tollgate_exchanges_live 0"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
}

#[test]
fn readiness_lists_every_condition_and_goes_off_with_one_of_them() {
    let stand = stand();
    let answer = get(stand.at, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let body: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["ready"], true);
    assert_eq!(body["conditions"][0]["name"], "policy");
    assert_eq!(body["conditions"][0]["since"], "2023-11-14T22:13:20Z");
    assert!(get(stand.at, "/metrics").contains("tollgate_ready 1"));

    stand.ready.store(false, Ordering::SeqCst);
    let answer = get(stand.at, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#"{"name":"draining","ready":false,"says":"told to end"}"#));
    assert!(get(stand.at, "/metrics").contains("tollgate_ready 0"));
}

#[test]
fn there_is_no_other_path_and_no_other_method() {
    let stand = stand();
    for path in ["/", "/healthz/", "/metrics/x", "/debug", "//metrics"] {
        assert!(get(stand.at, path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let answer = ask(stand.at, &format!("{method} /readyz HTTP/1.1\r\nhost: x\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
    }
    let head = ask(stand.at, "HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_large_head_is_refused() {
    let stand = stand();
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    assert!(!ask(stand.at, &long).starts_with("HTTP/1.1 200 "));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert!(!ask(stand.at, &many).starts_with("HTTP/1.1 200 "));
    assert!(get(stand.at, "/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn those_who_say_nothing_keep_the_others_out_no_longer_than_the_deadline() {
    let deadline = Duration::from_millis(300);
    let stand = stand_within(deadline);
    let began = Instant::now();
    let silent: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(stand.at).unwrap()).collect();
    assert!(get(stand.at, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(began.elapsed() >= deadline, "there is room for no more than {CONNECTIONS}");
    drop(silent);
}
