//! An agent that asks as it is told: requests come as lines of JSON, what becomes of each goes back the same way.
//!
//! It is a process of its own, because some ways into the gate are a matter of where a process is: in a network
//! namespace, in a control group, under `tollgate exec`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

mod process;
pub use process::{Caller, Pending};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The way of one request into the gate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Door {
    /// Where TCP goes; to port 443 of the host where not said.
    pub dial: Option<String>,
    /// The address it comes from.
    pub bind: Option<IpAddr>,
    /// TLS with the gate's own port.
    pub front: Option<FrontTls>,
    /// Asks for a tunnel to port 443 of the host.
    pub tunnel: bool,
    /// What `Proxy-Authorization` says.
    pub proxy_authorization: Option<String>,
    /// Speaks TLS with the host, or rather with the gate in its place.
    pub tls: bool,
    /// Names a whole URL in the request.
    pub absolute: bool,
    /// What stands before the provider's own path.
    pub prefix: String,
    /// The CA that the gate's certificates come from, if it is not the one of the environment.
    pub ca: Option<PathBuf>,
}

/// TLS with the gate's own port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontTls {
    /// The CA of its certificate.
    pub ca: PathBuf,
    /// The client's certificate and key, in one file.
    pub own: Option<PathBuf>,
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    /// The way it takes.
    pub door: Door,
    /// In which protocol.
    pub version: Version,
    /// Its method.
    pub method: String,
    /// The host it is for.
    pub host: String,
    /// The provider's own path.
    pub path: String,
    /// Its headers; `$NAME` in a value is that variable of the agent's environment.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// The client goes away when the answer has begun.
    pub leaves: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The status of the answer, or of the tunnel that was not opened.
    pub status: Option<u16>,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, or what came of it.
    pub body: String,
    /// The body came to its end.
    pub whole: bool,
    /// What went wrong.
    pub error: Option<String>,
}

impl Told {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A line to the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    id: u64,
    ask: Ask,
}

/// A line from the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Said {
    /// The first bytes of the answer's body are here.
    Begun(u64),
    /// The request is over.
    Told(u64, Told),
}

/// Reads requests from standard input to its end, and asks each of them at once.
///
/// # Errors
/// When a line is no request, or nobody reads the answers.
pub async fn serve() -> Result<()> {
    let (say, mut said) = tokio::sync::mpsc::unbounded_channel::<Said>();
    let writing = tokio::spawn(async move {
        let mut out = tokio::io::stdout();
        while let Some(line) = said.recv().await {
            let line = serde_json::to_string(&line)? + "\n";
            out.write_all(line.as_bytes()).await?;
            out.flush().await?;
        }
        anyhow::Ok(())
    });
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(tokio::io::stdin()));
    let mut asked = tokio::task::JoinSet::new();
    while let Some(line) = lines.next_line().await? {
        let Line { id, ask } = serde_json::from_str(&line)?;
        let say = say.clone();
        asked.spawn(async move {
            let told = asked_once(&ask, || drop(say.send(Said::Begun(id)))).await;
            drop(say.send(Said::Told(id, told)));
        });
    }
    asked.join_all().await;
    drop(say);
    writing.await?
}

async fn asked_once(ask: &Ask, begun: impl Fn()) -> Told {
    let mut told = Told::default();
    let asking = tokio::time::timeout(PATIENCE, exchange(ask, &mut told, begun));
    let error = match asking.await {
        Err(_elapsed) => Some(format!("no end within {PATIENCE:?}")),
        Ok(result) => result.err().map(|error| format!("{error:#}")),
    };
    told.error = error;
    told
}

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn exchange(ask: &Ask, told: &mut Told, begun: impl Fn()) -> Result<()> {
    let Some(stream) = open(ask, told).await? else { return Ok(()) };
    let (request, io) = (request(ask)?, TokioIo::new(stream));
    let mut answer = match ask.version {
        Version::Http1 => {
            let (mut send, connection) = http1::handshake(io).await?;
            let carried = tokio::spawn(connection);
            let answer = send.send_request(request).await;
            // An answer that came although the request was not read whole is an answer.
            match answer {
                Ok(answer) => answer,
                Err(error) => bail!("{error}: {:?}", carried.await),
            }
        }
        Version::Http2 => {
            let (mut send, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            send.send_request(request).await?
        }
    };
    told.status = Some(answer.status().as_u16());
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    told.headers =
        answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut body = Vec::new();
    let ended = loop {
        match answer.body_mut().frame().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(frame)) => {
                if body.is_empty() {
                    begun();
                }
                body.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
                if ask.leaves {
                    told.body = String::from_utf8_lossy(&body).into_owned();
                    return Ok(());
                }
            }
        }
    };
    told.body = String::from_utf8_lossy(&body).into_owned();
    told.whole = ended.is_ok();
    Ok(ended?)
}

