//! Two networks joined by a cable: the pod's, and the world's, which counts what arrives.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

/// The gate's user in these tests, and the agent's.
pub(crate) const GATE: u32 = 16801;
pub(crate) const AGENT: u32 = 1000;

/// What a container runtime leaves to a root user.
pub(crate) const DEFAULT: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                                  +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

pub(crate) const POD_V4: &str = "10.203.7.2";
pub(crate) const POD_V6: &str = "fd00:203::2";
pub(crate) const WORLD_V4: &str = "10.203.7.1";
pub(crate) const WORLD_V6: &str = "fd00:203::1";

/// Counts every frame that comes from the pod but those by which neighbours find each other.
const COUNT: &str = "table netdev count {
    counter frames { }
    chain enter {
        type filter hook ingress device \"eth0\" priority -500; policy accept;
        meta protocol arp accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept
        counter name frames
    }
}
";

/// The topology. Everything of it is removed when this is dropped; what a killed test left, the next removes.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) cgroup: PathBuf,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep();
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("tgi-{}-{nth}", std::process::id());
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let cgroup = tree().join(&name);
        for below in ["pod/init", "pod/gate", "pod/agent"] {
            fs::create_dir_all(cgroup.join(below)).unwrap();
        }
        let world = Self { name, cgroup, folder };
        fs::create_dir(world.pins()).unwrap();
        sh(&format!("mount -t bpf bpf {}", world.pins().display()));
        let (pod, outside) = (world.network("pod"), world.network("world"));
        sh(&format!("ip netns add {pod} && ip netns add {outside}"));
        sh(&format!("ip -n {pod} link add eth0 type veth peer name eth0 netns {outside}"));
        for (network, v4, v6) in [(&pod, POD_V4, POD_V6), (&outside, WORLD_V4, WORLD_V6)] {
            sh(&format!(
                "ip -n {network} link set lo up && ip -n {network} addr add {v4}/24 dev eth0"
            ));
            sh(&format!(
                "ip -n {network} addr add {v6}/64 dev eth0 nodad && ip -n {network} link set eth0 up"
            ));
        }
        sh(&format!("ip -n {pod} route add default via {WORLD_V4}"));
        sh(&format!("ip -n {pod} -6 route add default via {WORLD_V6}"));
        let rules = world.folder.path().join("count");
        fs::write(&rules, COUNT).unwrap();
        sh(&format!("nsenter --net=/run/netns/{outside} nft -f {}", rules.display()));
        // Neighbours know each other before anything is counted or dropped.
        let greet = format!("ping -c1 -W5 {WORLD_V4} && ping -c1 -W5 {WORLD_V6}");
        let ready = "for i in $(seq 50); do ip -6 addr show dev eth0 | grep -q tentative || break; sleep 0.05; done";
        assert_eq!(world.pod("init", &["sh", "-c", ready]).0, 0);
        drop(world.pod("init", &["sh", "-c", &greet]));
        world
    }

    /// The name of a network namespace.
    pub(crate) fn network(&self, which: &str) -> String {
        format!("{}-{which}", self.name)
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.folder.path().join("bpf")
    }

    pub(crate) fn pod_file(&self) -> PathBuf {
        self.folder.path().join("run/pod.json")
    }

    /// A new volume, which is everybody's.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        let volume = self.folder.path().join(name);
        fs::create_dir(&volume).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
        volume
    }

    /// A command line in the pod's network, and in the folder `cgroup` below the pod's.
    pub(crate) fn command(&self, cgroup: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let join =
            format!("echo $$ > {}/pod/{cgroup}/cgroup.procs && exec \"$@\"", self.cgroup.display());
        let network = format!("--net=/run/netns/{}", self.network("pod"));
        command.args([&network, "sh", "-c", &join, "sh"]).args(args);
        command
    }

    /// Runs it to its end: code, output, complaints.
    pub(crate) fn pod(&self, cgroup: &str, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(cgroup, args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    /// Runs the program with the flags that every test needs.
    pub(crate) fn init(&self, command: &str, more: &[&str]) -> (i32, String, String) {
        self.init_by(&[], command, more)
    }

    /// The same by way of another program, as `setpriv`.
    pub(crate) fn init_by(
        &self,
        by: &[&str],
        command: &str,
        more: &[&str],
    ) -> (i32, String, String) {
        let (pins, file) = (self.pins().join("pod"), self.pod_file());
        let gate = self.cgroup.join("pod/gate");
        let (pins, file) = (pins.to_str().unwrap(), file.to_str().unwrap());
        let mut args = by.to_vec();
        args.extend([env!("CARGO_BIN_EXE_tollgate-init"), command, "--json", "--pod-file", file]);
        if command != "validate" {
            args.extend(["--pins", pins]);
        }
        if command == "install" {
            args.extend(["--gate-cgroup", gate.to_str().unwrap()]);
        }
        args.extend(more);
        self.pod("init", &args)
    }

    /// Installs without saying which cgroup is the gate's.
    pub(crate) fn init_alone(&self, more: &[&str]) -> (i32, String, String) {
        let (pins, file) = (self.pins().join("pod"), self.pod_file());
        let (pins, file) = (pins.to_str().unwrap(), file.to_str().unwrap());
        let mut args = vec![env!("CARGO_BIN_EXE_tollgate-init"), "install", "--json"];
        args.extend(["--pod-file", file, "--pins", pins]);
        args.extend(more);
        self.pod("init", &args)
    }

    /// Installs in `mode`, which has to succeed; the report.
    pub(crate) fn install(&self, mode: &str, more: &[&str]) -> serde_json::Value {
        let mut all = vec!["--mode", mode, "--minimum", mode];
        all.extend(more);
        let (code, said, complaint) = self.init("install", &all);
        assert_eq!(code, 0, "{said} {complaint}");
        serde_json::from_str(&said).unwrap()
    }

    /// Frames that have arrived from the pod.
    pub(crate) fn frames(&self) -> u64 {
        let network = self.network("world");
        let args = ["-j", "list", "counter", "netdev", "count", "frames"];
        let command = format!("--net=/run/netns/{network}");
        let output = Command::new("nsenter").arg(command).arg("nft").args(args).output().unwrap();
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        list["nftables"][1]["counter"]["packets"].as_u64().unwrap()
    }

    /// Does `work` on a thread in one of the networks.
    pub(crate) fn within<T: Send>(&self, which: &str, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(Path::new("/run/netns").join(self.network(which))).unwrap();
        thread::scope(|scope| {
            let entered = || {
                setns(&network, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            };
            scope.spawn(entered).join().unwrap()
        })
    }

    /// Somebody in the world who answers one connection with this: where, and the thread that does.
    ///
    /// It hears what the client says to the end before it closes. Closing over unread bytes is a reset, by which what
    /// is still under way of the answer is lost.
    pub(crate) fn answers_with(
        &self,
        at: &str,
        answer: Vec<u8>,
    ) -> (String, thread::JoinHandle<()>) {
        let at = SocketAddr::new(at.parse::<IpAddr>().unwrap(), 0);
        let listener = self.within("world", || TcpListener::bind(at)).unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&answer).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap();
        });
        (to, server)
    }

    /// Starts a Python script in the pod as `user`, and waits for its line `ready`.
    pub(crate) fn python(&self, cgroup: &str, user: u32, script: &str) -> Running {
        let user = user.to_string();
        let mut args = vec!["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
        args.extend(["--no-new-privs", "/usr/bin/python3", "-c", script]);
        Running::start(self.command(cgroup, &args))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A process that is asked by lines and answers by lines; it ends with its standard input.
pub(crate) struct Running {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<std::process::ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asks, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut running = Self { child, asks, answers };
        while running.line() != "ready" {}
        running
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "it has ended");
        line.trim().to_owned()
    }

    pub(crate) fn ask(&mut self, what: &str) -> String {
        writeln!(self.asks.as_ref().unwrap(), "{what}").unwrap();
        self.line()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.asks.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the cgroup v2 hierarchy is mounted.
pub(crate) fn tree() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
    PathBuf::from(line.split(' ').nth(4).unwrap())
}

/// Whether a test can be run; says so where it cannot.
pub(crate) fn can_run() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|at| at.uid() == 0);
    if !root {
        eprintln!("NOT TESTED: needs root");
    }
    root
}

fn sh(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
}

/// Removes what tests left whose process is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("tgi-") else { continue };
        let Some((pid, _)) = rest.split_once('-') else { continue };
        if !Path::new("/proc").join(pid).exists() {
            remove(name.trim_end_matches("-pod").trim_end_matches("-world"));
        }
    }
}

fn remove(name: &str) {
    let script = format!(
        "awk '$2 ~ \"/{name}-\" {{ print $2 }}' /proc/mounts | xargs -r -n1 umount -l
         ip netns del {name}-pod; ip netns del {name}-world
         for i in $(seq 40); do
           find {tree}/{name} {tree}/tollgate/{name}* -depth -type d -exec rmdir {{}} + 2>/dev/null
           test -e {tree}/{name} || break; sleep 0.05
         done
         rm -rf /tmp/{name}-*",
        tree = tree().display()
    );
    drop(Command::new("sh").args(["-c", &script]).output());
}
