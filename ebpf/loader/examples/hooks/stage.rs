//! A pod to measure in: a network with one interface, cgroups with a worker each, and the programs at some of them.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, TcpListener},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::worker::FAR;
use anyhow::{Context as _, Result, ensure};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tollgate_ebpf::{GATE_PORTS, INTAKE_PORT, PodSpec, Ports, RESPONDER_PORT, install};

/// The gate's intake, where both connect to in the end.
pub(crate) const INTAKE: &str = "127.0.0.1:16801";
/// A server on the other side, where connections are redirected from.
pub(crate) const FAR_TCP: &str = "10.77.0.1:80";
/// Where workers listen themselves.
pub(crate) const LOOPBACK: &str = "127.0.0.1:7";

/// A process in a cgroup of its own; both end with this.
pub(crate) struct Worker {
    group: PathBuf,
    child: RefCell<(Child, BufReader<ChildStdout>)>,
}

impl Worker {
    fn start(group: PathBuf, far: &str) -> Result<Self> {
        fs::create_dir(&group).with_context(|| group.display().to_string())?;
        let mut child = Command::new("/proc/self/exe")
            .arg("worker")
            .env(FAR, far)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // It makes its sockets when it is told to.
        fs::write(group.join("cgroup.procs"), child.id().to_string())?;
        let out = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { group, child: RefCell::new((child, out)) })
    }

    fn id(&self) -> Result<u64> {
        Ok(fs::metadata(&self.group)?.ino())
    }

    /// The figure that a command gives.
    pub(crate) fn run(&self, command: &str) -> Result<f64> {
        let mut child = self.child.borrow_mut();
        let input = child.0.stdin.as_mut().context("no input")?;
        writeln!(input, "{command}")?;
        let mut line = String::new();
        child.1.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("{command}: {line}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let child = &mut self.child.get_mut().0;
        drop(child.stdin.take());
        // What cannot be ended or removed is left to the next start of the machine.
        drop(child.kill());
        drop(child.wait());
        drop(fs::remove_dir(&self.group));
    }
}

/// The pod: its gate and its agent are governed, and `free` is beside them in the same network.
pub(crate) struct Stage {
    pub(crate) free: Worker,
    pub(crate) agent: Worker,
    pub(crate) gate: Worker,
    /// Beside them too, with a program that does nothing.
    pub(crate) empty: Worker,
    _link: OwnedFd,
    _pod: Folder,
}

/// A folder that is removed after what is below it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

impl Stage {
    /// Sets everything up around the calling thread, with the pins at `at` in a bpffs that ends with it.
    pub(crate) fn set(at: &Path) -> Result<Self> {
        // SAFETY: no thread but this one is there yet, and descriptors stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }?;
        run("mount", "--make-rprivate /")?;
        run("mount", "-t bpf bpf /sys/fs/bpf")?;
        let far = interfaces()?;
        serve()?;
        let root = hierarchy()?;
        let pod = root.join(format!("bench-{}", std::process::id()));
        fs::create_dir(&pod).with_context(|| pod.display().to_string())?;
        let folder = Folder(pod.clone());
        let name = |which| root.join(format!("bench-{}-{which}", std::process::id()));
        let empty = Worker::start(name("empty"), &far)?;
        let stage = Self {
            free: Worker::start(name("free"), &far)?,
            _link: attach_empty(&empty.group)?,
            empty,
            agent: Worker::start(pod.join("agent"), &far)?,
            gate: Worker::start(pod.join("gate"), &far)?,
            _pod: folder,
        };
        let own: [IpAddr; 1] = ["10.77.0.2".parse()?];
        let spec = PodSpec {
            ports: Ports { intake: INTAKE_PORT, responder: RESPONDER_PORT },
            gate_ports: &GATE_PORTS,
            own: &own,
            exempt: &[stage.gate.id()?],
            network: None,
            gate_uid: 0,
            gate_gid: 0,
        };
        install(&[File::open(&pod)?.as_fd()], at, &spec)?;
        Ok(stage)
    }
}

/// The mount of cgroup v2.
fn hierarchy() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let at = mount.and_then(|line| line.split(' ').nth(4)).context("no cgroup2 is mounted")?;
    Ok(at.into())
}

fn run(program: &str, arguments: &str) -> Result<()> {
    let status = Command::new(program).args(arguments.split(' ')).status()?;
    ensure!(status.success(), "{program} {arguments}: {status}");
    Ok(())
}

/// A pair of interfaces to another network, and what that is named.
fn interfaces() -> Result<String> {
    let (tell, told) = mpsc::channel();
    // It holds its network until the process ends.
    thread::spawn(move || -> Result<()> {
        // SAFETY: only the network namespace of this thread changes.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        tell.send(rustix::thread::gettid().as_raw_nonzero())?;
        loop {
            thread::park();
        }
    });
    let far = told.recv()?;
    run("ip", "link set lo up")?;
    run("ip", &format!("link add eth0 type veth peer name eth0 netns {far}"))?;
    run("ip", "addr add 10.77.0.2/24 dev eth0")?;
    run("ip", "link set eth0 up")?;
    for command in ["addr add 10.77.0.1/24 dev eth0", "link set eth0 up"] {
        run("nsenter", &format!("--net=/proc/{far}/ns/net ip {command}"))?;
    }
    // The thread's folder is found among those of its process.
    Ok(format!("/proc/{}/task/{far}/ns/net", std::process::id()))
}

/// The gate, which closes what it accepts.
fn serve() -> Result<()> {
    let intake = TcpListener::bind(INTAKE)?;
    thread::spawn(move || while intake.accept().is_ok() {});
    Ok(())
}

/// Attaches a program of two instructions, "let it pass", to a cgroup: what is lost with it is the kernel's own share.
fn attach_empty(cgroup: &Path) -> Result<OwnedFd> {
    // `BPF_MOV | BPF_K` and `BPF_EXIT` (linux/bpf.h): eight bytes each.
    let instructions = [0xb7_u64 | 1 << 32, 0x95];
    let licence = c"GPL";
    // `prog_type` CGROUP_SKB, `insn_cnt`, `insns`, `license`, no log, no name, `expected_attach_type` egress.
    let mut load = [0_u64; 9];
    let fields = [8 | 2 << 32, instructions.as_ptr() as u64, licence.as_ptr() as u64];
    for (to, from) in load.iter_mut().zip(fields) {
        *to = from;
    }
    if let Some(last) = load.last_mut() {
        *last = 1 << 32;
    }
    let program = bpf(5, &mut load)?;
    let cgroup = File::open(cgroup)?;
    let number = |fd: BorrowedFd<'_>| u64::try_from(fd.as_raw_fd());
    // `prog_fd`, `target_fd`, `attach_type`.
    let mut link = [number(program.as_fd())? | number(cgroup.as_fd())? << 32, 1];
    bpf(28, &mut link)
}

/// One command of bpf(2) that opens a descriptor.
fn bpf(command: u32, attributes: &mut [u64]) -> Result<OwnedFd> {
    // SAFETY: the attributes are as long as is said, and what they point to lives in the caller.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes))
    };
    ensure!(fd >= 0, "bpf({command}): {}", io::Error::last_os_error());
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}
