//! Every way into the gate, held by one handle: ask as an agent, whatever way it takes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::caller::{Ask, Caller, Door, FrontTls, Version};
use crate::harness::Stand;
use crate::service::{Service, Setup};

/// The document whose rules route packets to the gate.
const ROUTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deploy/routed.md");

/// A way into the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A tunnel through the explicit proxy.
    Connect,
    /// A whole URL asked of the explicit proxy.
    Absolute,
    /// A path of the gateway, in clear.
    Gateway,
    /// A path of the gateway, over TLS.
    GatewayTls,
    /// Packets that a firewall sends through the gate.
    Routed,
    /// From a control group that is attached.
    Attached,
    /// Under `tollgate exec`.
    Exec,
}

/// Agents behind a gate, on one way into it.
#[derive(Debug)]
pub struct Behind<'a> {
    way: Way,
    stand: &'a Stand,
    // First, so that nobody asks a gate that is ending.
    callers: Mutex<HashMap<String, Arc<Caller>>>,
    group: Option<Group>,
    service: Option<Service<'a>>,
    program: PathBuf,
    net: Option<&'a Net>,
    keys: Mutex<HashMap<(String, &'static str), String>>,
}

/// A question before it is known who asks it, and on which way.
#[derive(Debug, Clone)]
pub struct Question {
    /// The provider's credential that it is asked with.
    pub provider: &'static str,
    /// Its method.
    pub method: &'static str,
    /// The host.
    pub host: &'static str,
    /// The provider's own path.
    pub path: String,
    /// Headers besides the key's.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Goes away when the answer has begun.
    pub leaves: bool,
}

impl Question {
    /// A question to a model in the chat format, with these further fields.
    #[must_use]
    pub fn chat(prompt: &str, more: &serde_json::Value) -> Self {
        let mut body = serde_json::json!({"model": "gpt-5-mini", "max_completion_tokens": 200,
            "messages": [{"role": "user", "content": prompt}]});
        merge(&mut body, more);
        Self::of("openai", "api.openai.com", "/v1/chat/completions", body.to_string().into_bytes())
    }

    /// The same in Anthropic's format.
    #[must_use]
    pub fn messages(prompt: &str, more: &serde_json::Value) -> Self {
        let mut body = serde_json::json!({"model": "claude-haiku-4-5", "max_tokens": 200,
            "messages": [{"role": "user", "content": prompt}]});
        merge(&mut body, more);
        let body = body.to_string().into_bytes();
        let asked = Self::of("anthropic", "api.anthropic.com", "/v1/messages", body);
        asked.with("anthropic-version", "2023-06-01")
    }

    fn of(provider: &'static str, host: &'static str, path: &str, body: Vec<u8>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (method, path) = ("POST", path.to_owned());
        Self { provider, method, host, path, headers, body, leaves: false }
    }

    /// With a further header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this key in the provider's place for one.
    #[must_use]
    pub fn keyed(self, key: &str) -> Self {
        match self.provider {
            "anthropic" => self.with("x-api-key", key),
            _ => self.with("authorization", &format!("Bearer {key}")),
        }
    }

    /// As it is asked through this door.
    #[must_use]
    pub fn through(self, door: Door, version: Version) -> Ask {
        let Self { method, host, path, headers, body, leaves, .. } = self;
        let (method, host) = (method.to_owned(), host.to_owned());
        Ask { door, version, method, host, path, headers, body, leaves }
    }
}

fn merge(body: &mut serde_json::Value, more: &serde_json::Value) {
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        for (name, value) in more {
            if value.is_null() {
                body.remove(name);
            } else {
                body.insert(name.clone(), value.clone());
            }
        }
    }
}

impl<'a> Behind<'a> {
    /// Agents under these contracts. `program` is the agents' own; `net` is needed for [`Way::Routed`], and the stand
    /// is in its router then.
    ///
    /// # Errors
    /// When the gate does not become ready.
    pub fn new(
        way: Way,
        stand: &'a Stand,
        net: Option<&'a Net>,
        contracts: &str,
        program: &Path,
    ) -> Result<Self> {
        let service = if way == Way::Exec {
            fs::write(stand.file("contracts.yaml"), contracts)?;
            None
        } else {
            Some(Service::start(stand, &setup_of(way, contracts)?)?)
        };
        let group = if way == Way::Attached { Some(Group::attached(stand)?) } else { None };
        let (keys, callers) = (Mutex::default(), Mutex::default());
        Ok(Self { way, stand, callers, group, service, program: program.to_owned(), net, keys })
    }

