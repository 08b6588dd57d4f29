//! What clients do: what must come off whatever happens beside it, and what only must leave nothing behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::random::Random;
use super::way::{Asked, Entry, Question, Way};

/// What takes longer is stuck: no script of the provider's takes a third of it.
const LIMIT: Duration = Duration::from_mins(1);
/// How long a client waits for what it knows will stall.
const STALLED: Duration = Duration::from_millis(300);
/// An answer that says so to its last word.
const WHOLE: &str = "to-the-end";

/// One act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Whole,
    Stream,
    KeptAlive,
    Upload,
    SlowReader,
    SlowWriter,
    Refused,
    Fickle,
    Silent,
    CutRequest,
    CutHandshake,
    CutAnswer,
    CancelledStreams,
    HalfClosed,
    HalfClosedEarly,
    BrokenUpstream,
    StalledUpstream,
}

impl Act {
    pub(super) const ALL: [Self; 17] = [
        Self::Whole,
        Self::Stream,
        Self::KeptAlive,
        Self::Upload,
        Self::SlowReader,
        Self::SlowWriter,
        Self::Refused,
        Self::Fickle,
        Self::Silent,
        Self::CutRequest,
        Self::CutHandshake,
        Self::CutAnswer,
        Self::CancelledStreams,
        Self::HalfClosed,
        Self::HalfClosedEarly,
        Self::BrokenUpstream,
        Self::StalledUpstream,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Stream => "stream",
            Self::KeptAlive => "kept_alive",
            Self::Upload => "upload",
            Self::SlowReader => "slow_reader",
            Self::SlowWriter => "slow_writer",
            Self::Refused => "refused",
            Self::Fickle => "killed_and_revoked",
            Self::Silent => "silent",
            Self::CutRequest => "cut_request",
            Self::CutHandshake => "cut_handshake",
            Self::CutAnswer => "cut_answer",
            Self::CancelledStreams => "cancelled_streams",
            Self::HalfClosed => "half_closed",
            Self::HalfClosedEarly => "half_closed_early",
            Self::BrokenUpstream => "broken_upstream",
            Self::StalledUpstream => "stalled_upstream",
        }
    }

    /// Does it, within [`LIMIT`].
    pub(super) async fn run(self, entry: &Entry, random: &mut Random) -> Result<()> {
        timeout(LIMIT, self.once(entry, random)).await.context("stuck")?
    }

    async fn once(self, entry: &Entry, random: &mut Random) -> Result<()> {
        match self {
            Self::Whole => whole(entry, any(random), "say:to-the-end", false, 1).await,
            Self::Stream => {
                whole(entry, any(random), "slow:2 split:2 say:to-the-end", true, 1).await
            }
            Self::KeptAlive => {
                let times = 2 + random.below(3);
                whole(entry, any(random), "say:to-the-end", random.below(2) == 0, times).await
            }
            Self::Upload => {
                let prompt = format!("{} say:to-the-end", "lorem ".repeat(random.below(20_000)));
                upload(entry, any(random), prompt).await
            }
            Self::SlowReader => slow_reader(entry, any(random)).await,
            Self::SlowWriter => slow_writer(entry, http1(random), random).await,
            Self::Refused => refused(entry, any(random)).await,
            Self::Fickle => fickle(entry, any(random)).await,
            Self::Silent => silent(entry, random).await,
            Self::CutRequest => cut_request(entry, http1(random), random).await,
            Self::CutHandshake => cut_handshake(entry, random).await,
            Self::CutAnswer => cut_answer(entry, any(random), random).await,
            Self::CancelledStreams => cancelled(entry, random).await,
            Self::HalfClosed => half_closed(entry, http1(random), None).await,
            Self::HalfClosedEarly => half_closed(entry, http1(random), Some(random)).await,
            Self::BrokenUpstream => broken(entry, any(random), random).await,
            Self::StalledUpstream => stalled(entry, any(random)).await,
        }
    }
}

fn http1(random: &mut Random) -> Way {
    random.one_of(Way::HTTP1)
}

fn any(random: &mut Random) -> Way {
    if random.below(2) == 0 { http1(random) } else { random.one_of(Way::HTTP2) }
}

fn steady(entry: &Entry, prompt: &str, stream: bool) -> Question {
    let (prompt, key) = (prompt.to_owned(), entry.keys().steady);
    Question { asked: Asked::Steady, model: "gpt-5-mini", prompt, stream, key }
}

