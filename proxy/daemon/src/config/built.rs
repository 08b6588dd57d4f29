//! The configuration as the gate works with it: what is written here cannot be invalid.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use decide::policy::Mode;
use secrecy::{SecretBox, SecretString};

use crate::pod::Mode as PodMode;
use crate::upstream::resolve::ConnectTo;

/// Everything that the operator of one gate has said.
#[derive(Debug, Clone)]
pub struct Config {
    /// Observe makes every contract observe; enforce leaves each contract's own mode.
    pub mode: Mode,
    /// The state folder.
    pub state: PathBuf,
    /// The folder of contracts.
    pub policy: PathBuf,
    /// Where the key that wraps all others comes from.
    pub master_key: MasterKeyFrom,
    /// Real keys by name.
    pub credentials: BTreeMap<String, Credential>,
    /// Providers that are not a public one at its usual address, by name.
    pub providers: BTreeMap<String, Provider>,
    /// Receivers of telemetry by name.
    pub sinks: BTreeMap<String, Sink>,
    /// Where the gate listens.
    pub listen: Listen,
    /// How the gate ends.
    pub drain: Drain,
    /// How upstreams are reached.
    pub upstream: Upstream,
    /// Limits of the gate as a whole.
    pub limits: Limits,
    /// The pod that this gate guards.
    pub pod: Option<Pod>,
}

/// Where the key that wraps all others comes from.
#[derive(Debug, Clone)]
pub enum MasterKeyFrom {
    /// The state folder's own `master.key`.
    StateFolder,
    /// A file of 32 bytes.
    File(PathBuf),
    /// A variable of the environment.
    Env {
        /// Its name.
        variable: String,
        /// What it held.
        key: Arc<SecretBox<[u8; 32]>>,
    },
}

/// One real key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Whose key it is.
    pub provider: ProviderName,
    /// Where it comes from.
    pub from: Source,
}

/// A provider, as credentials name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderName {
    /// A public provider at its usual address.
    Public(wire::Provider),
    /// One of [`Config::providers`].
    Named(String),
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(provider) => f.write_str(wire::dialect(Some(*provider)).name()),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Where a real key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The vault of the state folder.
    Sealed,
}

/// A provider that is not a public one at its usual address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The protocol that it speaks; `None` is any other HTTP API.
    pub dialect: Option<wire::Provider>,
    /// Where it answers.
    pub url: BaseUrl,
    /// The name of the credential that it is sent.
    pub credential: Option<String>,
    /// Whether its models cost nothing.
    pub free: bool,
    /// PEM certificates that vouch for it besides the system's.
    pub ca: Option<PathBuf>,
}

/// Where something answers: `https://host:8443/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether over TLS.
    pub scheme: Scheme,
    /// The host as destinations are written: lower case, no trailing dot, an IPv6 address without
    /// brackets.
    pub host: String,
    /// The port; the scheme's where none is written.
    pub port: u16,
    /// The path without a slash at its end: empty, or `/v1`.
    pub path: String,
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port, path } = self;
        let scheme = scheme.as_str();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}{path}")
        } else {
            write!(f, "{scheme}://{host}:{port}{path}")
        }
    }
}

/// Whether something is spoken to over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A receiver of telemetry.
#[derive(Debug, Clone)]
pub enum Sink {
    /// OTLP over HTTP: traces and metrics.
    Otlp {
        /// Where it listens; `/v1/traces` and `/v1/metrics` are added.
        url: BaseUrl,
        /// Headers that are sent along, by name in lower case.
        headers: BTreeMap<String, SecretString>,
    },
}

/// Where the gate listens. An empty list is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Connections that the kernel redirected.
    pub transparent: Vec<SocketAddr>,
    /// Explicit proxy and gateway.
    pub proxy: Vec<SocketAddr>,
    /// Packets routed through this machine.
    pub routed: Vec<SocketAddr>,
    /// The DNS responder, UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// `/healthz`, `/readyz` and `/metrics`.
    pub health: Vec<SocketAddr>,
    /// TLS of [`Self::proxy`]. Beyond loopback there is some, or the operator said `plain: true`.
    pub tls: Option<Tls>,
    /// The operator said that the proxy may be beyond loopback without TLS.
    pub plain: bool,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities of client certificates, PEM.
    pub client_ca: Option<PathBuf>,
}

/// How the gate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// From not ready to no longer accepting.
    pub delay: Duration,
    /// How long open exchanges may go on before they are ended.
    pub streams: Duration,
}

/// How upstreams are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upstream {
    /// PEM certificates that vouch for upstreams besides the system's.
    pub ca: Vec<PathBuf>,
    /// Where hosts are really dialled, as written and as understood.
    pub connect_to: Vec<(String, ConnectTo)>,
}

/// Limits of the gate as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Client connections open at a time.
    pub connections: u32,
    /// Those of them from one address of which no agent is known yet.
    pub per_address: u32,
}

/// The pod whose network the gate is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Who everything in it is.
    pub agent: String,
    /// What the installer wrote about it.
    pub file: PathBuf,
    /// The weakest enforcement under which the gate starts.
    pub minimum: PodMode,
    /// Limits of what leaves in answer to connections from outside.
    pub inbound: Inbound,
}

/// Limits of what leaves in answer to connections from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inbound {
    /// Connections at a time.
    pub connections: u32,
    /// Bytes that one of them may carry out.
    pub bytes_out: u64,
    /// Bytes that all may carry out in each window.
    pub window_bytes_out: u64,
    /// How long a window is.
    pub window: Duration,
}
