//! Reads a request's body, within three limits: the request's own, its run's and the whole gate's.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much of a refused request is read and thrown away, so that a client that is still sending
/// sees the refusal and not a reset: twice the largest request.
const DISCARD: u64 = 64 << 20;
/// How long the gate goes on discarding.
const DISCARD_FOR: Duration = Duration::from_secs(10);
/// How long a client may take between two pieces of a body.
const PIECE_WITHIN: Duration = Duration::from_mins(1);
/// How long a client may take over a whole body, however it spreads it: as long, and no longer, does
/// it hold its share of the gate's budget.
const WHOLE_WITHIN: Duration = Duration::from_mins(10);
/// What is taken of the budget at once, so that a body in single bytes does not need a permit each.
const STEP: u64 = 16 << 10;
/// One permit of the gate's budget, in bytes.
const UNIT: u64 = 1024;

/// Bytes of request bodies that the whole gate holds at once.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    left: Arc<Semaphore>,
    units: usize,
}

impl ByteBudget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        let units = units.min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(units)), units }
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let units = self.units.saturating_sub(self.left.available_permits());
        u64::try_from(units).unwrap_or(u64::MAX).saturating_mul(UNIT)
    }

    fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Arc::clone(&self.left).try_acquire_many_owned(units).ok()
    }
}

/// A body at hand whole, and its share of the gate's budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Vec<OwnedSemaphorePermit>,
}

/// Why a body could not be read whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Larger than the request's limit.
    TooLarge,
    /// The gate holds too much already.
    NoRoom,
    /// Fields follow it. They would be dropped, and servers that merge them into the head see another request.
    Trailers,
    /// The client stopped in the middle.
    Broken,
    /// The client takes longer than anybody needs to send what it has.
    Slow,
}

/// Reads `body` whole, within `limit` and the room that is left in each of `budgets`. What of it is left unread after an error is for [`discard`].
pub(crate) async fn collect<B>(
    body: &mut B,
    limit: u64,
    budgets: [&ByteBudget; 2],
) -> Result<Held, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    let reading = read(body, limit, budgets);
    tokio::time::timeout(WHOLE_WITHIN, reading).await.unwrap_or(Err(Unread::Slow))
}

async fn read<B>(body: &mut B, limit: u64, budgets: [&ByteBudget; 2]) -> Result<Held, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    let expected = body.size_hint().lower();
    if expected > limit {
        return Err(Unread::TooLarge);
    }
    let mut share = Vec::new();
    if expected > 0 {
        take(&mut share, budgets, expected)?;
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let (mut read, mut paid) = (0_u64, expected);
    loop {
        let next = tokio::time::timeout(PIECE_WITHIN, body.frame());
        let Some(frame) = next.await.map_err(|_elapsed| Unread::Slow)? else { break };
        let frame = frame.map_err(|_broken| Unread::Broken)?;
        let piece = frame.into_data().map_err(|_trailers| Unread::Trailers)?;
        read += piece.len() as u64;
        if read > limit {
            return Err(Unread::TooLarge);
        }
        if read > paid {
            let more = (read - paid).max(STEP);
            take(&mut share, budgets, more)?;
            paid += more;
        }
        match first.take() {
            None if rest.is_empty() => first = Some(piece),
            None => rest.extend_from_slice(&piece),
            Some(before) => {
                rest.reserve(
                    usize::try_from(expected).unwrap_or(0).max(before.len() + piece.len()),
                );
                rest.extend_from_slice(&before);
                rest.extend_from_slice(&piece);
            }
        }
    }
    Ok(Held { bytes: first.unwrap_or_else(|| rest.freeze()), _share: share })
}

fn take(
    share: &mut Vec<OwnedSemaphorePermit>,
    budgets: [&ByteBudget; 2],
    bytes: u64,
) -> Result<(), Unread> {
    for budget in budgets {
        share.push(budget.take(bytes).ok_or(Unread::NoRoom)?);
    }
    Ok(())
}

/// Reads and throws away a bounded amount of a refused request.
pub(crate) async fn discard(mut body: Incoming) {
    let mut left = DISCARD;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            left = left.saturating_sub(size);
            if left == 0 {
                break;
            }
        }
    };
    // Either it is all read, or the client has had its time.
    drop(tokio::time::timeout(DISCARD_FOR, reading).await);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    /// One byte each `every`, for ever.
    struct Drip {
        every: Duration,
        next: Pin<Box<tokio::time::Sleep>>,
    }

    impl Drip {
        fn each(every: Duration) -> Self {
            Self { every, next: Box::pin(tokio::time::sleep(every)) }
        }
    }

    impl Body for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(tokio::time::sleep(self.every));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_or_stops_is_given_up() {
        let budget = ByteBudget::of(1 << 20);
        for every in [1, 3600] {
            let mut body = Drip::each(Duration::from_secs(every));
            let read = collect(&mut body, 1 << 20, [&budget, &budget]).await;
            assert_eq!(read.unwrap_err(), Unread::Slow, "{every}");
        }
    }

    #[tokio::test]
    async fn a_body_takes_room_in_the_run_and_in_the_gate_and_gives_it_back() {
        let (run, gate) = (ByteBudget::of(3072), ByteBudget::of(8192));
        let body = || Full::new(Bytes::from(vec![0; 2048]));
        let held = collect(&mut body(), 4096, [&run, &gate]).await.unwrap();
        assert_eq!(held.bytes.len(), 2048);
        let second = collect(&mut body(), 4096, [&run, &gate]).await;
        assert_eq!(second.unwrap_err(), Unread::NoRoom);
        assert_eq!((run.taken(), gate.taken()), (2048, 2048));
        drop(held);
        assert_eq!(gate.taken(), 0);
        assert!(collect(&mut body(), 4096, [&run, &gate]).await.is_ok());
    }
}
