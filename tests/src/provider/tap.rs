//! A stream that can be given bytes to write behind what its owner writes: faults no HTTP library would make.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes waiting to be written behind the next flush.
pub(super) type Behind = Arc<Mutex<Bytes>>;

/// The stream.
pub(super) struct Tap<S> {
    inner: S,
    behind: Behind,
}

impl<S> Tap<S> {
    pub(super) fn new(inner: S, behind: Behind) -> Self {
        Self { inner, behind }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        let mut behind = this.behind.lock().unwrap_or_else(PoisonError::into_inner);
        while behind.has_remaining() {
            let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &behind))?;
            behind.advance(written);
        }
        drop(behind);
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
