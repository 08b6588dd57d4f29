//! A service with one agent, its provider, and somebody who collects its telemetry.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::harness::tollgate;
use e2e::provider::{Alpn, Options, Provider};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than any step takes on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_mins(1);

/// What somebody is asked again and again until it is there.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that was free a moment ago; whoever finds it taken says so and ends.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A tool that `cargo xtask setup` built. Without it the test says that it did not run.
pub(crate) fn tool(name: &str, checks: &str) -> Option<PathBuf> {
    e2e::clients::built(&format!("parts/{name}/{name}"), checks).unwrap()
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).next().unwrap_or_default()
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(port: u16, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    write!(request, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Answer { head: head.to_owned(), body: body.to_owned() }
}

/// A collector that ends with its test.
pub(crate) struct Collector {
    process: Child,
    dir: TempDir,
    pub(crate) port: u16,
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Collector {
    pub(crate) fn start(otelcol: &Path) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), port());
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
             exporters: {{file: {{path: '{}', flush_interval: 100ms}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n    \
             metrics: {{receivers: [otlp], exporters: [file]}}\n",
            dir.path().join("out.jsonl").display()
        );
        fs::write(dir.path().join("config.yaml"), config).unwrap();
        let process = Command::new(otelcol)
            .arg(format!("--config={}", dir.path().join("config.yaml").display()))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        until("the collector listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { process, dir, port }
    }

    /// All that arrived, as deep below as these names lead.
    fn arrived(&self, names: &[&str]) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("out.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut level: Vec<Value> = lines.collect();
        for &name in names {
            let below = level.iter().filter_map(|above| above[name].as_array());
            level = below.flatten().cloned().collect();
        }
        level
    }

    pub(crate) fn spans(&self) -> Vec<Value> {
        self.arrived(&["resourceSpans", "scopeSpans", "spans"])
    }

    /// Of what the spans tell: the gate.
    pub(crate) fn resources(&self) -> Vec<Value> {
        let of = self.arrived(&["resourceSpans"]);
        of.into_iter().map(|spans| spans["resource"].clone()).collect()
    }

    pub(crate) fn metrics(&self) -> Vec<Value> {
        self.arrived(&["resourceMetrics", "scopeMetrics", "metrics"])
    }
}

/// A running `tollgate serve`.
pub(crate) struct Serve {
    process: Child,
    pub(crate) provider: Provider,
    dir: TempDir,
    proxy: u16,
    health: u16,
    pub(crate) key: String,
    _runtime: Runtime,
}

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

const POLICY: &str = "policy_id: traces\nversion: \"1\"\nmode: enforce\nteam: payments\nagents:\n  \
    bot:\n    identity: { any: [ { key: bot } ] }\n    bearer: true\n    models: [gpt-5-mini]\n    \
    budgets: { day: $10 }\n    destinations: [api.openai.com]\n";

impl Serve {
    /// Serves one agent, whose telemetry goes to `sink`, and logs what `log` asks for.
    pub(crate) fn start(sink: &str, log: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["policy", "provider"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("policy/bot.yaml"), POLICY).unwrap();
        let runtime = Runtime::new().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options { listen, dir: at("provider"), names: Vec::new(), alpn: Alpn::Both };
        let provider = runtime.block_on(Provider::start(options)).unwrap();
        let (proxy, health) = (port(), port());
        let config = format!(
            "state: {state}\npolicy: {policy}\n\
             credentials: {{ openai: {{ provider: openai, from: sealed }} }}\n\
             sinks: {{ c: {{ to: otlp, url: \"{sink}\" }} }}\n\
             listen:\n  transparent: null\n  dns: null\n  proxy: 127.0.0.1:{proxy}\n  health: 127.0.0.1:{health}\n\
             upstream:\n  ca: [{ca}]\n  connect_to: [\"api.openai.com:443:{to}\"]\n\
             drain: {{ delay: 0s, streams: 1s }}\n",
            state = at("state").display(),
            policy = at("policy").display(),
            ca = provider.ca().display(),
            to = provider.addr(),
        );
        fs::write(at("tollgate.yaml"), config).unwrap();
        let process = Command::new(tollgate().unwrap())
            .args(["serve", "--config"])
            .arg(at("tollgate.yaml"))
            .env("TOLLGATE_LOG", log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let key = String::new();
        let mut serve = Self { process, provider, dir, proxy, health, key, _runtime: runtime };
        until(&format!("it serves: {}", serve.log()), || serve.answers());
        let real = serve.dir.path().join("real");
        fs::write(&real, &serve.provider.keys().openai).unwrap();
        let real = real.to_str().unwrap().to_owned();
        serve.tollgate(&[
            "credential",
            "add",
            "openai",
            "--provider",
            "openai",
            "--from-file",
            &real,
        ]);
        let made = ["key", "create", "bot", "--agent", "bot", "--credential", "openai"];
        serve.tollgate(&made).trim().clone_into(&mut serve.key);
        serve
    }

    fn answers(&mut self) -> Option<()> {
        assert!(self.process.try_wait().unwrap().is_none(), "it ended: {}", self.log());
        TcpStream::connect(("127.0.0.1", self.health)).ok()?;
        (ask(self.health, "GET /readyz", &[], "").status() == "200").then_some(())
    }

    /// A command against this service's state, which must succeed.
    pub(crate) fn tollgate(&self, args: &[&str]) -> String {
        let mut command = Command::new(tollgate().unwrap());
        command.args(args).arg("--state").arg(self.dir.path().join("state"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}\n{out}\n{err}");
        out.into_owned()
    }

    /// A chat by way of the gateway.
    pub(crate) fn chat(
        &self,
        model: &str,
        text: &str,
        stream: bool,
        more: &[(&str, &str)],
    ) -> Answer {
        let body = serde_json::json!({
            "model": model, "stream": stream, "max_completion_tokens": 100,
            "messages": [{ "role": "user", "content": text }],
        });
        let bearer = format!("Bearer {}", self.key);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.push(("content-type", "application/json"));
        headers.extend(more);
        ask(self.proxy, "POST /openai/v1/chat/completions", &headers, &body.to_string())
    }

    /// What Prometheus would read.
    pub(crate) fn metrics(&self) -> String {
        ask(self.health, "GET /metrics", &[], "").body
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}
