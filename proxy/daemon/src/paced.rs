//! A connection that lets others have their turn: a task that moves much through it moves little at once.
//!
//! A thread that carries traffic runs a task until there is nothing to read or no room to write. With a
//! fast peer that is megabytes of deciphering and copying, in which everybody else on the thread waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are moved before others have their turn: some fifty microseconds of deciphering and copying.
const AT_ONCE: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    stream: S,
    /// Bytes moved since others last had their turn.
    moved: usize,
}

impl<S> Paced<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, moved: 0 }
    }

    /// Whether others are to have their turn now; the task is woken again behind them.
    fn gives_way(&mut self, cx: &Context<'_>) -> bool {
        let due = self.moved >= AT_ONCE;
        if due {
            self.moved = 0;
            cx.waker().wake_by_ref();
        }
        due
    }

    /// Counts what was moved. Who has to wait gives way by that.
    fn count<T>(
        &mut self,
        moved: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &moved {
            Poll::Ready(Ok(done)) => self.moved += bytes(done),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.moved = 0,
        }
        moved
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gives_way(cx) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len().saturating_sub(before);
        self.count(read, |()| bytes)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gives_way(cx) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gives_way(cx) {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// On the one thread of this test: the other task has its turn in the middle of both.
    #[tokio::test]
    async fn much_is_moved_whole_and_others_have_their_turn_meanwhile() {
        const MUCH: usize = 4 * AT_ONCE;
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let other = tokio::spawn({
            let turns = std::sync::Arc::clone(&turns);
            async move {
                loop {
                    turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut written = Paced::new(Vec::new());
        for piece in vec![7_u8; MUCH].chunks(1024) {
            written.write_all(piece).await.unwrap();
        }
        assert_eq!(written.stream.len(), MUCH);
        let while_writing = turns.swap(0, std::sync::atomic::Ordering::Relaxed);
        let mut read = Vec::new();
        let mut whole = Paced::new(io::Cursor::new(written.stream.as_slice()));
        while whole.read_buf(&mut read).await.unwrap() > 0 {}
        assert_eq!(read.len(), MUCH);
        let while_reading = turns.load(std::sync::atomic::Ordering::Relaxed);
        assert!(while_writing >= 3 && while_reading >= 2, "{while_writing} {while_reading}");
        other.abort();
    }
}
