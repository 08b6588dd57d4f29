//! Clients and gates that meet on a state folder's socket: two spawners, a false gate, a gate that
//! does not start.
//!
//! The gate of these tests is this test's own binary: a client starts `/proc/self/exe __gate`, which
//! leads to [`gate`] below. It uses the library's start, lock, socket and proof as the real one does.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "this is a test program with its own main"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use tollgate::folder::{Make, StateFolder};
use tollgate::gate::client::{self, ClientError};
use tollgate::gate::protocol::{Answer, Ask};
use tollgate::gate::socket::{Listener, Place, load_or_make_master_key};
use tollgate::gate::start::Start;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("__gate") => gate(args.get(3).unwrap().parse().unwrap()),
        Some("__client") => one_client(Path::new(args.get(2).unwrap())),
        // What the test runner asks for; there is one suite, and it always runs whole.
        Some("--list") => println!("meetings: test"),
        Some(_) | None => all(),
    }
    ExitCode::SUCCESS
}

fn all() {
    for (name, test) in [
        ("two_spawners_speak_to_one_gate", two_spawners_speak_to_one_gate as fn()),
        ("a_false_gate_is_refused_and_told_nothing", a_false_gate_is_refused_and_told_nothing),
        (
            "a_gate_of_another_container_is_told_as_such",
            a_gate_of_another_container_is_told_as_such,
        ),
        ("a_gate_that_cannot_start_says_why", a_gate_that_cannot_start_says_why),
        ("a_gate_has_no_key_of_whoever_started_it", a_gate_has_no_key_of_whoever_started_it),
        ("without_a_gate_connect_finds_none_and_starts_none", without_a_gate_connect_finds_none),
    ] {
        test();
        println!("test {name} ... ok");
    }
}

/// A gate that holds the folder's lock, answers with its process id, and ends with its last client.
fn gate(state_fd: i32) {
    let Start { state, readiness } = Start::take(state_fd).unwrap();
    if state.path().join("spoilt").exists() {
        return readiness.failed("the ledger of the test\nis spoilt");
    }
    let lock = File::create(state.path().join("lock")).unwrap();
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return readiness.busy();
    }
    let key = load_or_make_master_key(&state).unwrap();
    let listener = Listener::bind(Place::of(&state).unwrap()).unwrap();
    let seen: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    std::fs::write(state.path().join("environment"), seen.join("\n")).unwrap();
    readiness.ready();
    // As many as the tests bring; a connection that does not prove itself does not count.
    let expected =
        std::fs::read_to_string(state.path().join("clients")).unwrap().trim().parse().unwrap();
    let mut served = 0;
    while served < expected {
        let Ok(mut conn) = listener.accept().unwrap().prove(&key) else { continue };
        while let Some(Ask::Status) = conn.receive().unwrap() {
            conn.send(&Answer::Status { runs: Vec::new(), pid: std::process::id() }).unwrap();
        }
        served += 1;
    }
}

/// A client in a process of its own; prints the process id of the gate it got.
fn one_client(path: &Path) {
    let state = StateFolder::open(path, Make::Never, None).unwrap();
    println!("{}", pid(&state));
}

fn pid(state: &StateFolder) -> u32 {
    let mut conn = client::connect_or_spawn(state).unwrap();
    match client::ask(&mut conn, state, &Ask::Status).unwrap() {
        Answer::Status { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}

fn folder(clients: u32) -> (tempfile::TempDir, StateFolder) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateFolder::open(&dir.path().join("state"), Make::IfAbsent, None).unwrap();
    std::fs::write(state.path().join("clients"), clients.to_string()).unwrap();
    (dir, state)
}

fn two_spawners_speak_to_one_gate() {
    for _ in 0..5 {
        let (_dir, state) = folder(8);
        let clients: Vec<_> = (0..8)
            .map(|_| {
                Command::new("/proc/self/exe")
                    .arg("__client")
                    .arg(state.shown())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let pids: Vec<String> = clients
            .into_iter()
            .map(|client| String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap())
            .collect();
        let first = pids.first().unwrap();
        assert!(!first.is_empty() && pids.iter().all(|pid| pid == first), "{pids:?}");
    }
}

fn a_false_gate_is_refused_and_told_nothing() {
    let (_dir, state) = folder(1);
    let socket = Place::of(&state).unwrap().shown();
    let false_gate = UnixListener::bind(&socket).unwrap();
    let heard = thread::spawn(move || {
        let (mut stream, _) = false_gate.accept().unwrap();
        let mut hello = [0; 36];
        stream.read_exact(&mut hello).unwrap();
        // The right protocol without the key.
        stream.write_all(b"TGP1").unwrap();
        stream.write_all(&[7; 64]).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        rest
    });
    let error = client::connect_or_spawn(&state).unwrap_err();
    assert!(matches!(error, ClientError::FalseGate { .. }), "{error}");
    assert!(error.to_string().contains(socket.to_str().unwrap()), "{error}");
    assert_eq!(heard.join().unwrap(), b"", "a false gate is told nothing");
    std::fs::remove_file(socket).unwrap();
}

/// Two containers that share a state folder: a process of one has no number in the other, or another one.
fn a_gate_of_another_container_is_told_as_such() {
    if !rustix::process::geteuid().is_root() {
        return println!("NOT TESTED: needs root, to make PID namespaces");
    }
    let container = |state: &StateFolder, script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", script]);
        command.arg(std::env::current_exe().unwrap()).arg(state.shown());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // The gate outside, the client in a container.
    let (_dir, state) = folder(2);
    pid(&state);
    let said = container(&state, "\"$0\" __client \"$1\"").wait_with_output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("Elsewhere"), "{said}");
    pid(&state);
    // The gate in a container, the client outside.
    let (_dir, state) = folder(2);
    let mut inside = container(&state, "\"$0\" __client \"$1\"; read end");
    let mut started = [0];
    inside.stdout.as_mut().unwrap().read_exact(&mut started).unwrap();
    let error = client::connect_or_spawn(&state).unwrap_err();
    drop(inside.stdin.take());
    inside.wait().unwrap();
    assert!(matches!(error, ClientError::Elsewhere { .. }), "{error}");
    let (socket, said) = (Place::of(&state).unwrap().shown(), error.to_string());
    assert!(said.contains(socket.to_str().unwrap()) && said.contains("kubectl exec"), "{said}");
    std::fs::remove_file(socket).unwrap();
}

fn a_gate_that_cannot_start_says_why() {
    let (_dir, state) = folder(1);
    std::fs::write(state.path().join("spoilt"), "").unwrap();
    let error = client::connect_or_spawn(&state).unwrap_err();
    assert_eq!(error.to_string(), "the gate could not start: the ledger of the test is spoilt");
}

/// `cargo test` runs with `CARGO_*` in the environment; a gate has none of what is not on its list.
fn a_gate_has_no_key_of_whoever_started_it() {
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")), "run by cargo");
    let (_dir, state) = folder(1);
    let gate = pid(&state);
    let seen = std::fs::read_to_string(state.path().join("environment")).unwrap();
    assert!(seen.contains("PATH") && !seen.contains("CARGO"), "{seen}");
    assert_ne!(gate, std::process::id());
}

fn without_a_gate_connect_finds_none() {
    let (_dir, state) = folder(1);
    assert!(client::connect(&state).unwrap().is_none());
    assert!(!state.path().join("environment").exists());
    assert!(!state.path().join("master.key").exists(), "who only asks makes nothing");
}
