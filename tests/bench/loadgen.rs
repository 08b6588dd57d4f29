//! The bench's generator: a closed loop of chat requests over HTTP/1.1; one line of JSON about them on stdout.
//!
//! `rr` asks and reads whole answers. `stream` reads streams to their end; latency is the time from the stamp in an
//! event to its arrival. `hold` opens streams, prints READY when each has had an event, and keeps them open.
//! `*_total` counts from the first byte sent, for CPU per request; rates and latencies leave the warm-up out.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use e2e::bench::{connector, monotonic_ns};
use hdrhistogram::Histogram;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Rr,
    Stream,
    Hold,
}

#[derive(Debug, Parser)]
struct Args {
    mode: Mode,
    #[arg(long)]
    url: Uri,
    /// Dial this instead of the URL's host
    #[arg(long)]
    connect_to: Option<SocketAddr>,
    /// Certificates to trust
    #[arg(long, env = "SSL_CERT_FILE")]
    ca: PathBuf,
    #[arg(long, default_value_t = 64)]
    conns: usize,
    #[arg(long, default_value_t = 8.0)]
    secs: f64,
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Bytes of the question and of the answer
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Bytes of the answer, where they are others
    #[arg(long)]
    answer: Option<usize>,
    /// Pause between events, in microseconds, and their number
    #[arg(long, default_value = "p0-n64")]
    shape: String,
    #[arg(long, default_value = "gpt-5-nano")]
    model: String,
    #[arg(long, env = "OPENAI_API_KEY", default_value = "none", hide_env_values = true)]
    key: String,
    /// A file of keys, one on each line; the connections use them in turn
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Requests a second on all connections together; without it each asks again at once
    #[arg(long)]
    rate: Option<f64>,
}

/// What all connections share.
struct Load {
    args: Args,
    host: String,
    addr: SocketAddr,
    tls: Option<TlsConnector>,
    keys: Vec<String>,
    /// Between two requests of one connection.
    every: Option<Duration>,
    body: Bytes,
    measured_from: Instant,
    until: Instant,
    tally: RefCell<Tally>,
}

struct Tally {
    requests_total: u64,
    requests: u64,
    events_total: u64,
    events: u64,
    errors: u64,
    bad_status: u64,
    first_error: Option<String>,
    ready: usize,
    latency: Histogram<u64>,
    first_event: Histogram<u64>,
}