fn rough(entry: &Entry, prompt: &str) -> Question {
    let (prompt, key) = (prompt.to_owned(), entry.keys().rough);
    Question { asked: Asked::Rough, model: "claude-haiku-4-5", prompt, stream: true, key }
}

/// What was written, however many events it came in: the pieces of an answer's text.
fn said(answer: &str) -> String {
    let mut texts = String::new();
    for line in answer.lines() {
        let json = line.strip_prefix("data: ").unwrap_or(line);
        let Ok(event) = serde_json::from_str::<serde_json::Value>(json) else { continue };
        let text = ["/choices/0/delta/content", "/choices/0/message/content"];
        for text in text.iter().filter_map(|at| event.pointer(at)?.as_str()) {
            texts.push_str(text);
        }
    }
    texts
}

async fn answered(response: http::Response<hyper::body::Incoming>) -> Result<()> {
    let status = response.status();
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    ensure!(status == 200 && said(&text).contains(WHOLE), "{status}: {text}");
    Ok(())
}

async fn whole(entry: &Entry, way: Way, prompt: &str, stream: bool, times: usize) -> Result<()> {
    let mut client = entry.client(way, Asked::Steady, false).await.with_context(|| at(way))?;
    for _ in 0..times {
        let request = steady(entry, prompt, stream).request(way)?;
        let response = client.ask(request).await.with_context(|| at(way))?;
        answered(response).await.with_context(|| at(way))?;
    }
    Ok(())
}

fn at(way: Way) -> String {
    format!("over {way:?}")
}

/// The directives stand before a long text of which the provider makes nothing.
async fn upload(entry: &Entry, way: Way, prompt: String) -> Result<()> {
    let mut client = entry.client(way, Asked::Steady, false).await?;
    let request = steady(entry, &prompt, false).request(way)?;
    let response = client.ask(request).await.with_context(|| at(way))?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status == 200, "{status} {}: {}", at(way), String::from_utf8_lossy(&body));
    Ok(())
}

async fn slow_reader(entry: &Entry, way: Way) -> Result<()> {
    let mut client = entry.client(way, Asked::Steady, true).await?;
    let request = steady(entry, "split:2000 big:60000", true).request(way)?;
    let response = client.ask(request).await.with_context(|| at(way))?;
    ensure!(response.status() == 200, "{} {}", response.status(), at(way));
    let (mut body, mut whole) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off").with_context(|| at(way))?;
        // An event may come in two frames.
        whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        sleep(Duration::from_millis(5)).await;
    }
    let end = whole.windows(6).any(|part| part == b"[DONE]");
    ensure!(whole.len() > 60_000 && end, "{} bytes {}", whole.len(), at(way));
    Ok(())
}

async fn slow_writer(entry: &Entry, way: Way, random: &mut Random) -> Result<()> {
    let mut stream = entry.open(way, Asked::Steady, false).await?;
    let bytes = steady(entry, "say:to-the-end", false).bytes(way);
    for piece in bytes.chunks(20 + random.below(60)) {
        stream.write_all(piece).await?;
        stream.flush().await?;
        sleep(Duration::from_millis(2)).await;
    }
    let mut answer = Vec::new();
    // TLS without its last word is an end too; what came is judged.
    let _ended = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    ensure!(text.starts_with("HTTP/1.1 200") && text.contains(WHOLE), "{}: {text}", at(way));
    Ok(())
}

async fn refused(entry: &Entry, way: Way) -> Result<()> {
    let mut client = entry.client(way, Asked::Steady, false).await?;
    let question = Question { model: "gpt-5-pro", ..steady(entry, "say:x", false) };
    let response = client.ask(question.request(way)?).await?;
    ensure!(response.status() == 403, "{} {}", response.status(), at(way));
    // A destination of no contract: no tunnel, or no answer but a refusal.
    let elsewhere = entry.open(Way::Connect, Asked::Elsewhere, false).await;
    ensure!(elsewhere.is_err(), "a tunnel to a host of no contract");
    Ok(())
}

/// Answered, refused or cut, as the operator had it at that moment.
async fn fickle(entry: &Entry, way: Way) -> Result<()> {
    let mut client = entry.client(way, Asked::Steady, false).await?;
    let prompt = "slow:10 split:1 say:to-the-end";
    let question = Question { key: entry.keys().fickle, ..steady(entry, prompt, true) };
    if let Ok(response) = client.ask(question.request(way)?).await {
        let status = response.status().as_u16();
        ensure!([200, 401, 403].contains(&status), "{status} {}", at(way));
        let _cut = response.into_body().collect().await;
    }
    Ok(())
}

