//! A stand is one provider with folders of its own; programs meet it directly or under `tollgate exec`.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, umask};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::by::By;
use crate::clients::Clients;
use crate::process::{Outcome, Running};
use crate::provider::{Alpn, Log, NAMES, Options, Provider};

/// Longer than any client needs, shorter than a reader's patience.
pub const LIMIT: Duration = Duration::from_mins(1);

static STANDS: AtomicU8 = AtomicU8::new(1);
static SCRIPTS: AtomicU32 = AtomicU32::new(1);

/// A provider, a state folder, a home and a working folder.
#[derive(Debug)]
pub struct Stand {
    by: By,
    provider: Provider,
    clients: Clients,
    dir: TempDir,
    namespace: Option<PathBuf>,
    // Last, so that the provider's tasks end after all that uses them.
    _runtime: Runtime,
}

impl Stand {
    /// A stand of its own, on a loopback address of its own, so that tests run beside each other.
    ///
    /// # Errors
    /// When the clients are not installed, or port 443 cannot be bound (which takes root).
    pub fn new() -> Result<Self> {
        Self::with(Alpn::Both)
    }

    /// A stand whose provider offers these protocols.
    ///
    /// # Errors
    /// As [`Stand::new`].
    pub fn with(alpn: Alpn) -> Result<Self> {
        Self::begin(alpn, None)
    }

    /// A stand whose provider, and whatever serves before it, is in this network namespace.
    ///
    /// # Errors
    /// As [`Stand::new`], and when there is no such namespace.
    pub fn in_namespace(name: &str) -> Result<Self> {
        Self::begin(Alpn::Both, Some(PathBuf::from("/run/netns").join(name)))
    }

    /// A stand in this network namespace, whose provider listens at an address that others reach.
    ///
    /// # Errors
    /// As [`Stand::in_namespace`].
    pub fn at(name: &str, address: Ipv4Addr) -> Result<Self> {
        let namespace = Some(PathBuf::from("/run/netns").join(name));
        Self::listening(Alpn::Both, namespace, address)
    }

    fn begin(alpn: Alpn, namespace: Option<PathBuf>) -> Result<Self> {
        Self::listening(alpn, namespace, own_address())
    }

    fn listening(alpn: Alpn, namespace: Option<PathBuf>, address: Ipv4Addr) -> Result<Self> {
        // What a test writes as root for a user to read is theirs to read under any mask of root's.
        umask(Mode::from_bits_truncate(0o022));
        let clients = Clients::find()?;
        let dir = TempDir::with_prefix("e2e-")?;
        for name in ["provider", "home", "work"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listen = SocketAddr::from((address, 443));
        let options = Options { listen, dir: dir.path().join("provider"), names: Vec::new(), alpn };
        let begin = || runtime.block_on(Provider::start(options));
        let provider = within(namespace.as_deref(), begin)?;
        let by = By::in_this_suite();
        by.own(dir.path())?;
        Ok(Self { by, provider, clients, dir, namespace, _runtime: runtime })
    }

    /// Does something on a thread in the provider's network namespace.
    ///
    /// # Errors
    /// As `work`.
    pub fn at_home<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(self.namespace.as_deref(), work)
    }

