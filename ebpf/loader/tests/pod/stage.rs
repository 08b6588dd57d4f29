//! A pod without a kubelet: a network namespace with one interface to a host on the other side, cgroups, and a bpffs,
//! all of which end with the thread that made them.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use tollgate_ebpf::{GATE_PORTS, Installed, Pinned, PodSpec, Ports};

/// Not the defaults, so that a program that ignores its constants is seen.
pub(crate) const PORTS: Ports = Ports { intake: 26801, responder: 26853 };

/// The pod's addresses, which its interface has.
pub(crate) const OWN: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// The user of the gate; nobody else's on a machine of tests.
pub(crate) const GATE_UID: u32 = 64_801;

/// What every probe begins with: `show` says an address as Rust does.
const PREAMBLE: &str = r#"
import os, socket, struct, sys
import encodings.idna
user = int(sys.argv[2])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
def show(at):
    return "[%s]:%d" % at[:2] if ":" in at[0] else "%s:%d" % at[:2]
def at(to):
    host, port = to.rsplit(":", 1)
    return host.strip("[]"), int(port)
def family(to):
    return socket.AF_INET6 if to.startswith("[") else socket.AF_INET
def tcp(to):
    s = socket.socket(family(to))
    s.settimeout(5)
    return s
def udp(to):
    s = socket.socket(family(to), socket.SOCK_DGRAM)
    s.settimeout(5)
    return s
def say(s):
    print(s.recv(512).decode(), "from", show(s.getpeername()))
try:
    exec(sys.argv[1])
except OSError as error:
    print("error", error.errno)
"#;

