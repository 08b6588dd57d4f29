//! Builds the kernel programs, and checks that the object in the repository is what its sources say.
//!
//! The toolchain is Debian's `rustc-web`, `rust-web-src`, `llvm-22-dev` and `libpolly-22-dev`, and bpf-linker:
//! `LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --no-default-features --features llvm-22`.
//! `TOLLGATE_BPF_RUSTC`, `TOLLGATE_BPF_LINKER`, `TOLLGATE_BPF_OBJCOPY` and `TOLLGATE_BPF_LLVM` (the folder of LLVM's
//! libraries) name others.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Where the object is kept, and the record of what it was built from.
const OBJECT: &str = "ebpf/programs/prebuilt/tollgate.bpf.o";
const RECORD: &str = "ebpf/programs/prebuilt/tollgate.bpf.digest";

/// Everything that decides what is built.
const SOURCES: &[&str] = &[
    "ebpf/programs/Cargo.toml",
    "ebpf/programs/Cargo.lock",
    "ebpf/programs/src",
    "ebpf/shared/src",
];

/// The sections that hold instructions and maps; names and line numbers are elsewhere.
const SECTIONS: &[&str] = &[
    ".text",
    "cgroup/connect4",
    "cgroup/connect6",
    "cgroup/sendmsg4",
    "cgroup/sendmsg6",
    "cgroup/recvmsg4",
    "cgroup/recvmsg6",
    "cgroup/getpeername4",
    "cgroup/getpeername6",
    "cgroup/bind4",
    "cgroup/bind6",
    "cgroup/setsockopt",
    "cgroup/sock_create",
    "cgroup_skb/egress",
    "sockops",
    "license",
    ".maps",
    ".rodata",
];

const TARGET: &str = "bpfel-unknown-none";

/// The programs that build the object.
struct Toolchain {
    rustc: PathBuf,
    linker: PathBuf,
    objcopy: PathBuf,
    llvm: PathBuf,
}

/// Builds the object anew and records what it was built from.
///
/// # Errors
/// When a tool is missing or the build fails.
pub(crate) fn build() -> Result<()> {
    let root = root()?;
    let tools = Toolchain::find();
    tools.compile(&root, &root.join(OBJECT))?;
    let record = record(&root, &tools.version()?)?;
    fs::write(root.join(RECORD), record).context(RECORD)
}

/// Checks the record against sources and object, always; and, where the toolchain is the recorded one, the
/// instructions against a fresh build.
///
/// # Errors
/// When they differ: run `cargo xtask ebpf`.
pub(crate) fn check() -> Result<()> {
    let root = root()?;
    let recorded = fs::read_to_string(root.join(RECORD)).context(RECORD)?;
    let Some((_, recorded_tools)) = recorded.split_once("\n\n") else {
        bail!("{RECORD}: no toolchain is recorded")
    };
    ensure!(
        recorded == record(&root, recorded_tools)?,
        "{OBJECT} was not built from the sources beside it: run `cargo xtask ebpf`"
    );
    let tools = Toolchain::find();
    // Another toolchain, or none, builds other instructions from the same sources.
    if tools.version().is_ok_and(|version| version == recorded_tools) {
        let fresh = target_dir(&root).join("check.bpf.o");
        tools.compile(&root, &fresh)?;
        let same = tools.instructions(&root.join(OBJECT))? == tools.instructions(&fresh)?;
        ensure!(
            same,
            "{OBJECT} holds other instructions than its sources give: run `cargo xtask ebpf`"
        );
    }
    Ok(())
}

impl Toolchain {
    fn find() -> Self {
        let named = |variable: &str, default: &str| {
            std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
        };
        Self {
            rustc: named("TOLLGATE_BPF_RUSTC", "/usr/bin/rustc"),
            linker: named("TOLLGATE_BPF_LINKER", "bpf-linker"),
            objcopy: named("TOLLGATE_BPF_OBJCOPY", "/usr/lib/llvm-22/bin/llvm-objcopy"),
            llvm: named("TOLLGATE_BPF_LLVM", "/usr/lib/llvm-22/lib"),
        }
    }

    /// What `--version` says of each.
    fn version(&self) -> Result<String> {
        let mut all = String::new();
        for (tool, flag) in [(&self.rustc, "-vV"), (&self.linker, "--version")] {
            let output = Command::new(tool).arg(flag).env("LD_LIBRARY_PATH", &self.llvm).output();
            let output = output.with_context(|| {
                format!("{} is not installed (see xtask/src/ebpf.rs)", tool.display())
            })?;
            ensure!(output.status.success(), "{} {flag} failed", tool.display());
            all.push_str(String::from_utf8_lossy(&output.stdout).trim());
            all.push('\n');
        }
        Ok(all)
    }

    fn compile(&self, root: &Path, object: &Path) -> Result<()> {
        let target = target_dir(root);
        let linker = format!("target.{TARGET}.linker={:?}", self.linker.display().to_string());
        // Paths of this machine are no part of the object.
        let flags =
            format!("-C debuginfo=2 -C link-arg=--btf --remap-path-prefix={}=.", root.display());
        let status = Command::new("cargo")
            .args([
                "build",
                "--locked",
                "--release",
                "-Z",
                "build-std=core",
                "--target",
                TARGET,
                "--config",
                &linker,
            ])
            .current_dir(root.join("ebpf/programs"))
            .env("CARGO_TARGET_DIR", &target)
            .env("LD_LIBRARY_PATH", &self.llvm)
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags)
            // A cargo that runs this has said which toolchain it is; the one named above is meant.
            .env_remove("RUSTUP_TOOLCHAIN")
            .status()
            .context("starting cargo")?;
        ensure!(status.success(), "building ebpf/programs failed");
        let built = target.join(TARGET).join("release/tollgate");
        let status =
            Command::new(&self.objcopy).arg("--strip-debug").arg(built).arg(object).status();
        let status = status.with_context(|| self.objcopy.display().to_string())?;
        ensure!(status.success(), "stripping the object failed");
        Ok(())
    }

    fn instructions(&self, object: &Path) -> Result<Vec<u8>> {
        let section_file = object.with_extension("section");
        let mut all = Vec::new();
        for section in SECTIONS {
            let status = Command::new(&self.objcopy)
                .arg(format!("--dump-section={section}={}", section_file.display()))
                .arg(object)
                .arg("/dev/null")
                .status()
                .with_context(|| self.objcopy.display().to_string())?;
            ensure!(status.success(), "{} has no section {section}", object.display());
            all.extend(fs::read(&section_file)?);
        }
        fs::remove_file(section_file)?;
        Ok(all)
    }
}

fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies in no folder")?.to_owned())
}

fn target_dir(root: &Path) -> PathBuf {
    let outer =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    outer.join("ebpf")
}

fn record(root: &Path, tools: &str) -> Result<String> {
    let mut sources = Sha256::new();
    for path in SOURCES {
        for file in files(&root.join(path))? {
            let name = file.strip_prefix(root)?.display().to_string();
            let bytes = fs::read(&file)?;
            sources.update(format!("{name} {}\n", bytes.len()));
            sources.update(bytes);
        }
    }
    let object = fs::read(root.join(OBJECT)).context(OBJECT)?;
    let (sources, object) = (hex(&sources.finalize()), hex(&Sha256::digest(object)));
    Ok(format!("sources sha256:{sources}\nobject sha256:{object}\n\n{tools}"))
}

/// A file, or all files below a folder, in a fixed order.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path)
        .with_context(|| path.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    entries.sort();
    let mut all = Vec::new();
    for entry in entries {
        all.extend(files(&entry)?);
    }
    Ok(all)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    })
}