    /// A file or folder of the stand's own.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The provider.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// What the provider was asked.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.provider.log()
    }

    /// The clients.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The folder the program runs in.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The program's home.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The gate's state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A run without the gate: the provider's names resolve to it, no other name resolves, its CA is trusted.
    ///
    /// # Errors
    /// When the files that say so cannot be written.
    pub fn direct(&self) -> Result<Run<'_>> {
        let (hosts, resolv) = (self.dir.path().join("hosts"), self.dir.path().join("resolv.conf"));
        let address = self.provider.addr().ip();
        let names = NAMES
            .iter()
            .filter(|name| **name != "localhost")
            .map(|name| format!("{address} {name}"));
        let lines: Vec<String> =
            std::iter::once("127.0.0.1 localhost".to_owned()).chain(names).collect();
        fs::write(&hosts, lines.join("\n") + "\n")?;
        // Nothing answers there, so no query leaves the machine.
        fs::write(&resolv, "nameserver 127.255.255.254\n")?;
        let mount = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";
        let mut command = self.furnished(Command::new("unshare"));
        command.args(["-m", "sh", "-c", mount, "sh"]).arg(hosts).arg(resolv);
        for name in CA_VARIABLES {
            command.env(name, self.provider.ca());
        }
        Ok(Run { command, stand: self })
    }

    /// A run under the gate with these further arguments of `tollgate exec`.
    ///
    /// # Errors
    /// When the gate is not built.
    pub fn gate(&self, args: &[&str]) -> Result<Run<'_>> {
        Ok(self.gate_at(&tollgate()?, args))
    }

    /// The same by the gate of this file.
    #[must_use]
    pub fn gate_at(&self, program: &Path, args: &[&str]) -> Run<'_> {
        let mut command = self.command(program);
        command.args(["exec", "--state"]).arg(self.state());
        for name in NAMES.iter().filter(|name| **name != "localhost") {
            command.arg("--connect-to").arg(format!("{name}:443:{}", self.provider.addr()));
        }
        command.arg("--upstream-ca").arg(self.provider.ca()).args(args).arg("--");
        Run { command, stand: self }
    }

    /// A run under the gate with these arguments of `tollgate exec` and nothing that leads to the provider.
    ///
    /// # Errors
    /// When the gate is not built.
    pub fn bare_gate(&self, args: &[&str]) -> Result<Run<'_>> {
        let mut command = self.command(&tollgate()?);
        command.args(["exec"]).args(args).arg("--");
        Ok(Run { command, stand: self })
    }

    /// One of the other commands of `tollgate` against this stand's state, to its end.
    ///
    /// # Errors
    /// When the gate is not built, or the command does not end.
    pub fn tollgate(&self, args: &[&str]) -> Result<Outcome> {
        let mut command = self.command(&tollgate()?);
        Running::start(command.args(args).arg("--state").arg(self.state()))?.end(LIMIT)
    }

    /// The same as at a second terminal while something else runs: started, and not waited for.
    ///
    /// # Errors
    /// When the gate is not built.
    pub fn second(&self, args: &[&str]) -> Result<Running> {
        let mut command = self.command(&tollgate()?);
        Running::start(command.args(args).arg("--state").arg(self.state()))
    }

    /// Checks the ledger offline and returns how many entries it has.
    ///
    /// # Errors
    /// When the chain is not valid.
    pub fn verified(&self) -> Result<u64> {
        let outcome = self.tollgate(&["audit", "verify", "--json"])?;
        let said: serde_json::Value = serde_json::from_str(&outcome.stdout).with_context(|| {
            format!("audit verify wrote no JSON: {}{}", outcome.stdout, outcome.stderr)
        })?;
        ensure!(
            outcome.status.success() && said.get("valid") == Some(&true.into()),
            "the chain is not valid: {said}"
        );
        said.get("entries")
            .and_then(serde_json::Value::as_u64)
            .context("audit verify counts no entries")
    }

    /// A program where the provider is, with nothing in its environment but what it needs, and no real keys.
    #[must_use]
    pub fn operator(&self, program: &Path) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.display())).arg(program);
                command
            }
        };
        self.furnish(&mut command);
        command
    }

    /// Who runs the gate here.
    #[must_use]
    pub fn by(&self) -> By {
        self.by
    }

    /// A program where the test is, with nothing in its environment but what it needs, and no real keys.
    #[must_use]
    pub fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.furnish(&mut command);
        command
    }

    /// A program of whoever runs the gate, with nothing in its environment but what it needs, and the real keys.
    fn command(&self, program: &Path) -> Command {
        self.furnished(self.by.command(program))
    }

    fn furnished(&self, mut command: Command) -> Command {
        self.furnish(&mut command);
        self.by.furnish(&mut command);
        let keys = self.provider.keys();
        command.env("OPENAI_API_KEY", &keys.openai).env("ANTHROPIC_API_KEY", &keys.anthropic);
        command
    }

    fn furnish(&self, command: &mut Command) {
        command.current_dir(self.work()).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("HOME", self.home())
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .env("NO_COLOR", "1");
        command.env("CLIENTS", self.clients.node_modules());
    }
}

