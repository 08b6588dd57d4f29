//! A pod and the world as two network namespaces with a wire between them, and the pod's cgroups; gone with the process.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::sys;

/// The pod's addresses on the wire.
pub const POD: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 199, 0, 2), Ipv6Addr::new(0xfd00, 0x199, 0, 0, 0, 0, 0, 2));
/// The world's.
pub const WORLD: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 199, 0, 1), Ipv6Addr::new(0xfd00, 0x199, 0, 0, 0, 0, 0, 1));
/// The pod's interface.
pub const DEVICE: &str = "eth0";
/// The world's.
pub const PEER: &str = "wire";
/// Where the world takes every TCP connection to.
const LISTENER: u16 = 7000;

/// The two namespaces.
#[derive(Debug)]
pub struct Topology {
    /// The pod's network.
    pub pod: OwnedFd,
    /// The world's.
    pub world: OwnedFd,
    /// Link addresses of the pod's and the world's end.
    pub links: ([u8; 6], [u8; 6]),
}

/// Does something on a thread in this network namespace.
///
/// # Errors
/// As `work`, and when the namespace cannot be entered.
pub fn inside<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::enter(namespace.as_fd()).context("cannot enter a network namespace")?;
            work()
        });
        thread.join().unwrap_or_else(|_| bail!("a thread in a namespace panicked"))
    })
}

/// Runs a program with its arguments in one string.
///
/// # Errors
/// When it ends with an error; that is told.
pub fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("no program")?;
    let done = Command::new(program).args(words).output().with_context(|| line.to_owned())?;
    ensure!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Topology {
    /// Makes both, wires them, and lets the world answer to every address in `10.200.0.0/16` and `fd00:200::/64`.
    ///
    /// # Errors
    /// Without the privilege to make namespaces, or without iproute2 and nft.
    pub fn make() -> Result<Self> {
        let (pod, world) = (network()?, network()?);
        let made = format!(
            "ip link add {PEER} type veth peer name {DEVICE} netns /proc/{}/fd/{}",
            std::process::id(),
            pod.as_raw_fd()
        );
        inside(&world, || {
            run(&made)?;
            interface(PEER, WORLD)?;
            run("ip route add local 10.200.0.0/16 dev lo")?;
            run("ip -6 route add local fd00:200::/64 dev lo")?;
            nft(&format!(
                "table inet world {{\n chain pre {{\n type nat hook prerouting priority -100;\n \
                 meta l4proto tcp redirect to :{LISTENER}\n }}\n}}\n"
            ))
        })?;
        inside(&pod, || {
            interface(DEVICE, POD)?;
            run(&format!("ip route add default via {}", WORLD.0))?;
            run(&format!("ip -6 route add default via {}", WORLD.1))?;
            // As containerd has it: any group may open ping sockets.
            setting("ipv4/ping_group_range", "0 2147483647")
        })?;
        let links = (inside(&pod, || link(DEVICE))?, inside(&world, || link(PEER))?);
        inside(&world, answer_everybody)?;
        Ok(Self { pod, world, links })
    }
}

fn interface(name: &str, (v4, v6): (Ipv4Addr, Ipv6Addr)) -> Result<()> {
    run("ip link set lo up")?;
    run(&format!("ip addr add {v4}/24 dev {name}"))?;
    run(&format!("ip addr add {v6}/64 dev {name} nodad"))?;
    setting(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
    run(&format!("ip link set {name} up"))
}

/// Applies rules in the network namespace of the calling thread.
///
/// # Errors
/// What nft says.
pub fn nft(rules: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start nft")?;
    child.stdin.take().context("no standard input")?.write_all(rules.as_bytes())?;
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "nft: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn setting(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).with_context(|| format!("cannot write {path}"))
}

/// The link address of an interface of the calling thread's network.
fn link(name: &str) -> Result<[u8; 6]> {
    let shown = Command::new("ip").args(["-o", "link", "show", "dev", name]).output()?;
    let text = String::from_utf8(shown.stdout)?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "link/ether").skip(1);
    let word = words.next().context("an interface without a link address")?;
    let bytes: Vec<u8> =
        word.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().map_err(|_bytes| anyhow::anyhow!("a link address of another length: {word}"))
}