async fn silent(entry: &Entry, random: &mut Random) -> Result<()> {
    let tcp = entry.tcp(false).await?;
    sleep(Duration::from_millis(random.below(100) as u64)).await;
    drop(tcp);
    Ok(())
}

/// A request that ends anywhere, with a reset or in order.
async fn cut_request(entry: &Entry, way: Way, random: &mut Random) -> Result<()> {
    let tcp = entry.tcp(false).await?;
    if random.below(2) == 0 {
        tcp.set_zero_linger()?;
    }
    let mut stream = entry.over(tcp, way, Asked::Steady).await?;
    let bytes = steady(entry, "say:x", true).bytes(way);
    stream.write_all(random.part(&bytes)).await?;
    stream.flush().await?;
    sleep(Duration::from_millis(random.below(20) as u64)).await;
    Ok(())
}

/// The beginning of a CONNECT, of a handshake or of nothing known.
async fn cut_handshake(entry: &Entry, random: &mut Random) -> Result<()> {
    const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03soak-soak-soak-soak";
    const CONNECT: &[u8] =
        b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n";
    let mut tcp = entry.tcp(false).await?;
    tcp.set_zero_linger()?;
    let bytes = random.one_of([HELLO, CONNECT, b"\0\0\0\0"]);
    tcp.write_all(random.part(bytes)).await?;
    sleep(Duration::from_millis(random.below(20) as u64)).await;
    Ok(())
}

async fn cut_answer(entry: &Entry, way: Way, random: &mut Random) -> Result<()> {
    let mut client = entry.client(way, Asked::Steady, false).await?;
    let request = steady(entry, "slow:2 split:1 say:to-the-end", true).request(way)?;
    let response = client.ask(request).await.with_context(|| at(way))?;
    let mut body = response.into_body();
    for _ in 0..random.below(12) {
        if body.frame().await.is_none() {
            break;
        }
    }
    Ok(())
}

/// Many streams of one connection, of which some are let go.
async fn cancelled(entry: &Entry, random: &mut Random) -> Result<()> {
    let way = random.one_of(Way::HTTP2);
    let mut client = entry.client(way, Asked::Steady, false).await?;
    let mut kept = Vec::new();
    for _ in 0..8 {
        let request = steady(entry, "slow:2 split:2 say:to-the-end", true).request(way)?;
        let response = client.ask(request).await.with_context(|| at(way))?;
        if random.below(2) == 0 {
            kept.push(response);
        }
    }
    for response in kept {
        answered(response).await.with_context(|| at(way))?;
    }
    Ok(())
}

/// The client's half is closed after the request, or within it; then only an end is asked for.
async fn half_closed(entry: &Entry, way: Way, early: Option<&mut Random>) -> Result<()> {
    let mut stream = entry.open(way, Asked::Steady, false).await?;
    let bytes = steady(entry, "say:to-the-end", false).bytes(way);
    let sent = early.map_or(bytes.as_slice(), |random| random.part(&bytes));
    stream.write_all(sent).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    let _ended = stream.read_to_end(&mut answer).await;
    Ok(())
}

/// The provider answers an error, breaks off or resets: whatever comes of it ends.
async fn broken(entry: &Entry, way: Way, random: &mut Random) -> Result<()> {
    let scripts = ["reset say:x", "truncate say:x", "status:500", "status:529", "short say:x"];
    let prompt = random.one_of(scripts);
    let mut client = entry.client(way, Asked::Rough, false).await?;
    if let Ok(response) = client.ask(rough(entry, prompt).request(way)?).await {
        let _broken = response.into_body().collect().await;
    }
    Ok(())
}

/// The provider falls silent, and the client goes away.
async fn stalled(entry: &Entry, way: Way) -> Result<()> {
    let mut client = entry.client(way, Asked::Rough, false).await?;
    let request = rough(entry, "stall:2 split:1 say:to-the-end").request(way)?;
    let waiting = async {
        if let Ok(response) = client.ask(request).await {
            let _silent = response.into_body().collect().await;
        }
    };
    let _elapsed = timeout(STALLED, waiting).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_answer_are_put_together() {
        let events = "data: {\"choices\":[{\"delta\":{\"content\":\"to-\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"the-end\"}}]}\n\ndata: [DONE]\n";
        assert_eq!(said(events), WHOLE);
        assert_eq!(said(r#"{"choices":[{"message":{"content":"to-the-end"}}]}"#), WHOLE);
        assert_eq!(said("{\"error\":{}}"), "");
    }
}
