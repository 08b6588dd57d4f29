//! The ways in, and a question as each of them wants it.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// What clients call the gate where it is no proxy to them.
pub(super) const FRONT: &str = "gate.test";

/// One way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Connect,
    ConnectH2,
    Absolute,
    Gateway,
    GatewayH2,
}

impl Way {
    pub(super) const HTTP1: [Self; 3] = [Self::Connect, Self::Absolute, Self::Gateway];
    pub(super) const HTTP2: [Self; 2] = [Self::ConnectH2, Self::GatewayH2];

    const fn tunnels(self) -> bool {
        matches!(self, Self::Connect | Self::ConnectH2)
    }

    fn is_http2(self) -> bool {
        Self::HTTP2.contains(&self)
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// `OpenAI`, whose answers are whole.
    Steady,
    /// Anthropic, whose answers break and stall.
    Rough,
    /// A host of no contract.
    Elsewhere,
}

impl Asked {
    pub(super) const fn host(self) -> &'static str {
        match self {
            Self::Steady => "api.openai.com",
            Self::Rough => "api.anthropic.com",
            Self::Elsewhere => "pastebin.com",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Steady | Self::Elsewhere => "/v1/chat/completions",
            Self::Rough => "/v1/messages",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Steady | Self::Elsewhere => "/openai",
            Self::Rough => "/anthropic",
        }
    }
}

/// A question.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) asked: Asked,
    pub(super) model: &'static str,
    pub(super) prompt: String,
    pub(super) stream: bool,
    pub(super) key: String,
}

impl Question {
    fn body(&self) -> String {
        let limit = match self.asked {
            Asked::Steady | Asked::Elsewhere => "max_completion_tokens",
            Asked::Rough => "max_tokens",
        };
        serde_json::json!({
            "model": self.model, "stream": self.stream, limit: 60,
            "messages": [{"role": "user", "content": self.prompt}],
        })
        .to_string()
    }

    fn credential(&self) -> (&'static str, String) {
        match self.asked {
            Asked::Steady | Asked::Elsewhere => ("authorization", format!("Bearer {}", self.key)),
            Asked::Rough => ("x-api-key", self.key.clone()),
        }
    }

    /// The target of the request, and the host that it names.
    fn target(&self, way: Way) -> (String, &'static str) {
        let (host, path) = (self.asked.host(), self.asked.path());
        match way {
            Way::Connect => (path.to_owned(), host),
            Way::Absolute | Way::ConnectH2 => (format!("https://{host}{path}"), host),
            Way::Gateway => (format!("{}{path}", self.asked.prefix()), FRONT),
            Way::GatewayH2 => (format!("http://{FRONT}{}{path}", self.asked.prefix()), FRONT),
        }
    }

    pub(super) fn request(&self, way: Way) -> Result<Request<Full<Bytes>>> {
        let (target, host) = self.target(way);
        let (name, value) = self.credential();
        let mut request = Request::post(target).header(name, value);
        if !way.is_http2() {
            request = request.header("host", host);
        }
        let request = request.header("content-type", "application/json");
        let request = request.header("anthropic-version", "2023-06-01");
        Ok(request.body(Full::new(Bytes::from(self.body())))?)
    }

    /// The same as the bytes of HTTP/1.1, after which the connection ends.
    pub(super) fn bytes(&self, way: Way) -> Vec<u8> {
        let ((target, host), (name, value)) = (self.target(way), self.credential());
        let body = self.body();
        let length = body.len();
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\n{name}: {value}\r\nContent-Type: application/json\r\n\
             anthropic-version: 2023-06-01\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The keys that are used now.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) steady: String,
    pub(super) rough: String,
    /// Of the agent that is killed and whose keys are revoked.
    pub(super) fickle: String,
}

/// Where the gate listens, and what it is asked with.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) proxy: SocketAddr,
    pub(super) http1: Arc<ClientConfig>,
    pub(super) http2: Arc<ClientConfig>,
    pub(super) keys: RwLock<Keys>,
}

impl Entry {
    pub(super) fn keys(&self) -> Keys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn tcp(&self, small: bool) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if small {
            socket.set_recv_buffer_size(4096)?;
        }
        let tcp = socket.connect(self.proxy).await.context("the gate does not accept")?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// A connection to `asked` that is ready for a request.
    pub(super) async fn open(
        &self,
        way: Way,
        asked: Asked,
        small: bool,
    ) -> Result<Box<dyn Stream>> {
        let tcp = self.tcp(small).await?;
        self.over(tcp, way, asked).await
    }

    /// The same, over this socket.
    pub(super) async fn over(
        &self,
        mut tcp: TcpStream,
        way: Way,
        asked: Asked,
    ) -> Result<Box<dyn Stream>> {
        if !way.tunnels() {
            return Ok(Box::new(tcp));
        }
        self.tunnel(&mut tcp, asked).await?;
        let config = if way.is_http2() { &self.http2 } else { &self.http1 };
        let connector = TlsConnector::from(Arc::clone(config));
        Ok(Box::new(connector.connect(ServerName::try_from(asked.host())?, tcp).await?))
    }

    async fn tunnel(&self, tcp: &mut TcpStream, asked: Asked) -> Result<()> {
        let (host, keys) = (asked.host(), self.keys());
        let key = if asked == Asked::Rough { keys.rough } else { keys.steady };
        let head = format!(
            "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nProxy-Authorization: Bearer {key}\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await?;
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n\r\n") {
            ensure!(said.len() < 4096, "the proxy's head does not end");
            said.push(tcp.read_u8().await.context("the proxy closed")?);
        }
        let text = String::from_utf8_lossy(&said);
        ensure!(text.contains(" 200"), "no tunnel: {text}");
        Ok(())
    }

    pub(super) async fn client(&self, way: Way, asked: Asked, small: bool) -> Result<Client> {
        let io = TokioIo::new(self.open(way, asked, small).await?);
        if way.is_http2() {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(Client::Two(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(Client::One(sender))
        }
    }
}

/// A client that keeps to the protocol.
#[derive(Debug)]
pub(super) enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(super) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>> {
        Ok(match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }
}
