//! A cgroup of one test, and the interpreter that runs in it.

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

/// Python itself: what stands for it in the path may be a script that takes longer than what it starts.
pub(crate) static PYTHON: LazyLock<String> = LazyLock::new(|| {
    let itself = ["-c", "import sys; print(sys.executable, end='')"];
    let output = Command::new("python3").args(itself).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
});

/// A cgroup of one test; removed at its end.
pub(crate) struct Group(pub(crate) PathBuf);

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let (whose, process) = (env!("CARGO_CRATE_NAME"), std::process::id());
        let path = Path::new(line.split(' ').nth(4).unwrap())
            .join(format!("{whose}-{process}-{nth}-{name}"));
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
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        // A test that failed is said to have, not what it left.
        assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
    }
}