impl Load {
    fn new(args: Args) -> Result<Self> {
        let host = args.url.host().context("the URL names no host")?.to_owned();
        let secure = args.url.scheme_str() == Some("https");
        let port = args.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addr = match args.connect_to {
            Some(addr) => addr,
            None => (host.as_str(), port)
                .to_socket_addrs()?
                .next()
                .context("the host has no address")?,
        };
        let tls = if secure { Some(connector(&args.ca)?) } else { None };
        let keys = match &args.keys {
            None => vec![args.key.clone()],
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                text.lines().map(str::to_owned).collect()
            }
        };
        ensure!(!keys.is_empty(), "no keys");
        let conns = f64::from(u32::try_from(args.conns)?);
        let every = args.rate.map(|rate| Duration::from_secs_f64(conns / rate));
        let start = Instant::now();
        let measured_from = start + Duration::from_secs_f64(args.warmup);
        let highest = 60_000_000_000;
        Ok(Self {
            until: measured_from + Duration::from_secs_f64(args.secs),
            body: question(&args)?,
            tally: RefCell::new(Tally {
                requests_total: 0,
                requests: 0,
                events_total: 0,
                events: 0,
                errors: 0,
                bad_status: 0,
                first_error: None,
                ready: 0,
                latency: Histogram::new_with_bounds(1, highest, 3)?,
                first_event: Histogram::new_with_bounds(1, highest, 3)?,
            }),
            args,
            host,
            addr,
            tls,
            keys,
            every,
            measured_from,
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                handshake(tls.connect(ServerName::try_from(self.host.clone())?, stream).await?)
                    .await
            }
        }
    }

    /// Asks on one connection until time is up or the connection ends.
    async fn ask(&self, number: usize) -> Result<()> {
        let mut sender = self.connect().await?;
        let key = self.keys.get(number % self.keys.len()).context("no key")?;
        let mut next = Instant::now();
        if let Some(every) = self.every {
            // Spread over the time between two requests, so that the connections do not ask all at once.
            next +=
                every.mul_f64(f64::from(u32::try_from(number)?)) / u32::try_from(self.args.conns)?;
        }
        while Instant::now() < self.until {
            if let Some(every) = self.every {
                tokio::time::sleep_until(next.into()).await;
                // What could not be asked in time is left out, not caught up with.
                next = (next + every).max(Instant::now());
            }
            let request = Request::post(self.args.url.path())
                .header(HOST, &self.host)
                .header(CONTENT_TYPE, "application/json")
                .header(AUTHORIZATION, format!("Bearer {key}"))
                .body(Full::new(self.body.clone()))?;
            sender.ready().await?;
            self.exchange(&mut sender, request).await?;
        }
        Ok(())
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<()> {
        let asked = Instant::now();
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut unread = BytesMut::new();
        let mut heard = false;
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            if self.args.mode != Mode::Rr {
                unread.extend_from_slice(&bytes);
                heard = self.events(&mut unread, asked, heard)?;
            }
        }
        let mut tally = self.tally.borrow_mut();
        tally.requests_total += 1;
        if !status.is_success() {
            tally.bad_status += 1;
            tally.first_error.get_or_insert_with(|| format!("status {status}"));
        }
        if asked >= self.measured_from {
            tally.requests += 1;
            if self.args.mode == Mode::Rr {
                tally.latency.saturating_record(nanos(asked.elapsed()));
            }
        }
        Ok(())
    }

    /// Takes whole events out of `unread`; whether one of this answer has been seen.
    fn events(&self, unread: &mut BytesMut, asked: Instant, mut heard: bool) -> Result<bool> {
        let now = monotonic_ns()?;
        let measured = Instant::now() >= self.measured_from;
        let mut tally = self.tally.borrow_mut();
        while let Some(end) = memmem::find(unread, b"\n\n") {
            let event = unread.split_to(end + 2);
            let Some(stamp) = stamp(&event) else { continue };
            tally.events_total += 1;
            if measured {
                tally.events += 1;
                tally.latency.saturating_record(now.saturating_sub(stamp).max(1));
            }
            if !heard {
                heard = true;
                tally.ready += 1;
                tally.first_event.saturating_record(nanos(asked.elapsed()));
            }
        }
        Ok(heard)
    }

    async fn worker(self: Rc<Self>, number: usize) {
        while Instant::now() < self.until {
            if let Err(error) = self.ask(number).await {
                self.failed(&error);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn failed(&self, error: &anyhow::Error) {
        let mut tally = self.tally.borrow_mut();
        tally.errors += 1;
        tally.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    fn report(&self) -> serde_json::Value {
        let tally = self.tally.borrow();
        let us = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) / 100;
        let tenths = |value: u64| {
            serde_json::Number::from_f64(f64::from(u32::try_from(value).unwrap_or(u32::MAX)) / 10.0)
        };
        let rate =
            |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / self.args.secs;
        json!({
            "conns": self.args.conns, "bytes": self.args.bytes, "shape": self.args.shape,
            "requests_total": tally.requests_total, "rps": rate(tally.requests),
            "events_total": tally.events_total, "events_per_s": rate(tally.events),
            "p50_us": tenths(us(&tally.latency, 0.5)), "p99_us": tenths(us(&tally.latency, 0.99)),
            "first_p50_us": tenths(us(&tally.first_event, 0.5)), "first_p99_us": tenths(us(&tally.first_event, 0.99)),
            "errors": tally.errors, "bad_status": tally.bad_status, "first_error": tally.first_error,
        })
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its end shows at the sender.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn stamp(event: &[u8]) -> Option<u64> {
    let at = memmem::find(event, b"\"T")?;
    std::str::from_utf8(event.get(at + 2..at + 21)?).ok()?.parse().ok()
}

/// A question of the wanted length, which says what the mock is to answer.
fn question(args: &Args) -> Result<Bytes> {
    let streamed = args.mode != Mode::Rr;
    let whole = |text: String| {
        let message = json!({"role": "user", "content": text});
        let mut body =
            json!({"model": args.model, "max_completion_tokens": 64, "messages": [message]})
                .to_string();
        if streamed {
            body.insert_str(1, "\"stream\":true,");
        }
        body
    };
    let shape = format!("mock-{}-b{} ", args.shape, args.answer.unwrap_or(args.bytes));
    let missing = args.bytes.saturating_sub(whole(shape.clone()).len());
    let pad: String = "lorem ipsum ".chars().cycle().take(missing).collect();
    let body = whole(shape + &pad);
    ensure!(body.len() >= args.bytes, "the question is too short");
    Ok(Bytes::from(body))
}

fn main() -> Result<()> {
    let load = Rc::new(Load::new(Args::parse())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut workers = Vec::new();
        for number in 1..=load.args.conns {
            workers.push(tokio::task::spawn_local(load.clone().worker(number)));
            if load.args.mode == Mode::Hold && number % 50 == 0 {
                // A thousand handshakes at once would measure the listen queue.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if load.args.mode == Mode::Hold {
            while load.tally.borrow().ready < load.args.conns && Instant::now() < load.until {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let ready = load.tally.borrow().ready;
            writeln!(std::io::stdout(), "READY {ready}")?;
        }
        tokio::time::sleep_until((load.until + Duration::from_millis(200)).into()).await;
        workers.iter().for_each(tokio::task::JoinHandle::abort);
        writeln!(std::io::stdout(), "{}", load.report())
    })?;
    Ok(())
}
