//! `tollgate serve` under the restrictions of its unit, applied by hand (`tests/systemd/confine.py`): it starts,
//! answers, reads its contracts again and ends in order, and tells its service manager so.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests and their helpers"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::harness::{LIMIT, tollgate};
use e2e::process::{Outcome, Running};

const PROVIDER: &str = "127.0.0.1:443";
const CONFIG: &str = r#"
policy: policy
credentials: { openai: { provider: openai, from: sealed } }
upstream: { ca: [provider-ca.pem], connect_to: ["api.openai.com:443:127.0.0.1:443"] }
drain: { delay: 1s, streams: 5s }
"#;
const POLICY: &str = r#"
policy_id: confined
version: "1"
mode: enforce
team: tests
agents:
  agent:
    models: [gpt-5-mini]
    budgets: { day: $10 }
    destinations: [api.openai.com]
"#;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The unit's folders, the manager's socket, and the provider where the program will be alone with it.
struct Unit {
    dir: tempfile::TempDir,
    manager: UnixDatagram,
}

impl Unit {
    fn new() -> Self {
        let dir = tempfile::TempDir::with_prefix("unit-").unwrap();
        for name in ["state", "run", "etc", "etc/policy"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("etc/tollgate.yaml"), CONFIG).unwrap();
        fs::write(dir.path().join("etc/policy/agent.yaml"), POLICY).unwrap();
        let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        Self { dir, manager }
    }

    /// Starts `program` confined, alone in a network with a loopback, after `before` in the same network.
    fn start(&self, before: &str, program: &Path, arguments: &[&str]) -> Running {
        let script = format!("ip link set lo up; {before} exec /usr/bin/python3 \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "--", "sh", "-c", &script, "sh"])
            .arg(repository().join("tests/systemd/confine.py"))
            .arg(repository().join("deploy/systemd/tollgate.service"))
            .args([self.dir.path(), program])
            .args(arguments)
            .env_remove("RUST_BACKTRACE");
        Running::start(&mut command).unwrap()
    }

    /// What the manager is told next.
    fn told(&self) -> String {
        let mut heard = [0; 256];
        let size = self.manager.recv(&mut heard).unwrap();
        String::from_utf8(heard[..size].to_vec()).unwrap()
    }
}

/// In the namespaces of `of`, as an operator of that machine is.
fn beside(of: &Running, namespaces: &[&str], words: &[&str]) -> Output {
    let target = of.pid().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &target, "--net"]).args(namespaces).arg("--").args(words);
    command.output().unwrap()
}

