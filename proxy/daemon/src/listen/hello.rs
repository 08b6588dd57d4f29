//! What a client says first decides how its connection is read, before anything is answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::{StartHandshake, TlsStream};

mod replay;
pub use replay::Replay;

/// How much is read in one call. A `ClientHello` with a post-quantum key share is about 1.8 KiB.
const CHUNK: usize = 4096;

/// What a client may take of the gate before it has said what it wants.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes read before the opening is known.
    pub bytes: usize,
    /// Time until the opening is known, and again for the rest of a TLS handshake.
    pub time: Duration,
}

impl Default for Limits {
    /// 16 KiB, nine times the largest hello of a common client, and 10 s.
    fn default() -> Self {
        Self { bytes: 16 * 1024, time: Duration::from_secs(10) }
    }
}

/// How a connection begins.
#[derive(Debug)]
pub enum Opening<S> {
    /// A TLS `ClientHello`, read whole and not answered.
    Tls(Box<Hello<S>>),
    /// The start of an HTTP/1 request line.
    Http(Replay<S>),
    /// HTTP/2 in clear without negotiation, which the gate refuses.
    Http2(Replay<S>),
    /// Another protocol. The bytes that came are the replay's first.
    Other(Replay<S>),
    /// Nothing came in time: a protocol in which the server speaks first.
    Silent(S),
    /// The client closed without a byte.
    Closed,
}

/// Why a connection has no opening.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// The client began TLS and did not go on in time.
    #[error("the client did not finish its TLS hello in time")]
    Slow,
    /// The hello is longer than the gate reads.
    #[error("the client's TLS hello is longer than {0} bytes")]
    TooLong(usize),
    /// What began like TLS is not; the client was told by an alert.
    #[error("the client's TLS hello cannot be read: {0}")]
    Malformed(rustls::Error),
    /// The connection failed, or ended within the hello.
    #[error("the connection failed within the client's hello: {0}")]
    Io(#[from] io::Error),
}

/// Reads the opening of `stream`.
///
/// # Errors
///
/// A TLS hello that is slow, too long, malformed or cut short.
pub async fn open<S>(mut stream: S, limits: Limits) -> Result<Opening<S>, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = Instant::now() + limits.time;
    let mut read = BytesMut::with_capacity(CHUNK);
    loop {
        let came = match timeout_at(deadline, stream.read_buf(&mut read)).await {
            Ok(came) => came?,
            Err(_elapsed) if read.is_empty() => return Ok(Opening::Silent(stream)),
            Err(_elapsed) => 0,
        };
        if read.is_empty() {
            return Ok(Opening::Closed);
        }
        match recognise(&read) {
            Some(Protocol::Tls) => return hello(stream, read, limits.bytes, deadline).await,
            Some(Protocol::Http) => return Ok(Opening::Http(Replay::new(read.freeze(), stream))),
            Some(Protocol::Http2) => return Ok(Opening::Http2(Replay::new(read.freeze(), stream))),
            Some(Protocol::Other) => return Ok(Opening::Other(Replay::new(read.freeze(), stream))),
            None if came == 0 => return Ok(Opening::Other(Replay::new(read.freeze(), stream))),
            None => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tls,
    Http,
    Http2,
    Other,
}

/// The longest method name that is read as HTTP: `VERSION-CONTROL` has 15 letters.
const LONGEST_METHOD: usize = 20;

/// The protocol that `read` begins, or nothing as long as more bytes could make it another.
///
/// A request line is a method of capitals and hyphens, a space, and a target that begins as one does: a path, `*`,
/// an `http` URL, or after CONNECT anything. SSH (`SSH-2.0`), SMTP and line protocols do not.
fn recognise(read: &[u8]) -> Option<Protocol> {
    const TLS_HANDSHAKE: u8 = 0x16;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if read.first()? == &TLS_HANDSHAKE {
        return Some(Protocol::Tls);
    }
    if read.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    if PREFACE.starts_with(read) {
        return None;
    }
    let letters =
        read.iter().take_while(|&&byte| byte.is_ascii_uppercase() || byte == b'-').count();
    if letters > LONGEST_METHOD {
        return Some(Protocol::Other);
    }
    match read.get(letters..)? {
        [] => None,
        [b' '] if letters > 0 => None,
        [b' ', b'/' | b'*' | b'h' | b'H', ..] if letters > 0 => Some(Protocol::Http),
        [b' ', ..] if read.starts_with(b"CONNECT ") => Some(Protocol::Http),
        _ => Some(Protocol::Other),
    }
}

/// Reads on until the `ClientHello` is whole, in however many records and segments it comes.
async fn hello<S>(
    mut stream: S,
    mut read: BytesMut,
    most: usize,
    deadline: Instant,
) -> Result<Opening<S>, HelloError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut seen = 0;
    loop {
        let mut fresh = read.get(seen..).unwrap_or_default();
        // All that came goes in before the hello is taken out: what follows it belongs to the handshake.
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh)?;
        }
        seen = read.len();
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                return Ok(Opening::Tls(Box::new(Hello { accepted, stream, read })));
            }
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                if bytes.is_empty() {
                    bytes.extend(in_clear(DECODE_ERROR));
                }
                stream.write_all(&bytes).await?;
                stream.shutdown().await?;
                return Err(HelloError::Malformed(error));
            }
        }
        if seen >= most {
            return Err(HelloError::TooLong(most));
        }
        read.reserve(CHUNK);
        match timeout_at(deadline, stream.read_buf(&mut read)).await {
            Err(_elapsed) => return Err(HelloError::Slow),
            Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(came) => came?,
        };
    }
}

