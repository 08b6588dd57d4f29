//! Starts the cage, and the things around it.

use std::sync::LazyLock;
use std::{
    ffi::{OsStr, OsString},
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::fs::Mode;
use rustix::process::Uid;
use tempfile::TempDir;

/// The form of the run in a cage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    KernelPrograms,
    UserNamespace,
    /// Of uid 0 with no capability but the one that the kernel asks for before it maps that user.
    UserNamespaceOfRoot,
}

impl Form {
    /// Who starts the cage, where that is not whoever runs the tests.
    pub(crate) fn owner(self) -> Option<Uid> {
        let other = self == Self::UserNamespace && rustix::process::geteuid().is_root();
        other.then(|| Uid::from_raw(1000))
    }

    /// What begins the command line of the cage.
    fn words(self) -> Vec<OsString> {
        let setpriv: &[&str] = match (self, self.owner()) {
            (_, Some(_)) => &["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"],
            (Self::UserNamespaceOfRoot, None) => {
                &["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]
            }
            (Self::KernelPrograms | Self::UserNamespace, None) => &[],
        };
        setpriv.iter().map(OsString::from).chain([example("cage").into()]).collect()
    }
}

/// A cage with a log of its gate.
pub(crate) struct Cage {
    form: Form,
    place: TempDir,
    flags: Vec<String>,
}

/// What a command in a cage said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Whether a user may make user namespaces here, and if not, what says so.
static USER_NAMESPACES: LazyLock<Result<(), String>> = LazyLock::new(|| {
    let words = Form::UserNamespace.words();
    let tried = Command::new(&words[0])
        .args(&words[1..])
        .args(["--", "true"])
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if tried.status.success() { Ok(()) } else { Err(said(tried).err) }
});

/// The examples of this package, built with its tests, in a folder that every user can execute from: the
/// build folder may lie in a home folder that only its owner can enter.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    for_others_too();
    let mut built = std::env::current_exe().unwrap();
    built.pop();
    built.pop();
    // One for each build folder: the tests of another checkout may run at the same time.
    let build = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&built).unwrap());
    let folder = PathBuf::from(format!("/tmp/tollgate-launch-examples-{build}"));
    std::fs::create_dir_all(&folder).unwrap();
    // Also where another mask was in force when it was made, or the examples were built.
    let everybody = || Permissions::from_mode(0o755);
    std::fs::set_permissions(&folder, everybody()).unwrap();
    for name in ["cage", "probe", "sockets"] {
        // Renamed into its place: another run of these tests may be executing the file that lies there.
        let fresh = folder.join(format!("{name}.{}", std::process::id()));
        std::fs::copy(built.join("examples").join(name), &fresh).unwrap();
        std::fs::set_permissions(&fresh, everybody()).unwrap();
        std::fs::rename(&fresh, folder.join(name)).unwrap();
    }
    folder
});

/// What a test writes for a user is theirs to read and execute under any mask of whoever runs the tests.
fn for_others_too() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

/// One of them.
pub(crate) fn example(name: &str) -> PathBuf {
    EXAMPLES.join(name)
}

pub(crate) fn probe() -> String {
    example("probe").into_os_string().into_string().unwrap()
}

impl Cage {
    /// Nothing where that form cannot be tested, which is said. As root the kernel's part always can.
    pub(crate) fn of(form: Form, flags: &[&str]) -> Option<Self> {
        for_others_too();
        let missing = match form {
            Form::KernelPrograms | Form::UserNamespaceOfRoot => {
                (!rustix::process::geteuid().is_root()).then_some("needs root")
            }
            Form::UserNamespace => USER_NAMESPACES.as_ref().err().map(String::as_str),
        };
        if let Some(missing) = missing {
            eprintln!("NOT TESTED: {missing}");
            return None;
        }
        let mut flags = flags.to_vec();
        // Without root the command is who starts it.
        if form == Form::UserNamespace
            && let Some(at) = flags.iter().position(|flag| *flag == "--uid")
        {
            assert_eq!(flags.drain(at..at + 2).nth(1), Some("1000"));
        }
        let flags = flags.iter().map(ToString::to_string).collect();
        let cage = Self { form, place: tempfile::tempdir().unwrap(), flags };
        cage.give_away();
        Some(cage)
    }

    /// The cage as a line of a shell, to be followed by `--` and the command.
    pub(crate) fn line(&self) -> String {
        self.give_away();
        self.form.words().join(OsStr::new(" ")).into_string().unwrap()
    }

    /// What the test put into its place becomes the user's who starts the cage.
    pub(crate) fn give_away(&self) {
        let Some(owner) = self.form.owner() else { return };
        let mut folders = vec![self.place.path().to_owned()];
        while let Some(folder) = folders.pop() {
            std::os::unix::fs::chown(&folder, Some(owner.as_raw()), Some(owner.as_raw())).unwrap();
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let id = Some(owner.as_raw());
                std::os::unix::fs::lchown(&path, id, id).unwrap();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
            }
        }
    }

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
        self.give_away();
        let words = self.form.words();
        let mut cage = Command::new(&words[0]);
        if self.form.owner().is_some() {
            // The folders of whoever runs the tests may be closed to another user.
            cage.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        cage.args(&words[1..])
            .arg("--log")
            .arg(self.log_path())
            .args(&self.flags)
            .arg("--")
            .args(command);
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
