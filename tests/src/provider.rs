//! A model provider that lives on loopback: TLS, the shapes of `OpenAI` and Anthropic, and a log of all it was asked.
//!
//! What it answers is written in the request itself (see [`script`]), so that a test reads as one piece. Package
//! registries and a git server stand beside the models, by host name, for the clients that need them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;

pub use self::keys::{KeySeen, Keys};
pub use self::log::{Finish, Log, Record};

mod answer;
mod anthropic;
mod ask;
mod body;
mod chat;
mod coding;
mod control;
mod git;
mod keys;
mod log;
mod npm;
mod pypi;
mod responses;
mod routes;
pub mod script;
pub mod secrets;
mod serve;
mod tap;
pub(crate) mod tls;

/// The names the provider holds a certificate for. The last ones are where coding agents call besides their models.
pub const NAMES: [&str; 17] = [
    "api.openai.com",
    "api.anthropic.com",
    "registry.npmjs.org",
    "pypi.org",
    "files.pythonhosted.org",
    "github.com",
    "uploads.example",
    "pastebin.com",
    "localhost",
    "chatgpt.com",
    "ab.chatgpt.com",
    "auth.openai.com",
    "api.github.com",
    "raw.githubusercontent.com",
    "statsig.anthropic.com",
    "platform.claude.com",
    "downloads.claude.ai",
];

/// Which protocols the provider offers in its handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alpn {
    /// HTTP/2 and HTTP/1.1.
    #[default]
    Both,
    /// HTTP/1.1 only.
    Http1,
}

/// How a provider is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens for TLS; port 0 takes any.
    pub listen: SocketAddr,
    /// A folder for the CA's certificate and the git repository; it must exist.
    pub dir: PathBuf,
    /// Names beyond [`NAMES`] to hold a certificate for.
    pub names: Vec<String>,
    /// The protocols offered.
    pub alpn: Alpn,
}

/// What every request of one provider shares.
#[derive(Debug)]
struct Shared {
    log: Arc<Log>,
    keys: Keys,
    dir: PathBuf,
    npm: npm::Registry,
    pypi: pypi::Index,
}

/// A running provider; it ends when this is dropped together with its runtime.
#[derive(Debug)]
pub struct Provider {
    addr: SocketAddr,
    control: SocketAddr,
    ca: PathBuf,
    shared: Arc<Shared>,
}

impl Provider {
    /// Starts a provider on the current tokio runtime.
    ///
    /// # Errors
    /// When a port cannot be bound or the folder cannot be written.
    pub async fn start(options: Options) -> Result<Self> {
        let mut names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        names.extend(options.names.iter().cloned());
        let ca = options.dir.join("provider-ca.pem");
        let tls = tls::acceptor(names, options.alpn, &ca)?;
        git::repository(&options.dir.join("git")).await?;
        let shared = Arc::new(Shared {
            log: Arc::new(Log::default()),
            keys: Keys::canaries(),
            npm: npm::Registry::build()?,
            pypi: pypi::Index::build()?,
            dir: options.dir,
        });
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let control =
            TcpListener::bind("127.0.0.1:0").await.context("cannot open a control port")?;
        let provider =
            Self { addr: listener.local_addr()?, control: control.local_addr()?, ca, shared };
        tokio::spawn(serve::serve(listener, tls, provider.shared.clone()));
        tokio::spawn(control::serve(control, provider.shared.log.clone()));
        Ok(provider)
    }

    /// Where the provider listens for TLS.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where `GET /log` and `POST /reset` are answered, without TLS.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// The certificate of the provider's CA, as PEM.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The keys that the provider takes for real.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// What the provider was asked so far.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.shared.log
    }
}
