use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use decide::case::AddressClass;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::clock::{Clock, random};
use crate::listen::mint::{Authority, Leaves};

type Whole = Full<Bytes>;

fn key(secure: bool, port: u16) -> PoolKey {
    PoolKey {
        tenant: "agent".into(),
        credential: Some("cred".into()),
        secure,
        host: "up.example".into(),
        port,
    }
}

fn target(at: SocketAddr) -> Resolved {
    Resolved { addresses: vec![at], class: AddressClass::Loopback, named: true }
}

fn request(path: &str) -> Request<Whole> {
    Request::post(path).header("host", "agent-says").body(Full::from("question")).unwrap()
}

fn plain<B: RequestBody>() -> Pool<B> {
    Pool::new(Connector::trusting(rustls::RootCertStore::empty()).unwrap())
}

/// Reads the answer to its end and gives the connection back.
async fn whole<B: RequestBody>(sent: Sent<B>) -> Bytes {
    let body = sent.response.into_body().collect().await.unwrap().to_bytes();
    sent.connection.finished();
    body
}

/// What a scripted HTTP/1 server saw: the heads of requests, each with the number of its connection; and `end`s.
type Seen = mpsc::UnboundedReceiver<(usize, String)>;

/// A server that answers each request with the next of `script`, and closes when an answer says so.
async fn scripted(script: &'static [&'static str]) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, seen) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_script(stream, number, script, Arc::clone(&next), tell.clone()));
        }
    });
    (at, seen)
}

async fn serve_script(
    mut stream: TcpStream,
    number: usize,
    script: &'static [&'static str],
    next: Arc<AtomicUsize>,
    tell: mpsc::UnboundedSender<(usize, String)>,
) {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
                break head;
            }
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                drop(tell.send((number, "end".to_owned())));
                return;
            }
        };
        read.clear();
        drop(tell.send((number, head)));
        let answer = script[next.fetch_add(1, Ordering::SeqCst) % script.len()];
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.is_empty() || answer.contains("close-silently") {
            return;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_serves_one_exchange_after_another() {
    let (at, mut seen) = scripted(&[OK]).await;
    let pool = plain();
    for n in 0..5 {
        let sent =
            pool.send(&key(false, at.port()), &target(at), request("/v1/x?y=1")).await.unwrap();
        assert_eq!((sent.connection.reused(), sent.connection.peer()), (n > 0, at));
        assert_eq!(whole(sent).await, "ok");
        let (connection, head) = seen.recv().await.unwrap();
        assert_eq!(connection, 0);
        assert!(head.starts_with("POST /v1/x?y=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nhost: up.example:{}\r\n", at.port())), "{head}");
    }
    assert_eq!(pool.kept(), 1);
}

#[tokio::test]
async fn an_exchange_that_was_cut_closes_its_connection_at_once() {
    let (at, mut seen) = scripted(&["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome"]).await;
    let pool = plain();
    let sent = pool.send(&key(false, at.port()), &target(at), request("/")).await.unwrap();
    seen.recv().await.unwrap();
    drop(sent.connection);
    assert_eq!(seen.recv().await.unwrap(), (0, "end".to_owned()));
    assert_eq!(pool.kept(), 0);
    // The same where the caller goes away before the answer's head: here it never comes.
    let (at, mut seen) = scripted(&["HTTP/1.1 200"]).await;
    {
        let (key, target) = (key(false, at.port()), target(at));
        let waiting = pool.send(&key, &target, request("/"));
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("answered"),
            head = seen.recv() => assert!(head.is_some()),
        }
    }
    assert_eq!(seen.recv().await.unwrap(), (0, "end".to_owned()));
}

/// A body that begins and never ends.
struct Endless(bool);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"begun")))))
    }
}

#[tokio::test]
async fn a_connection_that_answered_before_it_had_the_request_is_not_kept() {
    let (at, _seen) = scripted(&[OK]).await;
    let pool = plain();
    let endless = Request::post("/").body(Endless(false)).unwrap();
    let sent = pool.send(&key(false, at.port()), &target(at), endless).await.unwrap();
    assert_eq!(whole(sent).await, "ok");
    assert_eq!(pool.kept(), 0);
}