fn request(ask: &Ask) -> Result<Request<Full<Bytes>>> {
    let path = format!("{}{}", ask.door.prefix, ask.path);
    let gateway = !ask.door.prefix.is_empty();
    let authority = match &ask.door.dial {
        Some(dial) if gateway => dial.clone(),
        _ => ask.host.clone(),
    };
    let whole = ask.door.absolute || ask.version == Version::Http2;
    let uri: Uri = if whole {
        let clear = gateway && ask.door.front.is_none();
        let scheme = if clear { "http" } else { "https" };
        format!("{scheme}://{authority}{path}").parse()?
    } else {
        path.parse()?
    };
    let mut request = Request::builder().method(ask.method.as_str()).uri(uri);
    if ask.version == Version::Http1 {
        request = request.header("host", &authority);
    }
    if let (Some(said), true) = (&ask.door.proxy_authorization, ask.door.absolute) {
        request = request.header("proxy-authorization", said);
    }
    for (name, value) in &ask.headers {
        let value = in_environment(value);
        request = request.header(name.parse::<HeaderName>()?, HeaderValue::from_str(&value)?);
    }
    Ok(request.body(Full::new(Bytes::from(ask.body.clone())))?)
}

/// `$NAME` at the end of a value becomes what the environment has.
fn in_environment(value: &str) -> String {
    match value.split_once('$') {
        Some((before, name)) => match std::env::var(name) {
            Ok(found) => format!("{before}{found}"),
            Err(_absent) => value.to_owned(),
        },
        None => value.to_owned(),
    }
}

/// The connection that the request goes over; none where the tunnel was refused, which `told` says then.
async fn open(ask: &Ask, told: &mut Told) -> Result<Option<Box<dyn Stream>>> {
    let Door { dial, bind, front, tunnel, tls, .. } = &ask.door;
    let target = format!("{}:443", ask.host);
    let tcp = tcp(dial.as_deref().unwrap_or(&target), *bind).await?;
    let alpn = if ask.version == Version::Http2 { "h2" } else { "http/1.1" };
    let mut stream: Box<dyn Stream> = match front {
        None => Box::new(tcp),
        // A tunnel is asked for over HTTP/1.1.
        Some(front) => {
            let alpn = if *tunnel { "http/1.1" } else { alpn };
            Box::new(handshake(tcp, "localhost", alpn, &front.ca, front.own.as_ref()).await?)
        }
    };
    if *tunnel
        && !through(&mut stream, &target, ask.door.proxy_authorization.as_deref(), told).await?
    {
        return Ok(None);
    }
    if !tls {
        return Ok(Some(stream));
    }
    let of_environment = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let ca = ask.door.ca.clone().or(of_environment).context("no CA")?;
    let stream = handshake(stream, &ask.host, alpn, &ca, None).await?;
    Ok(Some(Box::new(stream)))
}

async fn tcp(dial: &str, bind: Option<IpAddr>) -> Result<tokio::net::TcpStream> {
    let Some(bind) = bind else {
        return tokio::net::TcpStream::connect(dial).await.with_context(|| dial.to_owned());
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(bind, 0))?;
    Ok(socket.connect(dial.parse()?).await?)
}

/// Asks for a tunnel; whether it was opened.
async fn through(
    stream: &mut Box<dyn Stream>,
    target: &str,
    authorization: Option<&str>,
    told: &mut Told,
) -> Result<bool> {
    let said =
        authorization.map_or(String::new(), |said| format!("Proxy-Authorization: {said}\r\n"));
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{said}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        ensure!(answer.len() < 16 << 10, "the head of the tunnel's answer does not end");
        answer.push(stream.read_u8().await.context("the proxy closed")?);
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    if status == Some(200) {
        return Ok(true);
    }
    told.status = status;
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    told.headers =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut body = Vec::new();
    told.whole = stream.read_to_end(&mut body).await.is_ok();
    told.body = String::from_utf8_lossy(&body).into_owned();
    Ok(false)
}

async fn handshake<S: Stream>(
    stream: S,
    name: &str,
    alpn: &str,
    ca: &PathBuf,
    own: Option<&PathBuf>,
) -> Result<tokio_rustls::client::TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        CertificateDer::pem_file_iter(ca)?.collect::<Result<Vec<_>, _>>()?,
    );
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_file_iter(own)?.collect::<Result<Vec<_>, _>>()?;
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(own)?)?
        }
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let server = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
    let agreed = stream.get_ref().1.alpn_protocol();
    ensure!(agreed == Some(alpn.as_bytes()), "the gate does not speak {alpn} here");
    Ok(stream)
}
