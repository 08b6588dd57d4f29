//! `tollgate serve` under test: a configuration, contracts, keys, and its end.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{LIMIT, Stand, tollgate};
use crate::process::{Outcome, Running};
use crate::proofs::{SOON, until};
use crate::provider::NAMES;

mod pki;
pub use pki::Pki;

/// What is written before a service is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The contracts, by file name.
    pub contracts: Vec<(&'static str, String)>,
    /// Lines below `listen:` besides those for the proxy and for health.
    pub listen: Vec<String>,
    /// From not ready to no longer accepting.
    pub delay: &'static str,
    /// How long streams may go on.
    pub streams: &'static str,
}

impl Setup {
    /// One file of contracts, and an end without delay.
    #[must_use]
    pub fn of(contracts: impl Into<String>) -> Self {
        let contracts = vec![("contracts.yaml", contracts.into())];
        Self { contracts, listen: Vec::new(), delay: "0s", streams: "10s" }
    }
}

/// A service on the stand's own loopback address, before its provider.
#[derive(Debug)]
pub struct Service<'a> {
    stand: &'a Stand,
    running: Option<Running>,
    ca: PathBuf,
    pki: Pki,
}

impl<'a> Service<'a> {
    /// Writes the configuration, starts the service, waits until it is ready and seals the provider's keys.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(stand: &'a Stand, setup: &Setup) -> Result<Self> {
        let ca = stand.file("gate-ca.pem");
        let pki = Pki::new(&stand.file("pki"))?;
        let mut service = Self { stand, running: None, ca, pki };
        for (name, text) in &setup.contracts {
            service.write_contract(name, text)?;
        }
        fs::write(service.config(), service.configuration(setup)?)?;
        service.restart()?;
        let authority = stand.tollgate(&["ca"])?;
        ensure!(authority.status.success(), "{authority:?}");
        fs::write(&service.ca, &authority.stdout)?;
        let keys = stand.provider().keys();
        for (name, secret) in [("openai", &keys.openai), ("anthropic", &keys.anthropic)] {
            seal(stand, name, secret)?;
        }
        Ok(service)
    }

    fn configuration(&self, setup: &Setup) -> Result<String> {
        let Setup { listen, delay, streams, .. } = setup;
        let (at, own, pki) = (self.address(), self.stand.file("policy"), &self.pki);
        let to = self.stand.provider().addr();
        let mut text = String::new();
        writeln!(text, "state: {}\npolicy: {}", self.stand.state().display(), own.display())?;
        writeln!(text, "credentials:\n  openai: {{ provider: openai, from: sealed }}")?;
        writeln!(text, "  anthropic: {{ provider: anthropic, from: sealed }}")?;
        writeln!(text, "drain: {{ delay: {delay}, streams: {streams} }}\nlisten:")?;
        writeln!(text, "  proxy: {at}:16802\n  health: {at}:16815")?;
        if !listen.iter().any(|line| line.starts_with("transparent")) {
            writeln!(text, "  transparent: null\n  dns: null")?;
        }
        let (cert, key, client) = (pki.server_cert(), pki.server_key(), pki.ca());
        let (cert, key, client) = (cert.display(), key.display(), client.display());
        writeln!(text, "  tls: {{ cert: {cert}, key: {key}, client_ca: {client} }}")?;
        for line in listen {
            writeln!(text, "  {line}")?;
        }
        writeln!(text, "upstream:\n  ca: [{}]", self.stand.provider().ca().display())?;
        writeln!(text, "  connect_to:")?;
        for name in NAMES.iter().filter(|name| **name != "localhost") {
            writeln!(text, "    - \"{name}:443:{to}\"")?;
        }
        Ok(text)
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.running = None;
        self.running = Some(self.spawn(&[])?);
        self.ready()
    }

    /// Starts another process on the same configuration and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, args: &[&str]) -> Result<Running> {
        let mut command = self.stand.operator(&tollgate()?);
        command.args(["serve", "--config"]).arg(self.config()).args(args);
        Running::start(&mut command)
    }

    /// Has this process be the one that is ended and asked about.
    pub fn adopt(&mut self, running: Running) -> Option<Running> {
        self.running.replace(running)
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it does not become so, with its log.
    pub fn ready(&self) -> Result<()> {
        let ready = until(LIMIT, "the service is ready", || {
            Ok(self.get("/readyz").ok().filter(|(status, _)| *status == 200).map(drop))
        });
        ready.with_context(|| self.log())
    }

    /// What `/readyz`, `/healthz` or `/metrics` say now: the status and the body.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.stand.at_home(|| page(SocketAddr::new(self.address(), 16815), path))
    }

    /// The number behind a metric's whole name and labels.
    ///
    /// # Errors
    /// When there is none.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in {text}"))?.trim().parse()?)
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.as_ref().and_then(|running| running.stderr().ok()).unwrap_or_default()
    }

    /// The address of proxy and gateway.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        SocketAddr::new(self.address(), 16802)
    }

    fn address(&self) -> IpAddr {
        self.stand.provider().addr().ip()
    }

    /// The stand.
    #[must_use]
    pub fn stand(&self) -> &'a Stand {
        self.stand
    }

    /// The CA whose certificates the gate shows in a provider's place.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The certificates of the gate's own port and its clients.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The configuration's file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.stand.file("tollgate.yaml")
    }

    /// Writes a file of the policy folder, whole at once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_contract(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.stand.file("policy");
        fs::create_dir_all(&folder)?;
        let new = self.stand.file("contract.new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, folder.join(name))?)
    }

    /// Makes a key of the agent for the provider's credential of that name.
    ///
    /// # Errors
    /// When it is refused.
    pub fn key(&self, name: &str, agent: &str, provider: &str, more: &[&str]) -> Result<String> {
        let words = ["key", "create", name, "--agent", agent, "--credential", provider, "--json"];
        let made = self.stand.tollgate(&[&words, more].concat())?;
        ensure!(made.status.success(), "{made:?}");
        let made: Value = serde_json::from_str(&made.stdout)?;
        Ok(made.get("key").and_then(Value::as_str).context("no key")?.to_owned())
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.running.as_ref().context("it was ended")?.pid();
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    /// Kills the process at once and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn slay(&mut self) -> Result<Outcome> {
        self.signal(Signal::SIGKILL)?;
        self.running.take().context("it was ended")?.end(SOON)
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ended(&mut self) -> Result<Outcome> {
        self.running.take().context("it was ended")?.end(LIMIT)
    }

    /// Ends the process in order; its exit code must be 0.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn end(&mut self) -> Result<Outcome> {
        self.signal(Signal::SIGTERM)?;
        let outcome = self.ended()?;
        ensure!(outcome.status.success(), "{outcome:?}");
        Ok(outcome)
    }
}

/// Seals a provider's real key in the stand's state folder, as an operator does.
///
/// # Errors
/// When it is not taken.
pub fn seal(stand: &Stand, name: &str, secret: &str) -> Result<()> {
    let mut command = stand.operator(&tollgate()?);
    command.args(["credential", "add", name, "--provider", name, "--state"]);
    command.arg(stand.state()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(secret.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What the page for monitoring at `at` says: the status and the body.
///
/// # Errors
/// When nobody answers.
pub fn page(at: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok());
    let (_, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
    Ok((status.context("no status")?, body.to_owned()))
}