/// One of the gate's own commands, which must succeed.
fn operator(of: &Running, words: &[&str]) -> String {
    let output = beside(of, &["--mount"], &[&["/mnt/program"], words].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn curl(of: &Running, words: &[&str]) -> String {
    let usual = ["curl", "-sS", "--max-time", "20", "-w", " %{http_code}"];
    let output = beside(of, &[], &[&usual, words].concat());
    [output.stdout, output.stderr].iter().map(|said| String::from_utf8_lossy(said)).collect()
}

fn signal(to: &Running, name: &str) {
    let pid = to.pid().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

/// Asks until it is so, within [`LIMIT`].
fn becomes(mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LIMIT, "it never came to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A chat through the gateway; the answer and its status.
fn chat(gate: &Running, key: &str, model: &str) -> String {
    let bearer = format!("authorization: Bearer {key}");
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    let url = "http://127.0.0.1:16802/openai/v1/chat/completions";
    curl(gate, &["-H", &bearer, "-H", "content-type: application/json", "-d", &body, url])
}

fn status(of: &Running, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", of.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap().trim().to_owned()
}

/// What the process may still do, as its kernel says.
fn assert_confined(gate: &Running) {
    let (bpf, net_admin) = (1_u64 << 39, 1_u64 << 12);
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        let held = u64::from_str_radix(&status(gate, set), 16).unwrap();
        assert_eq!(held, bpf | net_admin, "{set}");
    }
    assert_eq!(status(gate, "NoNewPrivs"), "1");
    assert_eq!(status(gate, "Seccomp"), "2");
}

fn ended(gate: Running) -> Outcome {
    let outcome = gate.end(LIMIT).unwrap();
    assert!(outcome.status.success(), "{}", outcome.stderr);
    outcome
}

#[test]
fn the_service_serves_reloads_and_ends_under_the_restrictions_of_its_unit() {
    let unit = Unit::new();
    let here = unit.dir.path().to_str().unwrap();
    let bin = tollgate().unwrap();
    let provider = bin.with_file_name("provider");
    let before = format!(
        "{} --listen {PROVIDER} --dir {here} > {here}/provider.json & echo $! > {here}/pid; \
         until [ -s {here}/provider.json ]; do sleep 0.05; done; cp {here}/provider-ca.pem {here}/etc/;",
        provider.display()
    );
    let config = ["serve", "--config", "/etc/tollgate/tollgate.yaml"];
    let gate = unit.start(&before, &bin, &config);
    assert_eq!(unit.told(), format!("READY=1\nMAINPID={}", gate.pid()), "{:?}", gate.stderr());
    assert_confined(&gate);

    let said: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(format!("{here}/provider.json")).unwrap())
            .unwrap();
    let real = format!("{here}/run/real");
    fs::write(&real, said["openai_key"].as_str().unwrap()).unwrap();
    let add = ["credential", "add", "openai", "--provider", "openai"];
    operator(&gate, &[&add[..], &["--from-file", "/run/tollgate/real"]].concat());
    fs::remove_file(&real).unwrap();
    let create = ["key", "create", "k", "--agent", "agent", "--credential", "openai"];
    let key = operator(&gate, &[&create[..], &["--from", "address:127.0.0.1"]].concat());
    let answered = chat(&gate, &key, "gpt-5-mini");
    assert!(answered.contains("chat.completion") && answered.ends_with(" 200"), "{answered}");
    let refused = chat(&gate, &key, "gpt-5");
    assert!(refused.contains("model_scope") && refused.ends_with(" 403"), "{refused}");

    let policy = unit.dir.path().join("etc/policy/agent.yaml");
    fs::write(policy, POLICY.replace("gpt-5-mini", "gpt-5")).unwrap();
    signal(&gate, "-HUP");
    let reloading = unit.told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(unit.told(), format!("READY=1\nMAINPID={}", gate.pid()));
    let now = chat(&gate, &key, "gpt-5");
    assert!(now.ends_with(" 200"), "{now}");

    let ready = curl(&gate, &["http://127.0.0.1:16815/readyz"]);
    assert!(ready.ends_with(" 200") && !ready.contains("attachments"), "{ready}");
    signal(&gate, "-TERM");
    assert_eq!(unit.told(), "STOPPING=1");
    becomes(|| curl(&gate, &["http://127.0.0.1:16815/readyz"]).ends_with(" 503"));
    let outcome = ended(gate);
    assert!(outcome.stderr.contains("the gate has ended"), "{}", outcome.stderr);
    let pid = fs::read_to_string(format!("{here}/pid")).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());

    let mut verify = Command::new(&bin);
    verify.args(["audit", "verify", "--json", "--state"]).arg(unit.dir.path().join("state"));
    let verified = Running::start(&mut verify).unwrap().end(LIMIT).unwrap();
    assert!(verified.stdout.contains(r#""valid":true"#), "{}{}", verified.stdout, verified.stderr);
}

/// What the restrictions close, tried by a program that is under them.
const PROBES: &str = r#"
import ctypes, mmap, os, socket
LIBC = ctypes.CDLL(None, use_errno=True)
def tried(name, act):
    try:
        act()
        print(name, "open")
    except OSError as error:
        print(name, error.errno)
def called(*words):
    if LIBC.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")
tried("state", lambda: open("/var/lib/tollgate/probe", "w"))
tried("etc", lambda: open("/etc/tollgate/probe", "w"))
tried("usr", lambda: open("/usr/probe", "w"))
tried("home", lambda: os.listdir("/root"))
tried("packets", lambda: socket.socket(17, 3))
tried("netlink", lambda: socket.socket(16, 3))
tried("memory", lambda: mmap.mmap(-1, 4096, prot=7))
tried("setuid", lambda: os.chmod("/var/lib/tollgate/probe", 0o4755))
tried("owner", lambda: os.chown("/var/lib/tollgate/probe", 1, 1))
tried("namespace", lambda: called(272, 0x40000000))
tried("openat2", lambda: called(437, -100, b"/", 0, 0))
tried("ptrace", lambda: called(101, 0, 0, 0, 0))
tried("module", lambda: called(313, -1, b"", 0))
tried("clock", lambda: called(227, 0, 0))
tried("mount", lambda: called(165, b"a", b"/tmp", b"tmpfs", 0, 0))
"#;

#[test]
fn a_program_under_the_restrictions_cannot_do_what_they_close() {
    let unit = Unit::new();
    let probe = unit.start("", Path::new("/usr/bin/python3"), &["-c", PROBES]);
    let outcome = ended(probe);
    let (eperm, erofs, enosys, eafnosupport, eacces) = (1, 30, 38, 97, 13);
    let expected = [
        ("etc", erofs),
        ("usr", erofs),
        ("home", eacces),
        ("packets", eafnosupport),
        ("netlink", eafnosupport),
        ("memory", eperm),
        ("setuid", eperm),
        ("owner", eperm),
        ("namespace", eperm),
        ("openat2", enosys),
        ("ptrace", eperm),
        ("module", eperm),
        ("clock", eperm),
        ("mount", eperm),
    ];
    let said: Vec<&str> = outcome.stdout.lines().collect();
    assert!(said.contains(&"state open"), "{}{}", outcome.stdout, outcome.stderr);
    for (what, number) in expected {
        assert!(said.contains(&format!("{what} {number}").as_str()), "{what}: {said:#?}");
    }
}

/// The names of a list in the script.
fn listed(script: &str, list: &str) -> Vec<String> {
    let (_, rest) = script.split_once(&format!("{list} = {{")).unwrap();
    let (names, _) = rest.split_once('}').unwrap();
    names.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_names_what_was_not_applied() {
    let read = |name: &str| fs::read_to_string(repository().join(name)).unwrap();
    let (script, page) = (read("tests/systemd/confine.py"), read("docs/deploy/systemd.md"));
    let manager = listed(&script, "MANAGER");
    assert!(manager.len() > 5, "{manager:?}");
    for name in manager {
        assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
    }
}