/// The alert for a message that does not parse.
const DECODE_ERROR: u8 = 50;

/// A fatal alert as it travels before keys are agreed: one record of version 1.2 with two bytes.
fn in_clear(alert: u8) -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    [ALERT, 3, 3, 0, 2, FATAL, alert]
}

/// Why a TLS connection is refused, as the alert that says so (RFC 8446 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The name is known and policy refuses it.
    AccessDenied,
    /// There is no name, or none that the gate could be.
    UnrecognisedName,
    /// The gate cannot judge or answer now.
    Unavailable,
}

impl Refusal {
    fn alert(self) -> u8 {
        match self {
            Self::AccessDenied => 49,
            Self::UnrecognisedName => 112,
            Self::Unavailable => 80,
        }
    }
}

/// A `ClientHello` that waits for a judgement.
pub struct Hello<S> {
    accepted: Accepted,
    stream: S,
    read: BytesMut,
}

impl<S> std::fmt::Debug for Hello<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("sni", &self.sni()).finish_non_exhaustive()
    }
}

impl<S> Hello<S> {
    /// The name that the client asks for, in lower case. With encrypted hello this is the outer name; the gate is
    /// the end of the connection, so no other name comes into play.
    #[must_use]
    pub fn sni(&self) -> Option<String> {
        self.accepted.client_hello().server_name().map(str::to_ascii_lowercase)
    }

    /// The protocols that the client offers, or `None` where it names none and so speaks HTTP/1.1.
    #[must_use]
    pub fn alpn(&self) -> Option<Vec<Vec<u8>>> {
        self.accepted.client_hello().alpn().map(|offered| offered.map(<[u8]>::to_vec).collect())
    }

    /// The connection with the hello unread, for a destination whose bytes are not read.
    #[must_use]
    pub fn into_opaque(self) -> Replay<S> {
        Replay::new(self.read.freeze(), self.stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Hello<S> {
    /// Completes the handshake as the name that `config` was made for, within `time`.
    ///
    /// # Errors
    ///
    /// The client refused the certificate, offers nothing that the gate speaks, or went away.
    pub async fn accept(
        self,
        config: Arc<ServerConfig>,
        time: Duration,
    ) -> io::Result<TlsStream<S>> {
        let handshake = StartHandshake::from_parts(self.accepted, self.stream).into_stream(config);
        tokio::time::timeout(time, handshake).await.map_err(|_elapsed| io::ErrorKind::TimedOut)?
    }

    /// Ends the connection with an alert.
    ///
    /// # Errors
    ///
    /// The client is gone.
    pub async fn refuse(mut self, why: Refusal) -> io::Result<()> {
        self.stream.write_all(&in_clear(why.alert())).await?;
        self.stream.shutdown().await
    }
}

#[cfg(test)]
mod tests;
