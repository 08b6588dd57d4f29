//! Programs outside that listen on Unix sockets are out of reach; those inside are not.

use std::{
    io::ErrorKind,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
    process::Command,
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
        .stdin(std::process::Stdio::piped())
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

#[test]
fn a_hundred_sockets_cost_little() {
    let Some(cage) = cage(&["--time"]) else { return };
    let spent = || {
        let said = cage.run(&["true"]);
        let numbers: Vec<f64> = said.err.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers[0] - numbers[1]
    };
    let (mut before, mut after) = (f64::INFINITY, f64::INFINITY);
    // By turns, and for longer where other programs keep the machine busy: the least of each is what it costs.
    for round in 0..20 {
        before = spent().min(before);
        let folder = tempfile::tempdir().unwrap();
        let bound = |n: i32| UnixDatagram::bind(folder.path().join(n.to_string())).unwrap();
        let _held: Vec<UnixDatagram> = (0..100).map(bound).collect();
        after = spent().min(after);
        if round >= 4 && after - before < 50.0 {
            return;
        }
    }
    panic!("{before} ms became {after} ms");
}
