//! The least a hyper reverse proxy can do: parse, forward, stream back; with `--ca`, with TLS on both sides.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use e2e::bench::{acceptor, connector};
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

#[derive(Parser)]
struct Args {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// Where to forward to
    #[arg(long)]
    upstream: SocketAddr,
    /// TLS on both sides: the upstream's CA
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Where to write the certificate of the floor's own CA
    #[arg(long, requires = "ca")]
    own_ca: Option<PathBuf>,
}

type Answer = Response<Either<Incoming, Empty<Bytes>>>;

/// Where requests go on to.
#[derive(Clone)]
enum Upstream {
    /// Over a pool of plain connections.
    Pooled { addr: SocketAddr, client: Box<Client<HttpConnector, Incoming>> },
    /// Over one TLS connection for each connection of a client.
    Secure { addr: SocketAddr, tls: TlsConnector, kept: Arc<Mutex<Option<SendRequest<Incoming>>>> },
}

impl Upstream {
    fn new(addr: SocketAddr, tls: Option<TlsConnector>) -> Self {
        if let Some(tls) = tls {
            return Self::Secure { addr, tls, kept: Arc::default() };
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self::Pooled {
            addr,
            client: Box::new(Client::builder(TokioExecutor::new()).build(connector)),
        }
    }

    /// The same upstream for another connection of a client.
    fn again(&self) -> Self {
        match self {
            Self::Pooled { .. } => self.clone(),
            Self::Secure { addr, tls, .. } => Self::new(*addr, Some(tls.clone())),
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
        match self {
            Self::Pooled { addr, client } => {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = format!("http://{addr}{path}").parse()?;
                Ok(client.request(request).await?)
            }
            Self::Secure { addr, tls, kept } => {
                let mut kept = kept.lock().await;
                let mut sender = match kept.take() {
                    Some(sender) if !sender.is_closed() => sender,
                    _ => {
                        let stream = TcpStream::connect(addr).await?;
                        stream.set_nodelay(true)?;
                        handshake(tls.connect(ServerName::try_from("localhost")?, stream).await?)
                            .await?
                    }
                };
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                *kept = Some(sender);
                Ok(response)
            }
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Incoming>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its end shows at the sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, upstream: Upstream) {
    let service = service_fn(move |request| {
        let upstream = upstream.clone();
        async move {
            Ok::<Answer, Infallible>(upstream.forward(request).await.map_or_else(
                |_| {
                    let mut response = Response::new(Either::Right(Empty::new()));
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response
                },
                |response| response.map(Either::Left),
            ))
        }
    });
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let tls = args.ca.as_deref().map(connector).transpose()?;
    let accept = args.own_ca.as_deref().map(acceptor).transpose()?;
    let upstream = Upstream::new(args.upstream, tls);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot bind {}", args.listen))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let upstream = upstream.again();
        let accept = accept.clone();
        tokio::spawn(async move {
            match accept {
                None => serve(stream, upstream).await,
                Some(accept) => {
                    if let Ok(stream) = accept.accept(stream).await {
                        serve(stream, upstream).await;
                    }
                }
            }
        });
    }
}
