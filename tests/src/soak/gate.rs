//! The gate that is soaked, its providers, and its operator's hands.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::measure::Sample;
use super::operator::FICKLE;
use super::way::{Asked, Entry, Keys};
use crate::harness::tollgate;
use crate::process::Running;
use crate::provider::{Alpn, Options, Provider};
use crate::trust::trusting;

/// How long a start or an end may take.
const LIMIT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);

/// A running `tollgate serve` and two providers: one steady, one that breaks.
#[derive(Debug)]
pub(super) struct Gate {
    running: Running,
    health: SocketAddr,
    steady: Provider,
    rough: Provider,
    dir: TempDir,
}

impl Gate {
    /// Starts it with agents, credentials and keys.
    pub(super) async fn start() -> Result<(Self, Entry)> {
        let dir = TempDir::with_prefix("soak-")?;
        let (steady, rough) = (provider(&dir, "steady").await?, provider(&dir, "rough").await?);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // An address of its own, so that other gates of this machine keep their ports.
        let address = Ipv4Addr::new(127, 64 | (high & 0x3f), low, 77);
        let proxy = SocketAddr::from((address, 16802));
        let health = SocketAddr::from((address, 16815));
        fs::create_dir(dir.path().join("policy"))?;
        let config = config(address, &steady, &rough)?;
        fs::write(dir.path().join("tollgate.yaml"), config)?;
        fs::write(dir.path().join("policy/soak.yaml"), policy(0))?;
        let mut command = std::process::Command::new(tollgate()?);
        command.args(["serve", "--config"]).arg(dir.path().join("tollgate.yaml"));
        let running = Running::start(command.env("TOLLGATE_LOG", "error"))?;
        let gate = Self { running, health, steady, rough, dir };
        gate.until_ready().await?;
        gate.seal("openai", &gate.steady.keys().openai).await?;
        gate.seal("anthropic", &gate.rough.keys().anthropic).await?;
        let keys = Keys {
            steady: gate.key("steady", "soak", "openai").await?,
            rough: gate.key("rough", "soak", "anthropic").await?,
            fickle: gate.key(FICKLE, FICKLE, "openai").await?,
        };
        let ca = gate.tollgate(&["ca"]).await?;
        let (http1, http2) = (trusting(ca.as_bytes(), "http/1.1")?, trusting(ca.as_bytes(), "h2")?);
        Ok((gate, Entry { proxy, http1, http2, keys: RwLock::new(keys) }))
    }

