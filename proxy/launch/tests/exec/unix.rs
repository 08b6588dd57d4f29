//! Programs outside that listen on Unix sockets are out of reach; those inside are not.

use std::{
    io::ErrorKind,
    mem::MaybeUninit,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{UIDS, cage};
use crate::cage::{Cage, example, said};

/// Refused as what is no socket: masked.
const MASKED: &str = "error 111";

/// A program outside, with a socket that everybody may connect to.
pub(crate) struct Outside {
    pub(crate) place: TempDir,
    listener: UnixListener,
}

impl Outside {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let place = tempfile::Builder::new().prefix("outer-").tempdir_in(folder).unwrap();
        open(place.path());
        let listener = UnixListener::bind(place.path().join("outer.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        open(&place.path().join("outer.sock"));
        Self { place, listener }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join("outer.sock")
    }

    /// How many have connected.
    pub(crate) fn heard(&self) -> usize {
        let mut heard = 0;
        loop {
            match self.listener.accept() {
                Ok(_) => heard += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub(crate) fn open(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// What the program of the tests said inside.
pub(crate) fn inside(cage: &Cage, words: &[&str]) -> String {
    let program = example("sockets");
    let said = cage.run(&[&[program.to_str().unwrap()], words].concat());
    assert_eq!(said.code, 0, "{words:?}: {}{}", said.out, said.err);
    said.out.trim().to_owned()
}

pub(crate) fn outside(words: &[&str]) -> String {
    let output = Command::new(example("sockets")).args(words).output().unwrap();
    said(output).out.trim().to_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_socket_that_was_there_before_is_masked_wherever_it_lies() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        for folder in ["/tmp", "/run", &std::env::var("HOME").unwrap()] {
            let outer = Outside::in_folder(Path::new(folder));
            let path = outer.path();
            if uid == "0" || !folder.starts_with("/root") {
                assert_eq!(inside(&cage, &["stream", text(&path)]), MASKED, "{folder} as {uid}");
            }
            assert_eq!(outer.heard(), 0, "{folder}");
            assert_eq!(outside(&["stream", text(&path)]), "ok sent", "the test tests nothing");
            assert_eq!(outer.heard(), 1, "{folder}");
        }
    }
}

#[test]
fn a_masked_socket_cannot_be_taken_away_from_its_program() {
    let Some(cage) = cage(&[]) else { return };
    let outer = Outside::in_folder(Path::new("/tmp"));
    let path = outer.path();
    let said = cage.sh(&format!("rm -f {0}; mv {0} {0}.old; ls -l {0}", path.display()));
    assert!(said.out.starts_with('c'), "{}", said.out);
    assert_eq!(outside(&["stream", text(&path)]), "ok sent");
}

#[test]
fn a_socket_that_a_variable_names_is_masked_although_it_is_of_another_network() {
    let Some(cage) = cage(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    // The program outside lives in a network namespace of its own, as in another container.
    let mut other = Command::new("unshare")
        .args(["-n", "python3", "-c"])
        .arg(format!(
            "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind({path:?})\ns.listen()\nsys.stdin.read()"
        ))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !path.exists() && begun.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut command = cage.command(&[example("sockets").to_str().unwrap(), "stream", text(&path)]);
    let said =
        said(command.env("DOCKER_HOST", format!("unix://{}", path.display())).output().unwrap());
    let reached = outside(&["stream", text(&path)]);
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(said.out.trim(), MASKED, "{}", said.err);
    assert_eq!(reached, "ok sent", "the test tests nothing");
}

/// How much processor time a command and all that it waited for took: what else runs on the machine does not count.
fn processor_time(mut command: Command) -> Duration {
    #[expect(clippy::zombie_processes, reason = "it is waited for by its number")]
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut status, mut usage) = (0, MaybeUninit::uninit());
    // SAFETY: both places are valid for writing, and the kernel fills them where it returns the child's number.
    let usage = unsafe {
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()), pid);
        usage.assume_init()
    };
    assert_eq!(status, 0, "it failed");
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| {
            let (seconds, micros) = (time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs());
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        })
        .sum()
}

#[test]
fn a_hundred_sockets_cost_little() {
    let Some(cage) = cage(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let least = || (0..5).map(|_| processor_time(cage.command(&["true"]))).min().unwrap();
    let before = least();
    let _held: Vec<UnixDatagram> =
        (0..100).map(|n| UnixDatagram::bind(folder.path().join(n.to_string())).unwrap()).collect();
    let after = least();
    assert!(after < before + Duration::from_millis(50), "{before:?} became {after:?}");
}