/// The variables by which the clients take a CA, as the gate sets them inside.
const CA_VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CODEX_CA_CERTIFICATE",
    "npm_config_cafile",
];

/// A program about to be run.
#[derive(Debug)]
pub struct Run<'a> {
    command: Command,
    stand: &'a Stand,
}

impl Run<'_> {
    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The program as a file for `sh`, which becomes it: what a user types into a shell of their own. The terminal's
    /// name is left to that shell.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn script<S: AsRef<OsStr>>(
        mut self,
        words: impl IntoIterator<Item = S>,
    ) -> Result<PathBuf> {
        self.command.args(words);
        let mut text = b"cd ".to_vec();
        text.extend(quoted(self.stand.work().as_os_str()));
        text.extend(b"\n");
        for (name, value) in self.command.get_envs() {
            let Some(value) = value.filter(|_| name != "TERM") else { continue };
            text.extend(b"export ");
            text.extend(name.as_bytes());
            text.push(b'=');
            text.extend(quoted(value));
            text.push(b'\n');
        }
        text.extend(b"exec");
        for word in std::iter::once(self.command.get_program()).chain(self.command.get_args()) {
            text.push(b' ');
            text.extend(quoted(word));
        }
        text.push(b'\n');
        let number = SCRIPTS.fetch_add(1, Ordering::Relaxed);
        let file = self.stand.dir.path().join(format!("run{number}.sh"));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Has this command start the program, as `nsenter` does: its words come before the program's own.
    #[must_use]
    pub fn by(mut self, words: &[&str]) -> Self {
        let (first, rest) =
            words.split_first().map_or(("env", words), |(first, rest)| (*first, rest));
        let mut command = Command::new(first);
        command
            .args(rest)
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if let Some(dir) = self.command.get_current_dir() {
            command.current_dir(dir);
        }
        self.command = command;
        self
    }

    /// The program as a command, for who has a hand on its standard streams.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Command {
        self.command.args(words);
        self.command
    }

    /// Starts the program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Result<Running> {
        Running::start(self.command.args(words))
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end within [`LIMIT`].
    pub fn run<S: AsRef<OsStr>>(self, words: impl IntoIterator<Item = S>) -> Result<Outcome> {
        let asked = self.stand.log().records().len();
        let outcome = self.start(words)?.end(LIMIT);
        outcome.with_context(|| format!("the provider had answered {asked} requests before it"))
    }
}

/// A word as a shell takes it unchanged.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            byte => text.push(*byte),
        }
    }
    text.push(b'\'');
    text
}

/// The gate's binary: `$TOLLGATE_BIN`, else beside the tests in the build directory.
///
/// # Errors
/// When it is not built.
pub fn tollgate() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let dir = test
        .ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps"))
        .context("the tests lie in no folder")?;
    let built =
        std::env::var_os("TOLLGATE_BIN").map_or_else(|| dir.join("tollgate"), PathBuf::from);
    ensure!(built.is_file(), "{} is not built: run cargo xtask test", built.display());
    Ok(built)
}

/// Does something on a thread in a network namespace, or here.
fn within<T: Send>(namespace: Option<&Path>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(path) = namespace else { return work() };
    let space = fs::File::open(path).with_context(|| format!("no {}", path.display()))?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET)?;
            work()
        });
        inside.join().map_err(|_panic| anyhow::anyhow!("the thread in the namespace failed"))?
    })
}

/// A loopback address no other stand of this machine is likely to have.
fn own_address() -> Ipv4Addr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, STANDS.fetch_add(1, Ordering::Relaxed))
}
