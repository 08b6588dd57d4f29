//! Counts what a connection from outside carries, and lets no more leave than it may.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use decide::case::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;
use crate::metrics::PortBytes;
use crate::record::InboundEnd;

/// What all connections together may carry out of the pod, window by window.
#[derive(Debug)]
pub(super) struct Window {
    most: u64,
    /// Microseconds.
    length: u64,
    now: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    until: Timestamp,
    bytes: u64,
}

impl Window {
    pub(super) fn of(most: u64, length: Duration) -> Self {
        let length = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let now = Mutex::new(Used { until: Timestamp(0), bytes: 0 });
        Self { most, length, now }
    }

    /// Takes as many of `bytes` as are left.
    fn take(&self, bytes: u64, now: Timestamp) -> u64 {
        let mut used = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= used.until {
            *used = Used { until: Timestamp(now.0.saturating_add(self.length)), bytes: 0 };
        }
        let taken = bytes.min(self.most.saturating_sub(used.bytes));
        used.bytes = used.bytes.saturating_add(taken);
        taken
    }

    /// What left in the window under way.
    pub(super) fn used(&self, now: Timestamp) -> i64 {
        let used = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = if now < used.until { used.bytes } else { 0 };
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// What one connection carries.
#[derive(Debug)]
pub(super) struct Meter {
    most: u64,
    window: Arc<Window>,
    port: PortBytes,
    inwards: AtomicU64,
    outwards: AtomicU64,
    limit: OnceLock<InboundEnd>,
}

impl Meter {
    pub(super) fn of(most: u64, window: Arc<Window>, port: PortBytes) -> Self {
        let (inwards, outwards) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { most, window, port, inwards, outwards, limit: OnceLock::new() }
    }

    /// Bytes that came in.
    pub(super) fn inwards(&self) -> u64 {
        self.inwards.load(Ordering::Relaxed)
    }

    /// Bytes that left, or were about to.
    pub(super) fn outwards(&self) -> u64 {
        self.outwards.load(Ordering::Relaxed)
    }

    /// Both.
    pub(super) fn moved(&self) -> u64 {
        self.inwards().saturating_add(self.outwards())
    }

    /// The limit that more than was allowed has met.
    pub(super) fn limit(&self) -> Option<InboundEnd> {
        self.limit.get().copied()
    }

    fn come(&self, bytes: u64) {
        self.inwards.fetch_add(bytes, Ordering::Relaxed);
        self.port.inwards.inc_by(bytes);
    }

    /// How many of `bytes` may leave. Where that is not all of them, none may from then on.
    fn leave(&self, bytes: u64, now: Timestamp) -> u64 {
        if self.limit.get().is_some() {
            return 0;
        }
        // Of one connection only one task reads.
        let own = bytes.min(self.most.saturating_sub(self.outwards()));
        let left = self.window.take(own, now);
        if left < bytes {
            let limit =
                if left < own { InboundEnd::WindowLimit } else { InboundEnd::ConnectionLimit };
            // Only the first counts.
            self.limit.get_or_init(|| limit);
        }
        self.outwards.fetch_add(left, Ordering::Relaxed);
        self.port.outwards.inc_by(left);
        left
    }
}

/// One end of the connection. What is read from it is counted.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    clock: Clock,
    leaves: bool,
}

impl<S> Metered<S> {
    /// What is read from it comes in.
    pub(super) const fn inwards(stream: S, meter: Arc<Meter>, clock: Clock) -> Self {
        Self { stream, meter, clock, leaves: false }
    }

    /// What is read from it leaves, as far as that is allowed.
    pub(super) const fn outwards(stream: S, meter: Arc<Meter>, clock: Clock) -> Self {
        Self { stream, meter, clock, leaves: true }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.leaves && this.meter.limit().is_some() {
            // Not its end either: what is missing was to be said.
            return Poll::Ready(Err(over()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let bytes = buf.filled().len().saturating_sub(before) as u64;
        if !this.leaves {
            this.meter.come(bytes);
            return Poll::Ready(Ok(()));
        }
        let allowed = this.meter.leave(bytes, this.clock.now());
        if allowed < bytes {
            buf.set_filled(before.saturating_add(usize::try_from(allowed).unwrap_or_default()));
            if allowed == 0 {
                return Poll::Ready(Err(over()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn over() -> io::Error {
    io::Error::other("no more may leave")
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::metrics::Metrics;

    fn meter(most: u64, window: &Arc<Window>) -> Arc<Meter> {
        let port = Metrics::new().unwrap().guarded.bytes(8080);
        Arc::new(Meter::of(most, Arc::clone(window), port))
    }

    fn at(micros: u64) -> Clock {
        Clock::from_fn(move || Timestamp(micros))
    }

    async fn leaves(bytes: usize, meter: &Arc<Meter>, clock: Clock) -> (usize, bool) {
        let said = vec![7; bytes];
        let mut stream = Metered::outwards(said.as_slice(), Arc::clone(meter), clock);
        let (mut left, mut buffer) = (0, [0; 64]);
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return (left, true),
                Ok(more) => left += more,
                Err(_) => return (left, false),
            }
        }
    }

    #[tokio::test]
    async fn no_byte_more_leaves_than_one_connection_may_carry() {
        let window = Arc::new(Window::of(1_000_000, Duration::from_secs(1)));
        for (bytes, left, whole) in [(100, 100, true), (101, 100, false), (4096, 100, false)] {
            let meter = meter(100, &window);
            assert_eq!(leaves(bytes, &meter, at(0)).await, (left, whole), "{bytes}");
            assert_eq!(meter.outwards(), left as u64);
            assert_eq!(meter.limit(), (!whole).then_some(InboundEnd::ConnectionLimit));
            assert_eq!(meter.port.outwards.get(), left as u64);
        }
    }

    #[tokio::test]
    async fn all_connections_share_a_window_and_the_next_one_is_theirs_again() {
        let window = Arc::new(Window::of(150, Duration::from_micros(10)));
        let (first, second) = (meter(1000, &window), meter(1000, &window));
        assert_eq!(leaves(100, &first, at(5)).await, (100, true));
        assert_eq!(leaves(100, &second, at(9)).await, (50, false));
        assert_eq!(second.limit(), Some(InboundEnd::WindowLimit));
        assert_eq!(window.used(Timestamp(9)), 150);
        let third = meter(1000, &window);
        assert_eq!(leaves(1, &third, at(14)).await, (0, false));
        assert_eq!(leaves(150, &meter(1000, &window), at(15)).await, (150, true));
        assert_eq!(window.used(Timestamp(99)), 0);
    }

    #[tokio::test]
    async fn what_comes_in_is_counted_and_not_limited() {
        let window = Arc::new(Window::of(1, Duration::from_secs(1)));
        let meter = meter(1, &window);
        let mut stream = Metered::inwards([1; 500].as_slice(), Arc::clone(&meter), at(0));
        let mut came = Vec::new();
        assert_eq!(stream.read_to_end(&mut came).await.unwrap(), 500);
        assert_eq!((meter.inwards(), meter.outwards(), meter.limit()), (500, 0, None));
    }
}