#[tokio::test]
async fn a_connection_that_says_more_than_its_answer_is_not_used_again() {
    const TWICE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let (at, _seen) = scripted(&[TWICE]).await;
    let pool = plain();
    for _ in 0..5 {
        let sent = pool.send(&key(false, at.port()), &target(at), request("/")).await.unwrap();
        assert!(!sent.connection.reused());
        assert_eq!(whole(sent).await, "ok");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_replaced_and_each_request_arrives_once()
{
    const CLOSES: &str = "HTTP/1.1 200 OK\r\nx: close-silently\r\ncontent-length: 2\r\n\r\nok";
    let (at, mut seen) = scripted(&[CLOSES]).await;
    let pool = plain();
    for n in 0..20 {
        let sent = pool
            .send(&key(false, at.port()), &target(at), request(&format!("/{n}")))
            .await
            .unwrap();
        assert_eq!(whole(sent).await, "ok");
        let (_, head) = seen.recv().await.unwrap();
        assert!(head.starts_with(&format!("POST /{n} ")), "{head}");
        // The server's end travels by its own segment; wait until this side has seen it.
        let lanes: Vec<_> = pool.0.lanes().values().cloned().collect();
        for lane in lanes {
            while lane.sweep() {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_shared_across_agents_credentials_ports_or_addresses() {
    let (at, _seen) = scripted(&[OK]).await;
    let mine = key(false, at.port());
    let others = [
        PoolKey { tenant: "other".into(), ..mine.clone() },
        PoolKey { credential: None, ..mine.clone() },
        PoolKey { host: "other.example".into(), ..mine.clone() },
        PoolKey { port: 1, ..mine.clone() },
    ];
    let pool = plain();
    whole(pool.send(&mine, &target(at), request("/")).await.unwrap()).await;
    for other in &others {
        let sent = pool.send(other, &target(at), request("/")).await.unwrap();
        assert!(!sent.connection.reused(), "{other:?}");
    }
    let (elsewhere, _seen) = scripted(&[OK]).await;
    let sent = pool.send(&mine, &target(elsewhere), request("/")).await.unwrap();
    assert_eq!((sent.connection.reused(), sent.connection.peer()), (false, elsewhere));
    let sent = pool.send(&mine, &target(at), request("/")).await.unwrap();
    assert!(sent.connection.reused());
}

#[tokio::test]
async fn an_answer_that_is_none_says_so_and_counts_as_sent() {
    type Says = fn(&UpstreamError) -> bool;
    let malformed: Says = |error| matches!(error, UpstreamError::Malformed { .. });
    let table: [(&[&str], Says); 8] = [
        (&[""], |error| matches!(error, UpstreamError::Closed(_) | UpstreamError::Broken { .. })),
        (&["SMTP ready\r\n\r\n"], |error| matches!(error, UpstreamError::Malformed { .. })),
        (
            &["HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"],
            |error| matches!(error, UpstreamError::Malformed { .. }),
        ),
        (&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"], malformed),
        (&["HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok"], malformed),
        (&["HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok"], malformed),
        (
            &[
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ],
            malformed,
        ),
        (&["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], malformed),
    ];
    for (script, is) in table {
        let (at, _seen) = scripted(script).await;
        let error =
            plain().send(&key(false, at.port()), &target(at), request("/")).await.unwrap_err();
        assert!(is(&error) && error.may_have_sent(), "{script:?}: {error}");
    }
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = plain().send(&key(false, 1), &target(nowhere), request("/")).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Connect(ConnectError::Refused { .. }))
            && !error.may_have_sent()
    );
    let odd = PoolKey { host: "a b".into(), ..key(false, 1) };
    let error = plain().send(&odd, &target(nowhere), request("/")).await.unwrap_err();
    assert_eq!(error, UpstreamError::Host("a b".into()));
}

#[tokio::test]
async fn a_slow_answer_holds_up_no_other_request() {
    let (at, mut seen) = scripted(&["", OK]).await;
    drop(seen.try_recv());
    let (stuck, _kept) = scripted(&["HTTP/1.1 200"]).await;
    let pool = plain();
    let slow = Resolved { addresses: vec![stuck], ..target(stuck) };
    let (key, quick) = (key(false, at.port()), target(at));
    let waiting = pool.send(&key, &slow, request("/"));
    tokio::pin!(waiting);
    tokio::select! {
        _ = &mut waiting => panic!("answered"),
        ended = pool.send(&key, &quick, request("/")) => assert!(ended.is_err(), "the first of the script"),
    }
    tokio::select! {
        _ = &mut waiting => panic!("answered"),
        sent = pool.send(&key, &quick, request("/")) => assert_eq!(whole(sent.unwrap()).await, "ok"),
    }
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let (at, mut seen) = scripted(&[OK]).await;
    let pool = plain();
    whole(pool.send(&key(false, at.port()), &target(at), request("/")).await.unwrap()).await;
    seen.recv().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    while pool.kept() > 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert_eq!(seen.recv().await.unwrap(), (0, "end".to_owned()));
}

/// A hyper server over TLS that offers `alpn`; it answers with what it saw and counts its connections. A path of
/// `/held` never ends its answer.
async fn secure(alpn: &[&str]) -> (SocketAddr, Connector, Arc<AtomicUsize>) {
    let now = Clock::system().now();
    let (authority, _) = Authority::create(now, random::<16>).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let mut config =
        (*Leaves::new(authority.into(), now).unwrap().server_config("up.example", now).unwrap())
            .clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(stream).await else { return };
                let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(tls);
                let service = service_fn(echo);
                if h2 {
                    drop(
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(io, service)
                            .await,
                    );
                } else {
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(io, service)
                            .await,
                    );
                }
            });
        }
    });
    (at, Connector::trusting(roots).unwrap(), connections)
}

/// One permit for each request to `/early` whose body broke off.
static BROKEN_OFF: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);

