//! Starts the cage, and the things around it.

use std::sync::LazyLock;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A cage with a log of its gate.
pub(crate) struct Cage {
    place: TempDir,
    flags: Vec<String>,
}

/// What a command in a cage said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Nothing where the kernel's part cannot be tested; as root it always can.
pub(crate) fn cage(flags: &[&str]) -> Option<Cage> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: needs root");
        return None;
    }
    Some(Cage {
        place: tempfile::tempdir().unwrap(),
        flags: flags.iter().map(ToString::to_string).collect(),
    })
}

/// The examples of this package, built with its tests, in a folder that every user can execute from: the
/// build folder may lie in a home folder that only its owner can enter.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut built = std::env::current_exe().unwrap();
    built.pop();
    built.pop();
    // One for each build folder: the tests of another checkout may run at the same time.
    let build = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&built).unwrap());
    let folder = PathBuf::from(format!("/tmp/tollgate-launch-examples-{build}"));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["cage", "probe", "sockets"] {
        // Renamed into its place: another run of these tests may be executing the file that lies there.
        let fresh = folder.join(format!("{name}.{}", std::process::id()));
        std::fs::copy(built.join("examples").join(name), &fresh).unwrap();
        std::fs::rename(&fresh, folder.join(name)).unwrap();
    }
    folder
});

/// One of them.
pub(crate) fn example(name: &str) -> PathBuf {
    EXAMPLES.join(name)
}

pub(crate) fn probe() -> String {
    example("probe").into_os_string().into_string().unwrap()
}

impl Cage {
    pub(crate) fn log_path(&self) -> PathBuf {
        self.place.path().join("log")
    }

    /// What arrived at the gate, line by line.
    pub(crate) fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// The cage around `command`, not started.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, command: &[S]) -> Command {
        let mut cage = Command::new(example("cage"));
        cage.arg("--log").arg(self.log_path()).args(&self.flags).arg("--").args(command);
        cage.current_dir("/tmp").stdin(Stdio::null());
        cage
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, command: &[S]) -> Said {
        said(self.command(command).output().unwrap())
    }

    pub(crate) fn sh(&self, script: &str) -> Said {
        self.run(&["sh", "-c", script])
    }

    /// What the probe printed.
    pub(crate) fn probe(&self, words: &[&str]) -> String {
        let said = self.run(&[&[probe().as_str()], words].concat());
        assert_eq!(said.code, 0, "{words:?}: {}{}", said.out, said.err);
        said.out.trim().to_owned()
    }
}

pub(crate) fn said(output: Output) -> Said {
    let Output { status, stdout, stderr } = output;
    Said {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The probe outside: what the kernel says where nothing is governed.
pub(crate) fn probe_outside(words: &[&str]) -> String {
    let output = Command::new(probe()).args(words).stdin(Stdio::null()).output().unwrap();
    said(output).out.trim().to_owned()
}