fn network() -> Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::unshare(libc::CLONE_NEWNET).context("cannot make a network namespace")?;
            Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
        });
        thread.join().unwrap_or_else(|_| bail!("a thread in a namespace panicked"))
    })
}

/// Every TCP connection into the world hears one line and is read until it ends.
fn answer_everybody() -> Result<()> {
    let listener = std::net::TcpListener::bind(("::", LISTENER))?;
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { continue };
            std::thread::spawn(move || {
                if connection.write_all(b"world\n").is_ok() {
                    drop(std::io::copy(&mut connection, &mut std::io::sink()));
                }
            });
        }
    });
    Ok(())
}

/// Folders of a cgroup2 mount that only this process and what it starts sees.
#[derive(Debug)]
pub struct Cgroups {
    root: PathBuf,
    made: Vec<PathBuf>,
    /// The pod.
    pub pod: PathBuf,
    /// The container of the agent.
    pub agent: PathBuf,
    /// A group that the agent's container made in its own.
    pub nested: PathBuf,
    /// The container of the gate.
    pub gate: PathBuf,
    /// Nothing of the pod's.
    pub outside: PathBuf,
}

impl Cgroups {
    /// Makes the tree under a name of its own, in a mount below `scratch`.
    ///
    /// # Errors
    /// Without the privilege to mount and to make cgroups.
    pub fn make(scratch: &Path) -> Result<Self> {
        let root = scratch.join("cgroup");
        fs::create_dir_all(&root)?;
        sys::mount("none", root.to_str().context("a path that is no text")?, "cgroup2", 0)
            .context("cannot mount cgroup2")?;
        clear_dead(&root)?;
        let top = root.join(format!("{PREFIX}{}-{:016x}", std::process::id(), crate::random()?));
        let pod = top.join("pod");
        let (agent, gate, outside) = (pod.join("agent"), pod.join("gate"), top.join("outside"));
        let nested = agent.join("nested");
        let made: Vec<PathBuf> =
            [&top, &pod, &agent, &nested, &gate, &outside].map(Clone::clone).into();
        for folder in &made {
            fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { root, made, pod, agent, nested, gate, outside })
    }

    /// Another container of the pod, made when it is first asked for.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn another(&mut self, name: &str) -> Result<PathBuf> {
        let folder = self.pod.join(name);
        if !self.made.contains(&folder) {
            fs::create_dir(&folder)?;
            self.made.push(folder.clone());
        }
        Ok(folder)
    }

    /// The folder of the mount.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

const PREFIX: &str = "tollgate-netns-";

/// What a killed run left, by the process that its name tells.
fn clear_dead(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(process) = process else { continue };
        if !Path::new("/proc").join(process).exists() {
            remove_tree(&entry.path());
        }
    }
    Ok(())
}

/// Folders from the innermost; one that still has processes stays.
fn remove_tree(folder: &Path) {
    let inner = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in inner.filter(|entry| entry.path().is_dir()) {
        remove_tree(&entry.path());
    }
    drop(fs::remove_dir(folder));
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // The last process of a group leaves it a moment after it was waited for.
            let populated = || {
                let mut events = String::new();
                let read = File::open(folder.join("cgroup.events"))
                    .and_then(|mut file| file.read_to_string(&mut events));
                read.is_ok() && events.contains("populated 1")
            };
            for _ in 0..200 {
                if fs::remove_dir(folder).is_ok() || !populated() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            drop(fs::remove_dir(folder));
        }
        // With what techniques made in their own.
        if let Some(top) = self.made.first() {
            remove_tree(top);
        }
    }
}
