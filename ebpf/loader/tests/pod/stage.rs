//! A pod without a kubelet: a network namespace with one interface to a host on the other side, cgroups, and a bpffs,
//! all of which end with the thread that made them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, TcpListener, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use super::group::{Group, PYTHON};
use tollgate_ebpf::{GATE_PORTS, Installed, Pinned, PodSpec, Ports, Technique};

/// Not the defaults, so that a program that ignores its constants is seen.
pub(crate) const PORTS: Ports = Ports { intake: 26801, responder: 26853 };

/// The pod's addresses, which its interface has.
pub(crate) const OWN: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// The user of the gate; nobody else's on a machine of tests.
pub(crate) const GATE_UID: u32 = 64_801;

/// The address of the interface on the other side.
const FAR: &str = "02:00:00:00:00:01";

/// What every probe begins with: `show` says an address as Rust does.
const PREAMBLE: &str = r#"
import ctypes, os, select, socket, struct, sys
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
def wait():
    sys.stdout.flush()
    sys.stdin.readline()
PAYLOAD = b"what must not leave"
def tries(*attempts):
    said = []
    for attempt in attempts:
        try:
            attempt()
            said.append("done")
        except OSError as error:
            said.append(str(error.errno))
    print(" ".join(said))
def say(s):
    print(s.recv(512).decode(), "from", show(s.getpeername()))
try:
    exec(sys.argv[1])
except OSError as error:
    print("error", error.errno)
"#;

impl Group {
    /// What Python code says that runs in here, as a user: none but root keeps a capability.
    pub(crate) fn python(&self, user: u32, code: &str) -> String {
        let output = self
            .enter(&format!(r#"{} -c "$0" "$@""#, *PYTHON))
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

    /// Starts Python code as an agent: it goes on after each `wait()` when [`Session::go`] is called.
    pub(crate) fn session(&self, user: u32, code: &str) -> Session {
        let mut child = self
            .enter(&format!(r#"{} -c "$0" "$@""#, *PYTHON))
            .args([PREAMBLE, code, &user.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Session { child, said }
    }

    /// The answer to a TCP connection.
    pub(crate) fn connect(&self, to: &str) -> String {
        self.agent(&format!("s = tcp('{to}'); s.connect(at('{to}')); say(s)"))
    }
}

/// A program that was started and waits.
pub(crate) struct Session {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Session {
    /// What it says next.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// What it still says until it ends.
    pub(crate) fn rest(mut self) -> String {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        rest.trim().to_owned()
    }
}

/// Ends it, whatever it is doing.
impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    /// Counts of frames on the other side.
    arrived: mpsc::Receiver<u64>,
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

    /// How many frames with [`PAYLOAD`] were seen on the other side since this was asked last: those that were sent
    /// before come before the one that asks.
    pub(crate) fn arrived(&self) -> u64 {
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(FLUSH, "10.77.0.1:9").unwrap();
        self.arrived.recv_timeout(std::time::Duration::from_secs(10)).unwrap()
    }

    /// What the programs counted of a technique.
    pub(crate) fn counted(&self, technique: Technique) -> u64 {
        let all = self.pinned().counters().unwrap();
        all.into_iter().find(|(counted, _)| *counted == technique).unwrap().1
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
        run("ip", &format!("link add eth0 type veth peer name eth0 address {FAR} netns {far}"));
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
        // So that nothing waits for a neighbour to be found and overtakes another; and what is bound to the interface
        // although it is for loopback finds one, and leaves.
        for at in ["127.0.0.1", "::1", "10.77.0.1", "fd77::1"] {
            run("ip", &format!("neigh replace {at} lladdr {FAR} dev eth0"));
        }
        let pod = Group::new("pod");
        let (gate, agent) = (Some(pod.below("gate")), Some(pod.below("agent")));
        // SAFETY: the name ends with a zero.
        let interface = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
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

/// The cookie of the network of the calling thread.
pub(crate) fn network() -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut cookie, mut size) = (0_u64, 8);
    // SAFETY: the option is eight bytes long, and both pointers are valid for the call.
    let answer = unsafe {
        let cookie = (&raw mut cookie).cast();
        libc::getsockopt(socket.as_raw_fd(), 1, libc::SO_NETNS_COOKIE, cookie, &raw mut size)
    };
    assert_eq!(answer, 0);
    cookie
}

/// A host on the other side of the pod's interface that says its name to whoever connects to port 80, and watches all
/// frames: of each the channel says whether it was the last of some, and the thread's id is where its network is found.
fn far_side() -> (mpsc::Receiver<u64>, i32) {
    let (tell, told) = mpsc::channel();
    let (count, counted) = mpsc::channel();
    thread::spawn(move || {
        unshare(libc::CLONE_NEWNET);
        run("ip", "link set lo up");
        let listener = TcpListener::bind("[::]:80").unwrap();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                // Who asks may be gone.
                let _ = stream.write_all(b"the far side");
            }
        });
        // Datagrams end here; a host without this would send them back in its answer.
        let _sink = UdpSocket::bind("[::]:9").unwrap();
        let all = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be());
        // SAFETY: no memory is involved; the descriptor is ours.
        let sniffer = unsafe {
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, all);
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            UdpSocket::from_raw_fd(socket)
        };
        // SAFETY: no memory is involved.
        tell.send(unsafe { libc::gettid() }).unwrap();
        let mut seen = 0;
        let mut frame = [0; 2048];
        loop {
            // The address is none that the library knows, and `recv` asks for none.
            let length = sniffer.recv(&mut frame).unwrap();
            let frame = &frame[..length];
            if frame.ends_with(FLUSH) {
                if count.send(seen).is_err() {
                    return;
                }
                seen = 0;
            } else if frame.ends_with(PAYLOAD) {
                seen += 1;
            }
        }
    });
    (counted, told.recv().unwrap())
}

/// What frames end with that a test sends, and what asks how many there were.
pub(crate) const PAYLOAD: &[u8] = b"what must not leave";
const FLUSH: &[u8] = b"that was all";

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
