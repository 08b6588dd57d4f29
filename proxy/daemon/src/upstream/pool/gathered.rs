//! A connection on which what several tasks write in one turn leaves together.
//!
//! Of a request over HTTP/2 the head is written by the connection's task and the body by one of its own, which can do
//! so only then. Sent one by one, each is a TLS record and a system call; and every stream of the connection has both.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait for others: what one TLS record holds. More leaves as it comes.
const TOGETHER: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    stream: S,
    waiting: BytesMut,
    /// Others have had their turn since something waits.
    turned: bool,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, waiting: BytesMut::new(), turned: false }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Hands on what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(sent);
        }
        // A quiet connection keeps no room for what it does not write.
        self.waiting = BytesMut::new();
        self.turned = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() + buf.len() <= TOGETHER {
            self.waiting.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.waiting.len() + size <= TOGETHER {
            for buf in bufs {
                self.waiting.extend_from_slice(buf);
            }
            return Poll::Ready(Ok(size));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.turned {
            self.turned = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What each write to the other end of a connection held.
    struct Writes(Vec<usize>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_before_others_had_their_turn_leaves_together() {
        let mut stream = Gathered::new(Writes(Vec::new()));
        stream.write_all(b"head").await.unwrap();
        let begun = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_flush(cx))).await;
        assert!(begun.is_pending() && stream.stream.0.is_empty());
        stream.write_all(b"body").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.stream.0, [8]);
        stream.write_all(b"more").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.stream.0, [8, 4], "nothing is left waiting");
        stream.write_all(b"last").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.stream.0, [8, 4, 4]);
    }

    #[tokio::test]
    async fn nothing_is_lost_and_nothing_out_of_order_whatever_its_size() {
        let (near, mut far) = tokio::io::duplex(4096);
        let sent: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
        let sizes = [1, 20_000, 3, 16_383, 2, 40_000, 16_384];
        let all = sent.clone();
        let writing = tokio::spawn(async move {
            let mut stream = Gathered::new(near);
            let mut left = all.as_slice();
            for size in sizes.into_iter().cycle() {
                let (piece, rest) = left.split_at(size.min(left.len()));
                stream.write_all(piece).await.unwrap();
                left = rest;
                if left.is_empty() {
                    break;
                }
            }
            stream.shutdown().await.unwrap();
        });
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        writing.await.unwrap();
        assert!(came == sent);
    }
}
