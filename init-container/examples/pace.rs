//! How long installing and validating a pod takes: `pace PATH-OF-TOLLGATE-INIT [ROUNDS]`, as root.
//!
//! In a network and a cgroup of its own, with a gate of one thread that only greets. The bar is 300 ms for both.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{
    error::Error,
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use tollgate_init::{place::Tree, pod_file::PodFile, ports, probes::greeting_of};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().ok_or("name the program: target/release/tollgate-init")?;
    let rounds = args.next().map_or(Ok(20), |rounds| rounds.parse())?;
    let stage = Stage::new()?;
    let took: Vec<_> =
        (0..rounds).map(|_| stage.round(Path::new(&program))).collect::<Result<_>>()?;
    for (what, at) in [("install", 0), ("validate", 1), ("both", 2)] {
        let mut all: Vec<_> = took.iter().filter_map(|round| round.get(at).copied()).collect();
        all.sort_unstable();
        let nth = |part: usize| all.get((all.len() * part / 100).min(all.len() - 1)).copied();
        let (median, most) = (nth(50).unwrap_or_default(), nth(100).unwrap_or_default());
        println!("{what:<9} median {median:>5.1?}  most {most:>5.1?}  of {rounds}");
    }
    Ok(())
}

/// A pod's network and cgroup; removed when dropped.
struct Stage {
    name: String,
    cgroup: PathBuf,
    folder: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        let name = format!("tgpace-{}", std::process::id());
        let cgroup = Tree::open(None)?.root().join(&name);
        let stage = Self { folder: std::env::temp_dir().join(&name), cgroup, name };
        fs::create_dir_all(stage.folder.join("bpf"))?;
        fs::create_dir_all(stage.cgroup.join("pod/init"))?;
        let Self { name, folder, .. } = &stage;
        sh(&format!("mount -t bpf bpf {}/bpf && ip netns add {name}", folder.display()))?;
        sh(&format!(
            "ip -n {name} link add eth0 type veth peer name peer && ip -n {name} link set lo up"
        ))?;
        sh(&format!(
            "ip -n {name} link set peer up && ip -n {name} addr add 10.203.8.2/24 dev eth0"
        ))?;
        sh(&format!(
            "ip -n {name} link set eth0 up && ip -n {name} route add default via 10.203.8.1"
        ))?;
        Ok(stage)
    }

    /// Installs anew and validates: how long each took, and both.
    fn round(&self, program: &Path) -> Result<[Duration; 3]> {
        let pins = self.folder.join("bpf/pod");
        let pins = pins.to_str().ok_or("the folder's name")?;
        let began = Instant::now();
        self.run(program, "install", &["--pins", pins])?;
        let installed = began.elapsed();
        let file = PodFile::read(&self.file())?;
        let greeting = greeting_of(file.token().reveal());
        let listener = self.listen()?;
        let gate = thread::spawn(move || -> std::io::Result<()> {
            listener.accept()?.0.write_all(greeting.line().as_bytes())
        });
        let began = Instant::now();
        self.run(program, "validate", &[])?;
        let validated = began.elapsed();
        gate.join().unwrap_or_else(|_| Err(std::io::Error::other("the gate broke")))?;
        self.run(program, "uninstall", &["--pins", pins])?;
        Ok([installed, validated, installed + validated])
    }

    fn run(&self, program: &Path, command: &str, more: &[&str]) -> Result<()> {
        let join =
            format!("echo $$ > {}/pod/init/cgroup.procs && exec \"$@\"", self.cgroup.display());
        let output = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.name))
            .args(["sh", "-c", &join, "sh"])
            .arg(program)
            .args([command, "--pod-file"])
            .arg(self.file())
            .args(more)
            .output()?;
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(said.into()) }
    }

    fn listen(&self) -> Result<TcpListener> {
        let network = File::open(Path::new("/run/netns").join(&self.name))?;
        let listen = move || -> std::io::Result<TcpListener> {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            TcpListener::bind(("127.0.0.1", ports::INTAKE))
        };
        let broke = |_| Err(std::io::Error::other("its thread broke"));
        Ok(thread::spawn(listen).join().unwrap_or_else(broke)?)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("run/pod.json")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Self { name, cgroup, folder } = self;
        let (cgroup, folder) = (cgroup.display(), folder.display());
        let script = format!(
            "umount -l {folder}/bpf; rm -rf {folder}; ip netns del {name}; rmdir {cgroup}/pod/init {cgroup}/pod {cgroup}"
        );
        // What is left is found by its name, which holds this process's id.
        drop(sh(&script));
    }
}

fn sh(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-c", script]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{script}: {said}").into()) }
}
