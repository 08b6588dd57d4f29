//! What hostile clients send, as a list that can be run against any way into the gate.
//!
//! The client speaks from raw sockets. Each case is judged by what comes back and, by who owns the provider, by what
//! arrived there: nothing that is marked `smuggled`, and of what is marked `attack` no more than the case allows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub mod door;
mod frames;
mod http1;
mod http2;
mod sockets;

pub use door::Door;
use frames::Seen;

/// Longer than any answer takes, shorter than any of the gate's timers: what is still open then was not refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a case must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// One answer, an error in the provider's format with this word.
    Refused(&'static str),
    /// The same, and then the connection closes: nobody knows where a next request would begin.
    Closed(&'static str),
    /// The stream or its connection is ended without an answer that could be taken for the provider's.
    Ended,
    /// Whatever comes of it.
    Harmless,
}

/// One attack.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// How it must end.
    pub expect: Expect,
    /// The most of its requests that may reach the provider.
    pub carried: usize,
    attack: Attack,
}

#[derive(Debug)]
enum Attack {
    /// These bytes over HTTP/1, and reading to the end.
    Bytes(fn(&Door, &str) -> Vec<u8>),
    /// These bytes over HTTP/2 after the preface, and reading until stream 1 is over.
    Frames(fn(&Door, &str) -> Vec<u8>),
    /// What needs more than one socket, or a hand on it.
    Sockets(sockets::Trick),
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = http1::cases();
    all.extend(http2::cases());
    all.extend(sockets::cases());
    all
}

/// What a case meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The gate in the provider's place.
    Provider,
    /// The same, in a tunnel: who asks is not known before the request says so.
    Tunnel,
    /// A path of the gateway: its own name is not where a request goes.
    Gateway,
}

/// All cases, as they must end there.
#[must_use]
pub fn cases_at(front: Front) -> Vec<Case> {
    let mut all = cases();
    for case in &mut all {
        match (front, case.name) {
            // A head that cannot be read holds no key, and no path of the gateway's.
            (Front::Tunnel, "endless_line") => case.expect = Expect::Closed("peer_identity"),
            (Front::Gateway, "endless_line" | "two_spaces") => case.expect = Expect::Ended,
            (Front::Gateway, "no_host") => case.expect = Expect::Closed("envelope"),
            (
                Front::Gateway,
                "no_authority" | "authority_userinfo" | "other_authority" | "other_host"
                | "two_h2_hosts",
            ) => {
                case.expect = Expect::Harmless;
                case.carried = 1;
            }
            _ => {}
        }
    }
    all
}

/// How one case ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// Its name.
    pub case: String,
    /// What is wrong; nothing where it ended as it must and others were unharmed.
    pub wrong: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// Runs one case, with a request in flight beside it and one after it.
pub async fn run(case: &Case, door: &Door) -> Ended {
    let begun = std::time::Instant::now();
    let wrong = beside(case, door).await.err().map(|error| format!("{error:#}"));
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ended { case: case.name.to_owned(), wrong, milliseconds }
}

async fn beside(case: &Case, door: &Door) -> Result<()> {
    let flying = door.flying().await.context("a request in flight cannot begin")?;
    attack(case, door).await?;
    let next = door.ask("say:next").await.context("the next request")?;
    ensure!(next.status == Some(200) && next.text.contains("next"), "the next request: {next:?}");
    flying.lands().await.context("the request in flight")
}

async fn attack(case: &Case, door: &Door) -> Result<()> {
    match case.attack {
        Attack::Bytes(bytes) => {
            let answer = door.exchange(&bytes(door, case.name)).await?;
            judge_http1(case.expect, &answer)
        }
        Attack::Frames(frames) => {
            let seen = frames::exchange(door, &frames(door, case.name)).await?;
            judge_http2(case.expect, &seen)
        }
        Attack::Sockets(trick) => sockets::run(trick, door, case.name).await,
    }
}

fn judge_http1(expect: Expect, answer: &door::Answer) -> Result<()> {
    let answers = answer.text.matches("HTTP/1.1 ").count();
    match expect {
        Expect::Refused(word) | Expect::Closed(word) => {
            ensure!(answers == 1, "{answers} answers: {answer:?}");
            ensure!(matches!(answer.status, Some(400..=499)), "not refused: {answer:?}");
            ensure!(answer.text.contains("x-tollgate-decision"), "not recorded: {answer:?}");
            ensure!(answer.text.contains(word), "another refusal: {answer:?}");
            let open = matches!(expect, Expect::Refused(_));
            ensure!(open || answer.closed, "still open: {answer:?}");
        }
        Expect::Ended => {
            ensure!(answer.closed && !answer.text.contains(" 200 "), "not ended: {answer:?}");
        }
        Expect::Harmless => {}
    }
    Ok(())
}

fn judge_http2(expect: Expect, seen: &Seen) -> Result<()> {
    match expect {
        Expect::Refused(word) | Expect::Closed(word) => {
            ensure!(seen.answered && !seen.success, "not refused: {seen:?}");
            ensure!(seen.text.contains(word), "another refusal: {seen:?}");
        }
        Expect::Ended => {
            let ended = seen.reset.is_some() || seen.goaway.is_some() || seen.closed;
            ensure!(ended || (seen.answered && !seen.success), "not ended: {seen:?}");
            ensure!(!seen.success, "answered: {seen:?}");
        }
        Expect::Harmless => {}
    }
    Ok(())
}