    async fn until_ready(&self) -> Result<()> {
        let begun = Instant::now();
        while self.metrics().await.is_err() {
            ensure!(begun.elapsed() < LIMIT, "the gate does not start: {}", self.running.stderr()?);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn metrics(&self) -> Result<String> {
        let mut tcp = TcpStream::connect(self.health).await?;
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        tcp.read_to_string(&mut text).await?;
        ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
        Ok(text)
    }

    /// What it holds now.
    pub(super) async fn sample(&self) -> Result<Sample> {
        Sample::of(self.running.pid(), &self.metrics().await?)
    }

    /// The providers forget what they were asked, so that they do not grow either.
    pub(super) fn forget(&self) {
        self.steady.log().reset();
        self.rough.log().reset();
    }

    /// Waits until nothing is under way any more.
    pub(super) async fn quiet(&self, within: Duration) -> Result<Sample> {
        let begun = Instant::now();
        loop {
            let sample = self.sample().await?;
            if sample.is_quiet() {
                return Ok(sample);
            }
            ensure!(begun.elapsed() < within, "stuck: {sample:?}\n{}", self.metrics().await?);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One of its commands.
    pub(super) async fn tollgate(&self, words: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(tollgate()?);
        let state = self.dir.path().join("state");
        let output = command.args(words).arg("--state").arg(state).output().await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tollgate {words:?}: {stderr}");
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn seal(&self, provider: &str, real: &str) -> Result<()> {
        let file = self.dir.path().join("real");
        fs::write(&file, real)?;
        let path = file.to_str().context("no UTF-8")?;
        let add = ["credential", "add", provider, "--provider", provider, "--from-file", path];
        self.tollgate(&add).await?;
        Ok(fs::remove_file(file)?)
    }

    /// A new key of `agent`.
    pub(super) async fn key(&self, name: &str, agent: &str, credential: &str) -> Result<String> {
        let create = ["key", "create", name, "--agent", agent, "--credential", credential];
        let key =
            self.tollgate(&[&create[..], &["--from", "address:127.0.0.0/8"]].concat()).await?;
        Ok(key.trim().to_owned())
    }

    /// Changes the contract and has it read.
    pub(super) fn reload(&self, version: u64) -> Result<()> {
        let (new, file) = (self.dir.path().join("new"), self.dir.path().join("policy/soak.yaml"));
        fs::write(&new, policy(version))?;
        fs::rename(new, file)?;
        kill(self.pid()?, Signal::SIGHUP).context("reloading")
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.running.pid())?))
    }

    /// Ends it in order and checks its ledger; says how many entries it has.
    pub(super) async fn end(self) -> Result<u64> {
        kill(self.pid()?, Signal::SIGTERM).context("ending")?;
        let Self { running, dir, .. } = self;
        let outcome = tokio::task::spawn_blocking(move || running.end(LIMIT)).await??;
        ensure!(outcome.status.success(), "it ended with {}: {}", outcome.status, outcome.stderr);
        let mut verify = tokio::process::Command::new(tollgate()?);
        verify.args(["audit", "verify", "--json", "--state"]).arg(dir.path().join("state"));
        let said: serde_json::Value = serde_json::from_slice(&verify.output().await?.stdout)?;
        ensure!(said.get("valid") == Some(&true.into()), "the chain is not valid: {said}");
        said.get("entries").and_then(serde_json::Value::as_u64).context("no entries are counted")
    }
}

async fn provider(dir: &TempDir, name: &str) -> Result<Provider> {
    let dir = dir.path().join(name);
    fs::create_dir(&dir)?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Provider::start(Options { listen, dir, names: Vec::new(), alpn: Alpn::Both }).await
}

fn config(address: Ipv4Addr, steady: &Provider, rough: &Provider) -> Result<String> {
    let ca = |provider: &Provider| -> Result<PathBuf> { Ok(provider.ca().canonicalize()?) };
    let mut text = String::from("state: state\npolicy: policy\ncredentials:\n");
    writeln!(text, "  openai: {{ provider: openai }}\n  anthropic: {{ provider: anthropic }}")?;
    writeln!(text, "listen:\n  transparent: null\n  dns: null\n  proxy: \"{address}:16802\"")?;
    writeln!(text, "  health: \"{address}:16815\"")?;
    let [one, other] = [ca(steady)?, ca(rough)?];
    writeln!(text, "upstream:\n  ca: [\"{}\", \"{}\"]", one.display(), other.display())?;
    let to =
        |asked: Asked, provider: &Provider| format!("{}:443:{}", asked.host(), provider.addr());
    let (one, other) = (to(Asked::Steady, steady), to(Asked::Rough, rough));
    writeln!(text, "  connect_to: [\"{one}\", \"{other}\"]")?;
    writeln!(text, "drain: {{ delay: 0s, streams: 5s }}")?;
    Ok(text)
}

/// Budgets that an hour does not use up: what is cut stays in doubt and counts.
fn policy(version: u64) -> String {
    let agent = "models: [gpt-5-mini, claude-haiku-4-5], budgets: { day: $1000000 }, \
                 destinations: [api.openai.com, api.anthropic.com]";
    format!(
        "policy_id: soak\nversion: \"{version}\"\nmode: enforce\nteam: soak\nagents:\n  \
         soak: {{ {agent} }}\n  {FICKLE}: {{ {agent} }}\n"
    )
}