/// A cgroup of one test; removed at its end.
pub(crate) struct Group(pub(crate) PathBuf);

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let path = Path::new(line.split(' ').nth(4).unwrap())
            .join(format!("pod-{}-{nth}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn below(&self, name: &str) -> Self {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn id(&self) -> u64 {
        fs::metadata(&self.0).unwrap().ino()
    }

    pub(crate) fn open(&self) -> OwnedFd {
        File::open(&self.0).unwrap().into()
    }

    /// A shell's command that runs `rest` in here.
    pub(crate) fn enter(&self, rest: &str) -> Command {
        let mut command = Command::new("sh");
        let script = format!("echo 0 > {}/cgroup.procs && exec {rest}", self.0.display());
        command.args(["-c", &script]);
        command
    }

    /// What Python code says that runs in here, as a user: none but root keeps a capability.
    pub(crate) fn python(&self, user: u32, code: &str) -> String {
        let output = self
            .enter(r#"python3 -c "$0" "$@""#)
            .args([PREAMBLE, code, &user.to_string()])
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(output.status.success(), "{code}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// As an agent of the pod.
    pub(crate) fn agent(&self, code: &str) -> String {
        self.python(1000, code)
    }

    /// As root with every capability: what holds then holds for all.
    pub(crate) fn root(&self, code: &str) -> String {
        self.python(0, code)
    }

    /// The answer to a TCP connection.
    pub(crate) fn connect(&self, to: &str) -> String {
        self.agent(&format!("s = tcp('{to}'); s.connect(at('{to}')); say(s)"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        // A test that failed is said to have, not what it left.
        assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
    }
}

/// The pod of one test.
pub(crate) struct Stage {
    /// The cgroup of the pod, of its gate and of its agent.
    pub(crate) pod: Group,
    pub(crate) gate: Option<Group>,
    pub(crate) agent: Option<Group>,
    /// Where it is pinned.
    pub(crate) at: PathBuf,
    /// The index of its interface.
    pub(crate) interface: u32,
    /// Datagrams that arrived on the other side.
    arrived: Arc<AtomicU64>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Below before above.
        (self.gate, self.agent) = (None, None);
    }
}

impl Stage {
    pub(crate) fn gate(&self) -> &Group {
        self.gate.as_ref().unwrap()
    }

    pub(crate) fn agent(&self) -> &Group {
        self.agent.as_ref().unwrap()
    }

    /// The programs at the pod's cgroup, with the gate's exempt.
    pub(crate) fn install(&self) -> Installed {
        self.install_at(&[self.pod.open().as_fd()], &[self.gate().id()])
    }

    pub(crate) fn install_at(&self, cgroups: &[BorrowedFd<'_>], exempt: &[u64]) -> Installed {
        let own = OWN.map(|ip| ip.parse::<IpAddr>().unwrap());
        let spec = PodSpec { own: &own, exempt, ..spec() };
        tollgate_ebpf::install(cgroups, &self.at, &spec).unwrap()
    }

    pub(crate) fn pinned(&self) -> Pinned {
        Pinned::open(&self.at.join("maps")).unwrap()
    }

    /// How many datagrams arrived on the other side since this was asked last.
    pub(crate) fn arrived(&self) -> u64 {
        // What is on its way over a pair of interfaces arrives before the sender's call returns; the thread that
        // counts has then only to be woken, which a datagram of ours, behind all others, sees to.
        let before = self.arrived.swap(0, Ordering::SeqCst);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        socket.send_to(b"flush", "10.77.0.1:9").unwrap();
        socket.recv_from(&mut [0; 16]).unwrap();
        before + self.arrived.swap(0, Ordering::SeqCst)
    }
}

/// A specification with nothing of its own.
pub(crate) fn spec() -> PodSpec<'static> {
    PodSpec {
        ports: PORTS,
        gate_ports: &GATE_PORTS,
        own: &[],
        exempt: &[],
        network: None,
        gate_uid: GATE_UID,
        gate_gid: GATE_UID,
    }
}

/// Runs `test` on a thread in a network and with mounts of its own.
pub(crate) fn stage(test: impl FnOnce(&mut Stage) + Send + 'static) {
    // SAFETY: no memory is involved.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("NOT TESTED: needs root");
        return;
    }
    thread::spawn(move || {
        unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS);
        run("mount", "--make-rprivate /");
        run("mount", "-t bpf bpf /sys/fs/bpf");
        let (arrived, far) = far_side();
        run("ip", "link set lo up");
        run("ip", &format!("link add eth0 type veth peer name eth0 netns {far}"));
        for command in [
            "addr add 10.77.0.2/24 dev eth0",
            "addr add fd77::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.77.0.1",
            "-6 route add default via fd77::1",
        ] {
            run("ip", command);
        }
        let there = ["addr add 10.77.0.1/24 dev eth0", "addr add fd77::1/64 dev eth0 nodad"];
        for command in there.into_iter().chain(["link set eth0 up"]) {
            run("nsenter", &format!("--net=/proc/{far}/ns/net ip {command}"));
        }
        let pod = Group::new("pod");
        let (gate, agent) = (Some(pod.below("gate")), Some(pod.below("agent")));
        let index = fs::read_to_string("/proc/net/dev_mcast").unwrap_or_default();
        let interface = index
            .lines()
            .find(|line| line.contains("eth0"))
            .and_then(|line| line.split_whitespace().next())
            .map_or(2, |index| index.parse().unwrap());
        let at = PathBuf::from("/sys/fs/bpf/tollgate/pod");
        test(&mut Stage { pod, gate, agent, at, interface, arrived });
    })
    .join()
    .unwrap();
}

pub(crate) fn unshare(flags: i32) {
    // SAFETY: only namespaces of this thread change.
    assert_eq!(unsafe { libc::unshare(flags) }, 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "{program} {arguments}");
}

/// A host on the other side of the pod's interface that says its name to whoever connects to port 80, and counts
/// datagrams at port 9; the id of a thread in its network.
fn far_side() -> (Arc<AtomicU64>, i32) {
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        unshare(libc::CLONE_NEWNET);
        let listener = TcpListener::bind("[::]:80").unwrap();
        let socket = UdpSocket::bind("[::]:9").unwrap();
        run("ip", "link set lo up");
        // SAFETY: no memory is involved.
        tell.send(unsafe { libc::gettid() }).unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                // Who asks may be gone.
                let _ = stream.write_all(b"the far side");
            }
        });
        let mut datagram = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            if datagram[..length] == *b"flush" {
                socket.send_to(b"flushed", from).unwrap();
            } else {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (arrived, told.recv().unwrap())
}

/// Tells each redirected connection where it wanted to go and who it is, as the gate would.
pub(crate) fn intake(stage: &Stage) {
    let pinned = Arc::new(stage.pinned());
    for at in ["127.0.0.1", "[::1]"] {
        let listener = TcpListener::bind(format!("{at}:{}", PORTS.intake)).unwrap();
        let pinned = Arc::clone(&pinned);
        thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let said = match pinned.origin(peer, stream.local_addr().unwrap()) {
                    Some(origin) => format!("{} of {}", origin.wanted, origin.cgroup),
                    None => "nobody".to_owned(),
                };
                // Who asks may be gone.
                let _ = stream.write_all(said.as_bytes());
            }
        });
    }
}