type Echoed = http_body_util::Either<Whole, Endless>;

async fn echo(request: Request<Incoming>) -> Result<Response<Echoed>, Infallible> {
    let said =
        format!("{:?} {} {:?}", request.version(), request.uri(), request.headers().get("host"));
    if request.uri().path() == "/held" {
        return Ok(Response::new(Echoed::Right(Endless(false))));
    }
    if request.uri().path() == "/early" {
        tokio::spawn(async move {
            if request.into_body().collect().await.is_err() {
                BROKEN_OFF.add_permits(1);
            }
        });
        return Ok(Response::new(Echoed::Left(Full::from(said))));
    }
    drop(request.into_body().collect().await);
    Ok(Response::new(Echoed::Left(Full::from(said))))
}

#[tokio::test]
async fn tls_upstreams_are_spoken_to_in_the_version_they_choose() {
    for (alpn, said) in [
        (["h2"], "HTTP/2.0 https://up.example/x None"),
        (["http/1.1"], "HTTP/1.1 /x Some(\"up.example\")"),
    ] {
        let (at, connector, connections) = secure(&alpn).await;
        let pool = Pool::new(connector);
        for _ in 0..3 {
            let sent = pool.send(&key(true, 443), &target(at), request("/x")).await.unwrap();
            assert_eq!(whole(sent).await, said);
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn many_at_once_share_one_http2_connection_and_a_cut_stream_harms_no_other() {
    let (at, connector, connections) = secure(&["h2"]).await;
    let pool: Pool<Whole> = Pool::new(connector);
    let held = pool.send(&key(true, 443), &target(at), request("/held")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let sent =
                pool.send(&key(true, 443), &target(at), request(&format!("/{n}"))).await.unwrap();
            whole(sent).await
        });
    }
    drop(held);
    assert_eq!(tasks.join_all().await.len(), 32);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_http2_request_still_being_sent_ends_with_its_exchange_and_the_connection_stays() {
    let (at, connector, connections) = secure(&["h2"]).await;
    let pool: Pool<Endless> = Pool::new(connector);
    for cut in [false, true] {
        let endless = Request::post("/early").body(Endless(false)).unwrap();
        let sent = pool.send(&key(true, 443), &target(at), endless).await.unwrap();
        if cut {
            drop(sent);
        } else {
            whole(sent).await;
        }
        let broken = tokio::time::timeout(Duration::from_secs(5), BROKEN_OFF.acquire()).await;
        broken.expect("the server still waits for the body").unwrap().forget();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_cold_pool_dials_an_http2_upstream_once_for_all_who_ask() {
    let (at, connector, connections) = secure(&["h2"]).await;
    let pool: Pool<Whole> = Pool::new(connector);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let pool = pool.clone();
        tasks.spawn(async move {
            whole(pool.send(&key(true, 443), &target(at), request("/")).await.unwrap()).await
        });
    }
    assert_eq!(tasks.join_all().await.len(), 32);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn more_streams_than_one_connection_takes_open_another() {
    let (at, connector, connections) = secure(&["h2"]).await;
    let pool: Pool<Whole> = Pool::new(connector);
    let mut held = Vec::new();
    for _ in 0..=link::STREAMS {
        held.push(pool.send(&key(true, 443), &target(at), request("/held")).await.unwrap());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// Not a claim but a figure: `cargo test --release -p tollgate pool -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn measure_requests_over_tls_against_a_bare_client() {
    const ROUNDS: u32 = 20_000;
    let (at, connector, _) = secure(&["http/1.1"]).await;
    let pool = Pool::new(connector.clone());
    let (key, target) = (key(true, 443), target(at));
    let mut figures = Vec::new();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        for _ in 0..ROUNDS {
            whole(pool.send(&key, &target, request("/x")).await.unwrap()).await;
        }
        let pooled = start.elapsed() / ROUNDS;
        let dialled = connector.dial("up.example", &[at], true).await.unwrap();
        let super::super::connect::Stream::Tls(tls) = dialled.stream else { panic!("no TLS") };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(*tls)).await.unwrap();
        tokio::spawn(async { drop(connection.await) });
        let start = std::time::Instant::now();
        for _ in 0..ROUNDS {
            sender.ready().await.unwrap();
            let answer = sender.send_request(request("/x")).await.unwrap();
            drop(answer.into_body().collect().await.unwrap());
        }
        figures.push((pooled, start.elapsed() / ROUNDS));
    }
    std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("a request, pool and bare: {figures:?}\n"),
    )
    .unwrap();
}
