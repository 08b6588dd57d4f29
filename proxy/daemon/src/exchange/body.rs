//! Reads a request's body, within three limits: the request's own, and one for the whole gate.

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
/// One permit of the gate's budget, in bytes.
const UNIT: u64 = 1024;

/// Bytes of request bodies that the whole gate holds at once.
#[derive(Debug, Clone)]
pub struct ByteBudget(Arc<Semaphore>);

impl ByteBudget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
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
    /// The client stopped in the middle.
    Broken,
}

/// Reads `body` whole. What of it is left unread after an error is for [`discard`].
pub(crate) async fn collect(
    body: &mut Incoming,
    limit: u64,
    budget: &ByteBudget,
) -> Result<Held, Unread> {
    let expected = body.size_hint().lower();
    if expected > limit {
        return Err(Unread::TooLarge);
    }
    let mut share = Vec::new();
    if expected > 0 {
        share.push(budget.take(expected).ok_or(Unread::NoRoom)?);
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let (mut read, mut paid) = (0_u64, expected);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_broken| Unread::Broken)?.into_data() else { continue };
        read += piece.len() as u64;
        if read > limit {
            return Err(Unread::TooLarge);
        }
        if read > paid {
            share.push(budget.take(read - paid).ok_or(Unread::NoRoom)?);
            paid = read;
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
