//! One way into the gate, and the ordinary requests that must pass through it whatever else is done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::PATIENCE;
use crate::trust::trusting;

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How connections are opened, and what a request through them is called.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where TCP goes (`HOST:PORT`).
    pub dial: String,
    /// What a CONNECT asks for first, and the lines it adds to its head.
    pub connect: Option<(String, String)>,
    /// The name in the TLS handshake; in clear without.
    pub name: Option<String>,
    /// The host that requests name.
    pub host: String,
    /// What stands before a provider's own path (`/openai` at the gateway).
    pub prefix: String,
    /// The virtual key.
    pub key: String,
    /// The CA of the gate, as PEM.
    pub ca: Vec<u8>,
}

/// What came back over HTTP/1.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The first status.
    pub status: Option<u16>,
    /// All that came, as text.
    pub text: String,
    /// The gate closed.
    pub closed: bool,
}

impl Door {
    /// Opens a connection that speaks `alpn`.
    pub(super) async fn open(&self, alpn: &str) -> Result<Box<dyn Stream>> {
        self.over(self.tcp().await?, alpn).await
    }

    /// The same, over this socket.
    pub(super) async fn over(&self, mut tcp: TcpStream, alpn: &str) -> Result<Box<dyn Stream>> {
        if let Some((target, lines)) = &self.connect {
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{lines}\r\n");
            tcp.write_all(head.as_bytes()).await?;
            let mut said = Vec::new();
            while !said.ends_with(b"\r\n\r\n") {
                said.push(tcp.read_u8().await.context("the proxy closed")?);
            }
            let text = String::from_utf8_lossy(&said);
            ensure!(text.contains(" 200"), "no tunnel: {text}");
        }
        let Some(name) = &self.name else { return Ok(Box::new(tcp)) };
        let config = trusting(&self.ca, alpn)?;
        let name = ServerName::try_from(name.clone())?;
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        ensure!(agreed == Some(alpn.as_bytes()), "the gate does not speak {alpn} here");
        Ok(Box::new(stream))
    }

    pub(super) async fn tcp(&self) -> Result<TcpStream> {
        let tcp = TcpStream::connect(&self.dial).await.context(self.dial.clone())?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// The path of an operation.
    pub(super) fn path(&self) -> String {
        format!("{}/v1/chat/completions", self.prefix)
    }

    /// The fields that every request has: its host and its key.
    pub(super) fn fields(&self) -> String {
        let Self { host, key, .. } = self;
        format!("Host: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n")
    }

    /// A whole request with these further fields. Where none of them says how long the body is, none is said.
    pub(super) fn head(&self, more: &str) -> String {
        format!("POST {} HTTP/1.1\r\n{}{more}\r\n", self.path(), self.fields())
    }

    /// A request that is in order.
    pub(super) fn request(&self, prompt: &str) -> String {
        let body = body(prompt, false);
        let head = self.head(&format!("Content-Length: {}\r\n", body.len()));
        head + &body
    }

    /// Asks in order, over a connection of its own.
    pub(super) async fn ask(&self, prompt: &str) -> Result<Answer> {
        let body = body(prompt, false);
        let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
        let answer = self.exchange((self.head(&length) + &body).as_bytes()).await?;
        ensure!(answer.closed, "not answered in time: {answer:?}");
        Ok(answer)
    }

    /// Sends `bytes` and reads to the end.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> Result<Answer> {
        let mut stream = self.open("http/1.1").await?;
        // The gate may have enough before all is sent.
        let sent = async { stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() };
        timeout(PATIENCE, sent).await.context("the gate does not read")?;
        read(&mut stream).await
    }

    /// A stream that has begun to be answered and goes on for a while.
    pub(super) async fn flying(&self) -> Result<Flying> {
        let mut stream = self.open("http/1.1").await?;
        let body = body("slow:20 split:1 say:in-flight-to-the-end", true);
        let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
        stream.write_all((self.head(&length) + &body).as_bytes()).await?;
        stream.flush().await?;
        let mut first = vec![0; 4096];
        let size = timeout(PATIENCE, stream.read(&mut first)).await??;
        first.truncate(size);
        ensure!(first.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&first));
        Ok(Flying { stream, first })
    }
}

/// A request that is being answered.
pub(super) struct Flying {
    stream: Box<dyn Stream>,
    first: Vec<u8>,
}

impl Flying {
    /// It is answered whole.
    pub(super) async fn lands(mut self) -> Result<()> {
        let rest = read(&mut self.stream).await?;
        let text = String::from_utf8_lossy(&self.first) + rest.text.as_str();
        ensure!(rest.closed && text.contains("[DONE]"), "cut off: {text}");
        Ok(())
    }
}

/// The body of a question.
pub(super) fn body(prompt: &str, stream: bool) -> String {
    serde_json::json!({
        "model": "gpt-5-mini", "stream": stream, "max_completion_tokens": 60,
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string()
}

/// Reads until the other side closes, or nothing comes any more.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer> {
    let mut all = Vec::new();
    let mut piece = vec![0; 16 << 10];
    let closed = loop {
        match timeout(quiet(&all), stream.read(&mut piece)).await {
            Err(_elapsed) => break false,
            // A reset, or TLS without its last word, is an end too.
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(size)) => all.extend(piece.iter().take(size)),
        }
    };
    let text = String::from_utf8_lossy(&all).into_owned();
    let status = text.get(9..12).and_then(|digits| digits.parse().ok());
    Ok(Answer { status, text, closed })
}

/// A connection that was answered and stays open is read for less long.
fn quiet(read: &[u8]) -> Duration {
    if read.is_empty() { PATIENCE } else { PATIENCE / 4 }
}
