//! A connection that moves while its exchange waits for it, and needs no task of its own.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What reads and writes, until it has ended.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

#[derive(Default)]
struct Slot(Mutex<Option<Connection>>);

impl Slot {
    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the connection read and write what it can.
    fn go(&self, cx: &mut Context<'_>) {
        let mut connection = self.connection();
        if connection.as_mut().is_some_and(|going| going.as_mut().poll(cx).is_ready()) {
            *connection = None;
        }
    }
}

/// An HTTP/1 connection, in the hands of its link. Dropping it closes the connection.
pub(super) struct Wire(Arc<Slot>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let ended = self.0.connection().take();
        drop(ended);
    }
}

impl Wire {
    /// How the connection ends shows in the exchange that uses it.
    pub(super) fn new(
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    ) -> Self {
        Self(Arc::new(Slot(Mutex::new(Some(Box::pin(connection))))))
    }

    /// Waits for `work`, which nothing but this connection can bring about.
    pub(super) async fn drive<F: Future>(&self, work: F) -> F::Output {
        // What the connection does for it is done by the time that it is asked, so it need not wake anybody.
        let mut work = pin!(tokio::task::unconstrained(work));
        poll_fn(|cx| {
            self.0.go(cx);
            work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// Lets the connection notice what has happened since it was last used.
    pub(super) fn look(&self) {
        self.0.go(&mut Context::from_waker(Waker::noop()));
    }

    /// `body` as it comes over this connection.
    pub(super) fn bring(&self, body: Incoming) -> AnswerStream {
        AnswerStream { body, from: Some(Arc::clone(&self.0)) }
    }
}

/// The body of an answer, as it comes.
pub struct AnswerStream {
    body: Incoming,
    /// The connection that moves only when somebody asks; `None` where a task of its own moves it.
    from: Option<Arc<Slot>>,
}

impl fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream").finish_non_exhaustive()
    }
}

impl AnswerStream {
    /// A body that a task of its own brings.
    pub(super) const fn shared(body: Incoming) -> Self {
        Self { body, from: None }
    }

    /// Whether somebody else has to have a turn before more can have come.
    #[must_use]
    pub const fn is_brought(&self) -> bool {
        self.from.is_none()
    }
}

impl Body for AnswerStream {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(from) = &this.from else { return Pin::new(&mut this.body).poll_frame(cx) };
        // Nobody but the connection hands anything over, and it is asked right here.
        let mut unheard = Context::from_waker(Waker::noop());
        let there = Pin::new(&mut this.body).poll_frame(&mut unheard);
        if there.is_ready() {
            return there;
        }
        from.go(cx);
        Pin::new(&mut this.body).poll_frame(&mut unheard)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
