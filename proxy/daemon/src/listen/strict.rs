//! HTTP/1 requests are passed to hyper only where no other server could cut the same bytes differently.
//!
//! hyper is lenient: of a length and a chunked coding it drops the length, it ends lines at a bare LF, it skips chunk
//! extensions. [`Strict`] stands between the client's stream and hyper, and follows the requests' framing (RFC 9112)
//! byte by byte. What can be read in one way passes unchanged. Of what cannot, hyper sees a whole head without a body,
//! and then nothing: the request is judged, refused and recorded like any other, and the connection closes. Refused
//! are also chunk extensions and trailers, which servers merge or skip in ways of their own and no provider's client
//! sends. Bytes after a request that closes its connection are thrown away.

mod chunks;
mod faults;
mod head;
mod salvage;
mod scan;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

pub use faults::{Faults, Framed};
pub use head::HEAD_BYTES;
use scan::{Scanner, Then};

/// What is read at once of a head that comes in pieces.
const PIECE: usize = 8 << 10;
/// How much of what follows a refused request is read and thrown away, so that the client sees the refusal and not a
/// reset.
const DISCARD: usize = 1 << 20;
/// How long that goes on after the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A client's stream as hyper may see it.
#[derive(Debug)]
pub struct Strict<S> {
    stream: S,
    scanner: Scanner,
    faults: Arc<Faults>,
    /// A head that is not whole, what hyper had no room for yet, or what is a tunnel's.
    held: BytesMut,
    /// How many of the held bytes hyper gets.
    ready: usize,
    rest: Rest,
    linger: Option<Pin<Box<Sleep>>>,
}

/// What the rest of the stream is.
#[derive(Debug)]
enum Rest {
    /// Requests.
    Requests,
    /// Kept, should a tunnel be opened.
    Tunnel,
    /// Thrown away, so many bytes of it at most.
    Discarded { left: usize },
    /// There is none: hyper sees its end.
    Ended,
}

impl<S> Strict<S> {
    /// A stream of requests, and what will be wrong with them.
    #[must_use]
    pub fn new(stream: S) -> (Self, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        let strict = Self {
            stream,
            scanner: Scanner::new(),
            faults: Arc::clone(&faults),
            held: BytesMut::new(),
            ready: 0,
            rest: Rest::Requests,
            linger: None,
        };
        (strict, faults)
    }

    /// Acts on what the scanner says of `held`, of which `passing` bytes pass.
    fn settle(&mut self, passing: usize, then: Then) {
        self.ready = passing;
        match then {
            Then::More | Then::Partial => {}
            Then::Tunnel => self.rest = Rest::Tunnel,
            Then::BadHead(length, fault) => {
                self.faults.found(self.scanner.request(), fault);
                let mut head = self.held.split_off(passing);
                head.truncate(length);
                let harmless = salvage::harmless(&head);
                self.held.extend_from_slice(&harmless);
                self.ready = self.held.len();
                self.rest = Rest::Discarded { left: DISCARD };
            }
            Then::BadBody(fault) => {
                self.faults.found(self.scanner.request(), fault);
                self.held.truncate(passing);
                self.rest = Rest::Ended;
            }
            Then::Over => {
                self.held.truncate(passing);
                self.rest = Rest::Discarded { left: DISCARD };
            }
        }
    }

    /// Gives hyper what it may have of the held bytes.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let size = self.ready.min(buf.remaining());
        buf.put_slice(self.held.get(..size).unwrap_or_default());
        self.held.advance(size);
        self.ready -= size;
        if self.held.is_empty() {
            // An idle connection holds nothing.
            self.held = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Strict<S> {
    /// Reads into hyper's own buffer, and takes out again what does not pass. Resolves at the stream's end, or once
    /// something passed.
    fn poll_straight(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = buf.filled().get(before..).unwrap_or_default();
        if came.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let (passing, then) = self.scanner.advance(came);
        if then != Then::More {
            self.held.extend_from_slice(came.get(passing..).unwrap_or_default());
            buf.set_filled(before + passing);
            self.settle(0, then);
        }
        Poll::Ready(Ok(passing > 0))
    }

    /// Reads on in a head that came in part.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.reserve(PIECE);
        if ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.held))? == 0 {
            self.held.clear();
            self.rest = Rest::Ended;
            return Poll::Ready(Ok(()));
        }
        let (passing, then) = self.scanner.advance(&self.held);
        if then == Then::More {
            self.ready = self.held.len();
        } else {
            self.settle(passing, then);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what follows a faulty or a last request. Resolves at the stream's end.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scrap = [0; 1024];
        while let Rest::Discarded { left: left @ 1.. } = &mut self.rest {
            let mut buf = ReadBuf::new(&mut scrap);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            *left = left.saturating_sub(buf.filled().len());
        }
        // Nothing more is read, not even the end: the answer is what the connection waits for.
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            match this.rest {
                Rest::Requests if this.held.is_empty() => {
                    if ready!(this.poll_straight(cx, buf))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Rest::Requests => ready!(this.poll_held(cx))?,
                // Until the tunnel is opened there is nothing to wait for: whoever opens it reads then.
                Rest::Tunnel if !this.faults.is_tunnel() => return Poll::Pending,
                Rest::Tunnel if this.held.is_empty() => {
                    return Pin::new(&mut this.stream).poll_read(cx, buf);
                }
                Rest::Tunnel => this.ready = this.held.len(),
                // The end of the stream here would tell hyper that nobody waits for the answer.
                Rest::Discarded { .. } => return this.poll_discard(cx),
                Rest::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Ends the answer. After a refused request what the client still sends is read for a while: closed with bytes
    /// unread, the connection would be reset, and the refusal lost.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.faults.any() {
            return Poll::Ready(Ok(()));
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if linger.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Rest::Ended = this.rest {
            this.rest = Rest::Discarded { left: DISCARD };
        }
        this.poll_discard(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
