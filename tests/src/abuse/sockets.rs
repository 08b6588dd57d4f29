//! Clients that are slow, half gone, or gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::door::{self, body};
use super::{Attack, Case, Door, Expect};

/// What is done with the sockets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trick {
    /// Many heads that do not go on.
    SlowHeads,
    /// Many bodies that do not go on.
    SlowBodies,
    /// An answer that is not read.
    NotRead,
    /// A provider that falls silent.
    Stalls,
    /// The client's half is closed after the request.
    HalfClosed,
    /// The client's half is closed within the request.
    HalfClosedEarly,
    /// A reset at every place of a request.
    Resets,
}

/// How many connections a slow client opens.
const MANY: usize = 40;
/// How many places of a request are tried.
const PLACES: usize = 200;

pub(super) fn cases() -> Vec<Case> {
    let case = |name, carried, trick| Case {
        name,
        expect: Expect::Harmless,
        carried,
        attack: Attack::Sockets(trick),
    };
    vec![
        case("slow_heads", 0, Trick::SlowHeads),
        case("slow_bodies", 0, Trick::SlowBodies),
        case("answer_not_read", 1, Trick::NotRead),
        case("provider_stalls", 1, Trick::Stalls),
        case("half_closed", 1, Trick::HalfClosed),
        case("half_closed_early", 0, Trick::HalfClosedEarly),
        case("reset_at_every_byte", 0, Trick::Resets),
    ]
}

pub(super) async fn run(trick: Trick, door: &Door, name: &str) -> Result<()> {
    let attack = format!("say:attack-{name}");
    let whole = door.request(&attack);
    match trick {
        Trick::SlowHeads => stopped(door, whole.get(..40).unwrap_or_default()).await,
        Trick::SlowBodies => stopped(door, whole.get(..whole.len() - 9).unwrap_or_default()).await,
        Trick::NotRead => left(door, &format!("{attack} big:200000"), true).await,
        Trick::Stalls => left(door, &format!("stall:2 split:1 {attack}"), true).await,
        Trick::HalfClosed => half_closed(door, &whole).await,
        Trick::HalfClosedEarly => {
            half_closed(door, whole.get(..whole.len() / 2).unwrap_or_default()).await
        }
        Trick::Resets => resets(door, &whole).await,
    }
}

/// While they all stand open, others are served.
async fn stopped(door: &Door, begun: &str) -> Result<()> {
    let mut open = Vec::new();
    for _ in 0..MANY {
        let mut stream = door.open("http/1.1").await?;
        stream.write_all(begun.as_bytes()).await?;
        stream.flush().await?;
        open.push(stream);
    }
    meanwhile(door).await
}

async fn meanwhile(door: &Door) -> Result<()> {
    let next = door.ask("say:meanwhile").await?;
    ensure!(next.status == Some(200) && next.text.contains("meanwhile"), "{next:?}");
    Ok(())
}

/// While an answer that has begun is not read on, others are served.
async fn left(door: &Door, prompt: &str, stream: bool) -> Result<()> {
    let mut open = door.open("http/1.1").await?;
    let body = body(prompt, stream);
    let head = door.head(&format!("Content-Length: {}\r\n", body.len()));
    open.write_all((head + &body).as_bytes()).await?;
    open.flush().await?;
    let mut first = [0; 12];
    open.read_exact(&mut first).await?;
    ensure!(first.ends_with(b"200"), "{}", String::from_utf8_lossy(&first));
    meanwhile(door).await
}

/// The gate ends what is half closed, with or without an answer.
async fn half_closed(door: &Door, bytes: &str) -> Result<()> {
    let mut stream = door.open("http/1.1").await?;
    stream.write_all(bytes.as_bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let answer = door::read(&mut stream).await?;
    ensure!(answer.closed, "still open: {answer:?}");
    Ok(())
}

/// A reset within each part of the handshake and at every place of the request but its end.
async fn resets(door: &Door, whole: &str) -> Result<()> {
    let step = whole.len().div_ceil(PLACES).max(1);
    for place in (0..whole.len()).step_by(step) {
        if place % 2 == 0 {
            // In clear, so that a TLS listener sees a broken hello.
            let mut tcp = door.tcp().await?;
            tcp.write_all(whole.as_bytes().get(..place % 50).unwrap_or_default()).await?;
            tcp.set_zero_linger()?;
        }
        let tcp = door.tcp().await?;
        tcp.set_zero_linger()?;
        let mut stream = door.over(tcp, "http/1.1").await?;
        stream.write_all(whole.as_bytes().get(..place).unwrap_or_default()).await?;
        stream.flush().await?;
    }
    // What was reset is not answered any more.
    tokio::time::timeout(Duration::from_secs(10), meanwhile(door)).await?
}
