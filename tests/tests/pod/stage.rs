//! A pod without a kubelet: a network with one interface, control groups, a bpffs, and on the other side of the wire
//! the provider. All of it ends with the thread that made it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::{LIMIT, Stand, tollgate};
use e2e::process::{Outcome, Running};
use e2e::proofs::{SOON, until};
use ebpf::{GATE_PORTS, INTAKE_PORT, Pinned, PodSpec, Ports, RESPONDER_PORT};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The pod's address, and that of the provider on the other side.
pub(crate) const POD: &str = "10.213.9.2";
pub(crate) const POD_V6: &str = "fd13:9::2";
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 213, 9, 1);
/// Where the agent serves, and that is declared.
pub(crate) const SERVES: u16 = 8080;
/// The system's, which every user may run.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// What the installer and the gate know.
const TOKEN: &str = "5e3fd2b9a1c04d77";
/// The user of the agent.
const AGENT: u32 = 1000;

static MADE: AtomicU32 = AtomicU32::new(0);

/// How the pod is shut in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Programs, and of the floor only what leads in.
    Kernel,
    /// By the installer itself, programs and floor.
    Installed,
    /// By the installer itself, which has to find the gate.
    NftCgroup,
    NftUser,
}

/// The pod of one test.
pub(crate) struct Stage {
    pub(crate) stand: Stand,
    mode: Mode,
    space: String,
    group: PathBuf,
    pins: PathBuf,
    gate: Option<Running>,
    gates: u32,
    /// The one capability that a gate needs that holds the queues of the interfaces.
    pub(crate) raw: bool,
}

/// Runs `test` with mounts of its own.
pub(crate) fn stage(
    mode: Mode,
    test: impl FnOnce(&mut Stage) -> Result<()> + Send + 'static,
) -> Result<()> {
    let done = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        run("mount --make-rprivate /")?;
        run("mount -t bpf bpf /sys/fs/bpf")?;
        let mut stage = Stage::new(mode)?;
        let tested = test(&mut stage);
        tested.with_context(|| stage.log())
    });
    done.join().map_err(|_panic| anyhow::anyhow!("the test's thread failed"))?
}

