//! The bench's upstream: HTTP/1.1 with and without TLS, HTTP/2, answers as cheap as they can be.
//!
//! What it answers travels in the question: `mock-p<pause in us>-n<events>-b<bytes>`, anywhere in the body. A stream's
//! event carries `T<19 digits>E`, the monotonic nanosecond at which it was made.

use std::convert::Infallible;
use std::future::Future as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use e2e::bench::{acceptor, h2_acceptor, monotonic_ns};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

#[derive(Parser)]
struct Args {
    /// Where to listen without TLS
    #[arg(long)]
    listen: SocketAddr,
    /// Where to listen with TLS
    #[arg(long)]
    tls_listen: SocketAddr,
    /// Where to write the CA's certificate
    #[arg(long)]
    ca: PathBuf,
    /// Where to listen with TLS, offering HTTP/2
    #[arg(long, requires = "h2_ca")]
    h2_listen: Option<SocketAddr>,
    /// Where to write the certificate of that one's CA
    #[arg(long)]
    h2_ca: Option<PathBuf>,
}

/// What a question asks for.
#[derive(Debug, Clone, Copy)]
struct Shape {
    pause: Duration,
    events: u64,
    bytes: usize,
}

impl Shape {
    fn read(body: &[u8]) -> Option<Self> {
        let at = memmem::find(body, b"mock-p")?;
        let text = body.get(at + 6..)?;
        let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')?;
        let text = std::str::from_utf8(text.get(..end)?).ok()?;
        let (pause, rest) = text.split_once("-n")?;
        let (events, bytes) = rest.split_once("-b")?;
        Some(Self {
            pause: Duration::from_micros(pause.parse().ok()?),
            events: events.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    }
}

/// A stream of chat chunks.
struct Events {
    shape: Shape,
    left: u64,
    next: Pin<Box<Sleep>>,
    tail: Option<Bytes>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(self.tail.take().map(|tail| Ok(Frame::data(tail))));
        }
        if !self.shape.pause.is_zero() {
            ready!(self.next.as_mut().poll(cx));
            let next = self.next.deadline() + self.shape.pause;
            self.next.as_mut().reset(next);
        }
        self.left -= 1;
        let stamp = monotonic_ns().unwrap_or(0);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(format!(
            "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":\"T{stamp:019}E\"}}}}]}}\n\n"
        ))))))
    }
}

type Answer = Response<Either<Full<Bytes>, Events>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let shape =
        Shape::read(&body).unwrap_or(Shape { pause: Duration::ZERO, events: 64, bytes: 1024 });
    let streamed = memmem::find(&body, b"\"stream\":true").is_some();
    let (kind, body) = if streamed {
        let with_usage = memmem::find(&body, b"\"include_usage\":true").is_some();
        ("text/event-stream", Either::Right(events(shape, with_usage)))
    } else {
        ("application/json", Either::Left(Full::new(document(shape.bytes))))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn events(shape: Shape, with_usage: bool) -> Events {
    let chunk = "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":";
    let mut tail =
        format!("data: {chunk}[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n");
    if with_usage {
        let usage = "{\"prompt_tokens\":20,\"completion_tokens\":2,\"total_tokens\":22}";
        tail = format!("{tail}data: {chunk}[],\"usage\":{usage}}}\n\n");
    }
    let next = Box::pin(tokio::time::sleep_until(Instant::now()));
    Events { shape, left: shape.events, next, tail: Some(Bytes::from(tail + "data: [DONE]\n\n")) }
}

fn document(bytes: usize) -> Bytes {
    let head = "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\
                \"message\":{\"role\":\"assistant\",\"content\":\"";
    let tail = "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":2,\
                \"total_tokens\":22}}";
    let missing = bytes.saturating_sub(head.len() + tail.len());
    let pad = "lorem ipsum ".repeat(missing / 12) + &" ".repeat(missing % 12);
    Bytes::from([head, &pad, tail].concat())
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => connection(stream).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream).await;
                    }
                }
            }
        });
    }
}

/// A connection that fails shows in the generator's own count.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    // As a provider's: a hundred streams on a connection, and a window that a large question fits into.
    server.http2().max_concurrent_streams(100).initial_connection_window_size(4 << 20);
    drop(server.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
}

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<()> {
    let args = Args::parse();
    let tls = acceptor(&args.ca)?;
    let bind = async |addr: SocketAddr| {
        TcpListener::bind(addr).await.with_context(|| format!("cannot bind {addr}"))
    };
    let (plain, secure) = (bind(args.listen).await?, bind(args.tls_listen).await?);
    if let (Some(listen), Some(ca)) = (args.h2_listen, &args.h2_ca) {
        tokio::spawn(serve(bind(listen).await?, Some(h2_acceptor(ca)?)));
    }
    tokio::join!(serve(plain, None), serve(secure, Some(tls)));
    Ok(())
}
