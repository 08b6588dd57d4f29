use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};

use http_body_util::Empty;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;

const LIMITS: Limits = Limits {
    head_within: Duration::from_secs(30),
    ping_every: Duration::from_mins(1),
    ping_within: Duration::from_secs(20),
    given_up: 8,
};

/// Answers at once but what is asked at `/never`, and counts.
async fn gate(stream: DuplexStream, h2: bool, asked: Arc<AtomicU32>) -> Result<(), Ended> {
    serve(stream, h2, LIMITS, &CancellationToken::new(), move |request: Request<Incoming>| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move {
            if request.uri().path() == "/never" {
                pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    })
    .await
}

/// How long a client that sends `first` and then one byte of `drips` each ten seconds is served.
async fn dripping(h2: bool, first: &[u8], drips: &[u8]) -> (Duration, u32) {
    let (mut client, stream) = duplex(1 << 16);
    let asked = Arc::new(AtomicU32::new(0));
    let served = tokio::spawn(gate(stream, h2, Arc::clone(&asked)));
    let begun = Instant::now();
    client.write_all(first).await.unwrap();
    for &byte in drips {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if served.is_finished() || client.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    assert!(served.await.unwrap().is_err());
    (begun.elapsed(), asked.load(Ordering::Relaxed))
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_not_waited_for() {
    let head = b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    // Over HTTP/2: a head without its end, in CONTINUATION frames of one byte.
    let begun = [PREFACE, b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    let frames = b"\0\0\x01\x09\0\0\0\0\x01\x84".repeat(30);
    for (h2, first, drips, within) in [
        (false, &b"G"[..], &head[..], LIMITS.head_within),
        (true, b"PRI * H", b"TTP/2.0\r\n\r\nSM\r\n\r\n", LIMITS.head_within),
        (true, &begun, &frames, LIMITS.ping_every + LIMITS.ping_within),
    ] {
        let (took, asked) = dripping(h2, first, drips).await;
        assert!(took <= within + Duration::from_secs(10), "{h2}: {took:?}");
        assert_eq!(asked, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_there_any_more_is_noticed() {
    let (client, stream) = duplex(1 << 16);
    let (mut reading, mut writing) = tokio::io::split(client);
    writing.write_all(PREFACE).await.unwrap();
    let begun = Instant::now();
    // It reads what comes and says nothing.
    let mut sink = Vec::new();
    let (served, _) =
        tokio::join!(gate(stream, true, Arc::default()), reading.read_to_end(&mut sink),);
    assert!(matches!(served, Err(Ended::Http(_))), "{served:?}");
    assert!(begun.elapsed() <= LIMITS.ping_every + LIMITS.ping_within);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_on_everything_is_given_up() {
    let (mut client, stream) = duplex(1 << 20);
    let asked = Arc::new(AtomicU32::new(0));
    let served = tokio::spawn(gate(stream, true, Arc::clone(&asked)));
    client.write_all(PREFACE).await.unwrap();
    let mut id = 1_u32;
    while !served.is_finished() && id < 1000 {
        // GET https://a/never, its end, and its reset, one at a time.
        let block = b"\x82\x87\x04\x06/never\x41\x01a";
        let length = u8::try_from(block.len()).unwrap();
        let head = [&[0, 0, length, 1, 5][..], &id.to_be_bytes(), block].concat();
        let reset = [&[0, 0, 4, 3, 0][..], &id.to_be_bytes(), &8_u32.to_be_bytes()].concat();
        drop(client.write_all(&head).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(client.write_all(&reset).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
        id += 2;
    }
    assert!(matches!(served.await.unwrap(), Err(Ended::GivenUp)));
    assert_eq!(asked.load(Ordering::Relaxed), LIMITS.given_up + 1);
}
