//! Where telemetry goes, and the client that takes it there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

/// How long one batch may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection is kept that nothing is sent on.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;

/// One receiver of traces and metrics: `sinks.NAME: {to: otlp, url, headers}`.
#[derive(Clone)]
pub struct Sink {
    name: String,
    traces: Uri,
    metrics: Uri,
    headers: HeaderMap,
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a sink cannot be used. No message holds a header's value.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The URL is none, or not one that OTLP/HTTP goes to.
    #[error("the URL must be http://HOST[:PORT][/PATH] or https://…, without a query; {0}")]
    Url(String),
    /// A header cannot be sent.
    #[error("the header {0:?} has a name or a value that HTTP does not allow")]
    Header(String),
    /// Headers hold tokens, and the way there is open to everybody on it.
    #[error("headers are sent to {0} in clear; use https")]
    Clear(String),
    /// The TLS library takes no part of the configuration.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Sink {
    /// The sink `name` at `url`, to whose path `/v1/traces` and `/v1/metrics` are added. Over TLS it must show a
    /// certificate that this machine, or one of `authorities`, vouches for.
    ///
    /// # Errors
    ///
    /// [`SinkError`], for whoever wrote the configuration.
    pub fn new<'a>(
        name: &str,
        url: &str,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, SinkError> {
        let base: Uri = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| SinkError::Url(error.to_string()))?;
        let host = base.host().ok_or_else(|| SinkError::Url("it has no host".to_owned()))?;
        let secure = match base.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(SinkError::Url("its scheme is another".to_owned())),
        };
        if base.query().is_some() || base.authority().is_some_and(|at| at.as_str().contains('@')) {
            return Err(SinkError::Url("a token goes into `headers`".to_owned()));
        }
        let headers = read_headers(headers)?;
        if !secure && !headers.is_empty() && !is_loopback(host) {
            return Err(SinkError::Clear(host.to_owned()));
        }
        let below = |path: &str| {
            let url = format!("{}{path}", url.trim_end_matches('/'));
            url.parse().map_err(|error: http::uri::InvalidUri| SinkError::Url(error.to_string()))
        };
        Ok(Self {
            name: name.to_owned(),
            traces: below("/v1/traces")?,
            metrics: below("/v1/metrics")?,
            headers,
            tls: Arc::new(trusting(authorities)?),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn read_headers<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<HeaderMap, SinkError> {
    let mut read = HeaderMap::new();
    for (name, value) in headers {
        let refused = |_| SinkError::Header(name.to_owned());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|error| {
            tracing::debug!(%error, "a header of a sink");
            SinkError::Header(name.to_owned())
        })?;
        let mut value = HeaderValue::from_str(value).map_err(refused)?;
        // Nothing that prints a header map prints this one.
        value.set_sensitive(true);
        read.insert(key, value);
    }
    Ok(read)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What this machine trusts, or where it trusts nothing the roots of Mozilla, and `more` besides.
fn trusting(more: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in more {
        roots.add(certificate.clone())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It may arrive later: no connection, no answer in time, or the sink asks for patience.
    #[error("{0}")]
    Later(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

/// Takes batches to one sink. It keeps one connection.
pub(super) struct Client {
    sink: Sink,
    http: Pooled<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sink.fmt(f)
    }
}

impl Client {
    pub(super) fn new(sink: Sink) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&sink.tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Pooled::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            // A batch is sent again only by the exporter's own rule.
            .retry_canceled_requests(false)
            .build(https);
        Self { sink, http }
    }

    pub(super) fn name(&self) -> &str {
        &self.sink.name
    }

    /// Sends one batch and returns what the sink answered.
    pub(super) async fn send(&self, signal: Signal, body: Vec<u8>) -> Result<Bytes, SendError> {
        let later = |error: &dyn fmt::Display| SendError::Later(error.to_string());
        let attempt = async {
            let answer = self
                .http
                .request(self.request(signal, body))
                .await
                .map_err(|error| later(&Chain(&error)))?;
            let status = answer.status();
            let said = Limited::new(answer.into_body(), ANSWER).collect().await;
            match status {
                status if status.is_success() => {
                    said.map(|said| said.to_bytes()).map_err(|error| later(&error))
                }
                // What the specification of OTLP/HTTP lets a client try again.
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Err(later(&status)),
                refused => Err(SendError::Never(format!("it answered {refused}"))),
            }
        };
        timeout(DEADLINE, attempt).await.unwrap_or_else(|elapsed| Err(later(&elapsed)))
    }

    fn request(&self, signal: Signal, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = match signal {
            Signal::Traces => self.sink.traces.clone(),
            Signal::Metrics => self.sink.metrics.clone(),
        };
        let headers = request.headers_mut();
        headers.extend(self.sink.headers.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        request
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