    /// The way.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
    }

    /// The stand.
    #[must_use]
    pub fn stand(&self) -> &'a Stand {
        self.stand
    }

    /// The service; there is none under `exec`.
    #[must_use]
    pub fn service(&self) -> Option<&Service<'a>> {
        self.service.as_ref()
    }

    /// Kills the gate at once.
    ///
    /// # Errors
    /// When there is no service, or it does not go.
    pub fn slay(&mut self) -> Result<()> {
        self.service.as_mut().context("no service")?.slay()?;
        Ok(())
    }

    /// Starts the gate anew on what the one before left.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.service.as_mut().context("no service")?.restart()
    }

    /// The door of this way to a provider.
    #[must_use]
    pub fn door(&self, provider: &str) -> Door {
        let Some(service) = &self.service else { return Door { tls: true, ..Door::default() } };
        let (dial, ca) = (Some(service.proxy().to_string()), Some(service.ca().to_owned()));
        let prefix = format!("/{provider}");
        match self.way {
            Way::Connect => Door { dial, tunnel: true, tls: true, ca, ..Door::default() },
            Way::Absolute => Door { dial, absolute: true, ..Door::default() },
            Way::Gateway => Door { dial, prefix, ..Door::default() },
            Way::GatewayTls => {
                let front = Some(FrontTls { ca: service.pki().ca(), own: None });
                Door { dial, front, prefix, ..Door::default() }
            }
            Way::Routed | Way::Attached | Way::Exec => {
                let dial = Some("192.0.2.1:443".to_owned());
                Door { dial, tls: true, ca, ..Door::default() }
            }
        }
    }

    /// The agent's virtual key, as it stands in a request of its own.
    ///
    /// # Errors
    /// When none can be made.
    pub fn key(&self, agent: &str, provider: &'static str) -> Result<String> {
        let Some(service) = &self.service else {
            return Ok(format!("${}_API_KEY", provider.to_uppercase()));
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (agent.to_owned(), provider);
        if let Some(key) = keys.get(&at) {
            return Ok(key.clone());
        }
        let key = service.key(&format!("{agent}-{provider}"), agent, provider, &[])?;
        keys.insert(at, key.clone());
        Ok(key)
    }

    /// The process that asks for this agent; it lives as long as the test.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn caller(&self, agent: &str) -> Result<Arc<Caller>> {
        // Only under `exec` is it the process that says which agent it is.
        let agent = if self.way == Way::Exec { agent } else { "" };
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = callers.get(agent) {
            return Ok(Arc::clone(caller));
        }
        let mut command = match (self.way, self.net) {
            (Way::Exec, _) => {
                let policy = self.stand.file("contracts.yaml").to_string_lossy().into_owned();
                let args = ["--agent", agent, "--policy", &policy];
                self.stand.gate(&args)?.command([&self.program])
            }
            (Way::Routed, Some(net)) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{}", net.agents())).arg(&self.program);
                command
            }
            _ => match &self.group {
                Some(group) => group.command(&self.program),
                None => self.stand.operator(&self.program),
            },
        };
        let caller = Arc::new(Caller::start(&mut command)?);
        callers.insert(agent.to_owned(), Arc::clone(&caller));
        Ok(caller)
    }

    /// A question of this agent, with its key, as it is asked on this way.
    ///
    /// # Errors
    /// When the agent has no key.
    pub fn ask(&self, agent: &str, question: Question, version: Version) -> Result<Ask> {
        let key = self.key(agent, question.provider)?;
        let door = self.door(question.provider);
        Ok(question.keyed(&key).through(door, version))
    }
}

