//! A request's body, watched: whether all of it was handed over, and whether the exchange was cut.

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

type BoxError = Box<dyn Error + Send + Sync>;

/// What a pool can send as a request's body.
pub trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> RequestBody for B {}

/// How far a request's body is.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<State>);

#[derive(Debug)]
struct State {
    stage: AtomicU8,
    /// Who waits for more of the body, to be told of a cut.
    waiting: Mutex<Option<Waker>>,
}

const SENDING: u8 = 0;
const SENT: u8 = 1;
const CUT: u8 = 2;

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(State { stage: AtomicU8::new(SENDING), waiting: Mutex::new(None) }))
    }

    /// For the next request of the same connection.
    pub(super) fn begin(&self) {
        self.0.stage.store(SENDING, Ordering::Release);
    }

    pub(super) fn cut(&self) {
        self.0.stage.store(CUT, Ordering::Release);
        if let Some(waker) = self.waiting().take() {
            waker.wake();
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_sent(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == SENT
    }

    fn is_cut(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == CUT
    }

    fn sent(&self) {
        // Only what is being sent becomes sent: a cut stays a cut, whichever came first.
        if self
            .0
            .stage
            .compare_exchange(SENDING, SENT, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            debug_assert_ne!(self.0.stage.load(Ordering::Acquire), SENDING);
        }
    }
}

/// The exchange was cut while its request was being sent.
#[derive(Debug, thiserror::Error)]
#[error("the exchange was cut")]
struct WasCut;

/// `body`, watched.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: B,
    progress: Progress,
}

impl<B: RequestBody> Tracked<B> {
    pub(super) fn new(body: B, progress: Progress) -> Self {
        if body.is_end_stream() {
            progress.sent();
        }
        Self { body, progress }
    }

    pub(super) fn into_inner(self) -> B {
        self.body
    }
}

impl<B: RequestBody> Body for Tracked<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.progress.is_cut() {
            return Poll::Ready(Some(Err(WasCut.into())));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() {
            *this.progress.waiting() = Some(cx.waker().clone());
            // A cut between the look above and here found nobody to wake.
            if this.progress.is_cut() {
                return Poll::Ready(Some(Err(WasCut.into())));
            }
        }
        let ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if ended {
            this.progress.sent();
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