pub(crate) fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().context("no program")?);
    let done = command.args(words).output()?;
    ensure!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Stage {
    fn new(mode: Mode) -> Result<Self> {
        let name = format!("e2e-p{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (space, far) = (format!("{name}-pod"), format!("{name}-far"));
        for space in [&space, &far] {
            run(&format!("ip netns add {space}"))?;
            run(&format!("ip -n {space} link set lo up"))?;
        }
        run(&format!("ip link add eth0 netns {space} type veth peer name eth0 netns {far}"))?;
        for (space, v4, v6) in [(&space, POD, POD_V6), (&far, "10.213.9.1", "fd13:9::1")] {
            run(&format!("ip -n {space} addr add {v4}/24 dev eth0"))?;
            run(&format!("ip -n {space} addr add {v6}/64 dev eth0 nodad"))?;
            run(&format!("ip -n {space} link set eth0 up"))?;
        }
        run(&format!("ip -n {space} route add default via {FAR}"))?;
        let stand = Stand::at(&far, FAR)?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).context("no cgroup2")?;
        let group = Path::new(mount.split(' ').nth(4).context("no mount point")?).join(&name);
        for part in ["", "agent", "init"] {
            fs::create_dir(group.join(part))?;
        }
        let pins = Path::new("/sys/fs/bpf").join(&name);
        let stage = Self { stand, mode, space, group, pins, gate: None, gates: 0, raw: false };
        stage.install()?;
        // A name server that is not there: the kernel leads all questions to the gate.
        fs::write(stage.stand.file("resolv.conf"), "nameserver 10.213.9.53\noptions timeout:3\n")?;
        run(&format!(
            "mount --bind {} /etc/resolv.conf",
            stage.stand.file("resolv.conf").display()
        ))?;
        Ok(stage)
    }

    /// What `tollgate-init` does, but for the floor.
    fn install(&self) -> Result<()> {
        if matches!(self.mode, Mode::Installed | Mode::NftCgroup) {
            return self.run_installer().map(drop);
        }
        let inbound = format!(
            "table inet e2e {{ chain receive {{ type nat hook prerouting priority -100;\n\
             iifname != \"lo\" tcp dport {{ {SERVES}, 9090 }} redirect to :16806\n}}\n}}\n"
        );
        self.nft(&inbound)?;
        match self.mode {
            Mode::Kernel => {
                let cgroup = File::open(&self.group)?;
                let own: [IpAddr; 2] = [POD.parse()?, POD_V6.parse()?];
                let spec = PodSpec {
                    ports: Ports { intake: INTAKE_PORT, responder: RESPONDER_PORT },
                    gate_ports: &GATE_PORTS,
                    own: &own,
                    exempt: &[],
                    network: None,
                    gate_uid: 0,
                    gate_gid: 0,
                };
                ebpf::install(&[cgroup.as_fd()], &self.pins, &spec)?;
            }
            Mode::Installed | Mode::NftCgroup | Mode::NftUser => self.nft(&format!(
                "table inet lead {{ chain out {{ type nat hook output priority -100;\n\
                 meta skuid != {AGENT} accept\noifname \"lo\" accept\n\
                 udp dport 53 redirect to :{RESPONDER_PORT}\nmeta l4proto tcp redirect to :{INTAKE_PORT}\n}}\n}}\n"
            ))?,
        }
        let mode = match self.mode {
            Mode::Kernel => "kernel",
            Mode::Installed | Mode::NftCgroup | Mode::NftUser => "nft-user",
        };
        self.pod_file(&self.says(mode))
    }

    /// Has `tollgate-init` shut the pod in; what it says.
    fn run_installer(&self) -> Result<Value> {
        let (file, pins) = (self.stand.file("pod.json"), &self.pins);
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
        let [file, pins, group] = [&file, pins, &self.group].map(|path| text(path));
        let root = text(self.group.parent().context("no root")?)?;
        let (inbound, program) = (SERVES.to_string(), tollgate()?.with_file_name("tollgate-init"));
        let (program, file, pins, group) = (text(&program)?, file?, pins?, group?);
        let mode = if self.mode == Mode::Installed { "kernel" } else { "nft-cgroup" };
        let maps = text(&self.pins.join("maps"))?;
        let mode = ["--mode", mode, "--minimum", mode, "--gate-uid", "0", "--gate-maps", &maps];
        let places =
            ["--pod-file", &file, "--pins", &pins, "--cgroup", &group, "--cgroup-root", &root];
        let words = [program.as_str(), "install", "--json", "--inbound", &inbound];
        let words = [&words[..], &mode, &places].concat();
        let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        let done = Running::start(&mut self.inside("init", &words))?.end(LIMIT)?;
        ensure!(done.status.success(), "{done:?}");
        Ok(serde_json::from_str(&done.stdout)?)
    }

    /// The same anew, now that the gate listens.
    pub(crate) fn find_gate(&self) -> Result<()> {
        let report = self.run_installer()?;
        ensure!(report.get("next") == Some(&json!([])), "it does not know the gate: {report}");
        Ok(())
    }

    /// What the installer says of a pod that is shut in like this.
    pub(crate) fn says(&self, mode: &str) -> Value {
        json!({"version": 1, "mode": mode, "why": "the test says so", "maps": self.pins.join("maps"),
            "inbound": [SERVES], "own": [POD, POD_V6], "interfaces": ["eth0"], "token": TOKEN, "xdp": "closed"})
    }

    /// By what the installer knows the gate, without its being told the token.
    pub(crate) fn greeting(&self) -> Result<String> {
        use sha2::Digest as _;
        let file: Value = serde_json::from_slice(&fs::read(self.stand.file("pod.json"))?)?;
        let token = file.get("token").and_then(Value::as_str).context("no token")?;
        let digest = sha2::Sha256::digest(token);
        let hex = digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Ok(format!("tollgate {hex}"))
    }

    pub(crate) fn pod_file(&self, says: &Value) -> Result<()> {
        Ok(fs::write(self.stand.file("pod.json"), says.to_string())?)
    }

    fn nft(&self, rules: &str) -> Result<()> {
        Self::nft_in(&self.space, rules)
    }

    fn nft_in(space: &str, rules: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{space}")).args(["nft", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("no stdin")?.write_all(rules.as_bytes())?;
        ensure!(child.wait()?.success(), "nft: {rules}");
        Ok(())
    }

    /// Writes configuration and contract. `pod` is what stands below `pod:` besides the agent and the file.
    pub(crate) fn configure(&self, pod: &str, contract: &str) -> Result<()> {
        let (stand, folder) = (&self.stand, self.stand.file("policy"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("contract.yaml"), contract)?;
        let (state, ca, to) = (stand.state(), stand.provider().ca(), stand.provider().addr());
        let text = format!(
            "state: {}\npolicy: {}\ncredentials:\n  openai: {{ provider: openai, from: sealed }}\n\
             drain: {{ delay: 0s, streams: 5s }}\nupstream:\n  ca: [{}]\n  connect_to: [\"api.openai.com:443:{to}\"]\n\
             pod:\n  agent: bot\n  file: {}\n{pod}",
            state.display(),
            folder.display(),
            ca.display(),
            stand.file("pod.json").display()
        );
        Ok(fs::write(stand.file("tollgate.yaml"), text)?)
    }

    /// Starts a gate in a control group of its own, as a container that is started anew has one, without capabilities.
    pub(crate) fn start_gate(&mut self) -> Result<()> {
        self.begin_gate()?;
        if self.mode == Mode::NftCgroup {
            self.find_gate()?;
        }
        self.until_ready()
    }

    /// The same, as far as it goes without the installer.
    pub(crate) fn begin_gate(&mut self) -> Result<()> {
        self.gate = Some(self.spawn_gate()?);
        self.until_serving()
    }

    /// Starts a gate in the control group of the one before, as where the node makes one that stays.
    pub(crate) fn start_gate_in_its_group(&mut self) -> Result<()> {
        self.gate = Some(self.spawn_gate_in(&self.gate_group())?);
        self.until_serving()?;
        self.until_ready()
    }

    fn until_serving(&self) -> Result<()> {
        let serves = until(LIMIT, "the gate serves", || {
            Ok(self.log().contains("the gate serves").then_some(()))
        });
        serves.with_context(|| self.log())
    }

    /// Waits until the gate says that it is ready.
    pub(crate) fn until_ready(&self) -> Result<()> {
        let ready = until(LIMIT, "the gate is ready", || {
            ensure!(!self.log().contains("next: tollgate check"), "it ended");
            Ok(self.get("/readyz").ok().filter(|(status, _)| *status == 200).map(drop))
        });
        ready.with_context(|| self.log())
    }

    pub(crate) fn spawn_gate(&mut self) -> Result<Running> {
        self.gates += 1;
        let group = self.gate_group();
        fs::create_dir(self.group.join(&group))?;
        self.spawn_gate_in(&group)
    }

    fn spawn_gate_in(&self, group: &str) -> Result<Running> {
        let config = self.stand.file("tollgate.yaml");
        let raw = if self.raw { ",+net_raw" } else { "" };
        let words = [
            "setpriv".to_owned(),
            format!("--bounding-set=-all{raw}"),
            "--inh-caps=-all".to_owned(),
            "--no-new-privs".to_owned(),
            tollgate()?.display().to_string(),
            "serve".to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
        ];
        Running::start(&mut self.inside(group, &words))
    }

    /// A program in the pod's network, in this control group of it.
    fn inside(&self, group: &str, words: &[String]) -> Command {
        let procs = self.group.join(group).join("cgroup.procs");
        let script = format!(
            "echo 0 > {} && exec nsenter --net=/run/netns/{} -- \"$@\"",
            procs.display(),
            self.space
        );
        let mut command = self.stand.program(Path::new("sh"));
        command.args(["-c", &script, "sh"]).args(words);
        command
    }

    /// A program of the agent's, which is nobody in particular.
    pub(crate) fn agent(&self, words: &[&str]) -> Result<Running> {
        let user = [format!("--reuid={AGENT}"), format!("--regid={AGENT}")];
        let mut all = vec!["setpriv".to_owned()];
        all.extend(user);
        all.extend(["--clear-groups", "--bounding-set=-all", "--no-new-privs"].map(str::to_owned));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        Running::start(&mut self.inside("agent", &all))
    }

    /// What a program of the agent's did.
    pub(crate) fn asked(&self, words: &[&str]) -> Result<Outcome> {
        self.agent(words)?.end(LIMIT)
    }

    /// What Python says in a control group of the pod: `agent`, or that of a gate.
    pub(crate) fn python(&self, group: &str, code: &str) -> Result<String> {
        let words = [PYTHON, "-c", code];
        let done = if group == "agent" {
            self.asked(&words)?
        } else {
            Running::start(&mut self.inside(group, &words.map(str::to_owned)))?.end(LIMIT)?
        };
        ensure!(done.status.success(), "{code}: {}", done.stderr);
        Ok(done.stdout.trim().to_owned())
    }

    /// How many packets of the Internet's protocols arrive on the other side while `work` is done, but for those by which
    /// neighbours find each other.
    pub(crate) fn arriving(&self, work: impl FnOnce() -> Result<()>) -> Result<u64> {
        const COUNT: &str = "add table netdev count\ndelete table netdev count\ntable netdev count {\n\
            counter arrived { }\nchain enter { type filter hook ingress device \"eth0\" priority -500;\n\
            meta protocol arp accept\n\
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept\n\
            counter name arrived\n}\n}\n";
        let far = self.space.replace("-pod", "-far");
        Self::nft_in(&far, COUNT)?;
        work()?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{far}"));
        command.args(["nft", "-j", "list", "counter", "netdev", "count", "arrived"]);
        let list: Value = serde_json::from_slice(&command.output()?.stdout)?;
        let counted = list.pointer("/nftables/1/counter/packets").and_then(Value::as_u64);
        counted.context("no count")
    }

    /// Does something on a thread in the pod's network.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let space = File::open(Path::new("/run/netns").join(&self.space))?;
        let done = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(space, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside.join()
        });
        done.map_err(|_panic| anyhow::anyhow!("the thread in the pod failed"))?
    }

    /// Has the kernel know somebody else as the gate.
    pub(crate) fn steal_exemption(&self) -> Result<()> {
        let pinned = Pinned::open(&self.pins.join("maps"))?;
        self.within(|| Ok(pinned.exempt_myself()?))?;
        Ok(())
    }

    /// The control group of the gate that runs.
    pub(crate) fn gate_group(&self) -> String {
        format!("gate-{}", self.gates)
    }

    /// Kills the gate at once.
    pub(crate) fn slay(&mut self) -> Result<()> {
        let gate = self.gate.take().context("no gate runs")?;
        kill(Pid::from_raw(i32::try_from(gate.pid())?), Signal::SIGKILL)?;
        gate.end(SOON)?;
        Ok(())
    }

    /// Ends the gate in order.
    pub(crate) fn end(&mut self) -> Result<()> {
        let gate = self.gate.take().context("no gate runs")?;
        kill(Pid::from_raw(i32::try_from(gate.pid())?), Signal::SIGTERM)?;
        let outcome = gate.end(LIMIT)?;
        ensure!(outcome.status.success(), "{outcome:?}");
        Ok(())
    }

    /// What the gate's page says to somebody outside the pod.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String)> {
        self.stand.at_home(|| e2e::service::page(format!("{POD}:16815").parse()?, path))
    }

    /// The number behind a metric's whole name and labels; 0 where there is none.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let (_, text) = self.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map_or(Ok(0), |line| line.trim().parse())?)
    }

    /// What was written down, newest last.
    pub(crate) fn tail(&self, more: &[&str]) -> Result<Vec<Value>> {
        let said = self.stand.tollgate(&[&["tail", "--json", "-n", "100"], more].concat())?;
        ensure!(said.status.success(), "{said:?}");
        Ok(said.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    pub(crate) fn log(&self) -> String {
        self.gate.as_ref().and_then(|gate| gate.stderr().ok()).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            drop(gate);
        }
        if matches!(self.mode, Mode::Kernel | Mode::Installed) {
            drop(ebpf::uninstall(&self.pins));
        }
        // Processes that end leave their group a moment later.
        let gone = until(SOON, "the control groups are empty", || {
            let below = fs::read_dir(&self.group)?.flatten().filter(|entry| entry.path().is_dir());
            let left = below.filter(|entry| fs::remove_dir(entry.path()).is_err()).count();
            Ok((left == 0 && fs::remove_dir(&self.group).is_ok()).then_some(()))
        });
        drop(gone);
        let far = self.space.replace("-pod", "-far");
        for space in [&self.space, &far] {
            drop(run(&format!("ip netns del {space}")));
        }
    }
}