/// What this way needs besides the proxy.
fn setup_of(way: Way, contracts: &str) -> Result<Setup> {
    let mut setup = Setup::of(contracts);
    if way == Way::Routed {
        setup.listen.push("routed: 127.0.0.1:16804".to_owned());
    }
    if way == Way::Attached {
        // The kernel redirects to this one address, so others of this machine choose other ports.
        setup.listen.push(format!("transparent: 127.0.0.1:{}", free_port()?));
        setup.listen.push(format!("dns: 127.0.0.1:{}", free_port()?));
    }
    Ok(setup)
}

/// Two network namespaces: agents, and a router who sends what they send to the gate.
#[derive(Debug)]
pub struct Net {
    name: String,
}

impl Net {
    /// `agents (10.7.0.2) — lan0 (10.7.0.1) router`, with the rules of `docs/deploy/routed.md`.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("e2e-w{}-{nth}", std::process::id()) };
        let (agents, router) = (net.agents(), net.router());
        for end in [&agents, &router] {
            ip(&format!("netns add {end}"))?;
            ip(&format!("-n {end} link set lo up"))?;
        }
        ip(&format!("-n {router} link add lan0 type veth peer name eth0 netns {agents}"))?;
        for (end, address, link) in [(&router, "10.7.0.1", "lan0"), (&agents, "10.7.0.2", "eth0")] {
            ip(&format!("-n {end} addr add {address}/24 dev {link}"))?;
            ip(&format!("-n {end} link set {link} up"))?;
        }
        ip(&format!("-n {agents} route add default via 10.7.0.1"))?;
        let document = fs::read_to_string(ROUTED)?;
        let block = |kind: &str, has: &str| {
            let begin = format!("```{kind}\n");
            let blocks = document.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
            let found = blocks.into_iter().find(|block| block.contains(has)).map(str::to_owned);
            found.with_context(|| format!("no {has} in {ROUTED}"))
        };
        net.at_router(&block("sh", "ip rule")?)?;
        net.at_router(&format!("nft -f - <<'END'\n{}END", block("nft", "tollgate_routed")?))?;
        Ok(net)
    }

    fn at_router(&self, script: &str) -> Result<()> {
        let words = ["netns", "exec", &self.router(), "sh", "-ec", script];
        let done = Command::new("ip").args(words).output()?;
        ensure!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// The namespace of the agents.
    #[must_use]
    pub fn agents(&self) -> String {
        format!("{}-a", self.name)
    }

    /// The namespace of the gate.
    #[must_use]
    pub fn router(&self) -> String {
        format!("{}-r", self.name)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for end in [self.agents(), self.router()] {
            // It may not have come to be.
            drop(ip(&format!("netns del {end}")));
        }
    }
}

/// A control group of the test's own.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// A new one.
    ///
    /// # Errors
    /// When there is no hierarchy to make it in.
    pub fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then_some(at)
        });
        let mount = Path::new(mount.context("cgroup v2 is mounted nowhere")?);
        let group = Self(mount.join(format!("e2e-{}-{nth}", std::process::id())));
        fs::create_dir(&group.0)?;
        Ok(group)
    }

    /// A new one, which the stand's gate has attached.
    ///
    /// # Errors
    /// When the gate does not attach it.
    pub fn attached(stand: &Stand) -> Result<Self> {
        let group = Self::new()?;
        let path = group.0.to_string_lossy().into_owned();
        let attached = stand.tollgate(&["attach", "--cgroup", &path])?;
        ensure!(attached.status.success(), "{attached:?}");
        Ok(group)
    }

    /// Its path from the root of the hierarchy.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.file_name().map(|name| format!("/{}", name.to_string_lossy())).unwrap_or_default()
    }

    /// A program that is in it from its start.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        let enter = "echo $$ > \"$1/cgroup.procs\" && exec \"$2\"";
        command.args(["-c", enter, "sh"]).arg(&self.0).arg(program);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that are ending are gone soon; what is still in it then is left.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// A port of `127.0.0.1` that nobody listens on, below those that the system gives out by itself.
///
/// # Errors
/// When none is.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..2000 {
        let nth = std::process::id().wrapping_mul(16) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + nth % 10_000)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

fn ip(words: &str) -> Result<()> {
    let done = Command::new("ip").args(words.split_whitespace()).output()?;
    ensure!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
