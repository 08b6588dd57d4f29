use std::{
    io::{Read, Seek as _, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::Stdio,
};

use rustix::process::{Resource, Rlimit};

use super::cage;
use crate::cage::{probe, said};

#[test]
fn the_exit_code_is_the_commands_own() {
    let Some(cage) = cage(&[]) else { return };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 125", 125),
        ("kill -TERM $$", 143),
        ("kill -9 $$", 137),
    ] {
        let said = cage.sh(script);
        assert_eq!((said.code, said.err.as_str()), (code, ""), "{script}");
    }
}

#[test]
fn a_command_that_cannot_be_executed_ends_with_126_and_one_not_found_with_127() {
    let Some(cage) = cage(&[]) else { return };
    assert_eq!(cage.run(&["/etc/passwd"]).code, 126);
    assert_eq!(cage.run(&["/tmp"]).code, 126);
    assert_eq!(cage.run(&["no-such-program"]).code, 127);
    assert_eq!(cage.run(&["/no/such/program"]).code, 127);
}

#[test]
fn arguments_environment_folder_and_mask_are_the_callers() {
    let Some(cage) = cage(&["--set", "GIVEN", "by the gate", "--unset", "TAKEN"]) else { return };
    let script = "for a; do printf '<%s>' \"$a\"; done; echo; echo \"$MINE|$GIVEN|${TAKEN-none}\"; pwd; umask; ulimit -n";
    let mut command = cage.command(&["sh", "-c", script, "zero", "a b", "", "ü\n"]);
    command.env("MINE", "kept").env("TAKEN", "real-key");
    // The most that it may have stays what it is: raising that is not everybody's right.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(321), maximum: most };
    // SAFETY: both calls are allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::umask(0o027);
            Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
        });
    }
    let said = said(command.output().unwrap());
    assert_eq!(said.out, "<a b><><ü\n>\nkept|by the gate|none\n/tmp\n0027\n321\n", "{}", said.err);
}

#[test]
fn pipes_and_files_are_passed_as_they_are() {
    let Some(cage) = cage(&[]) else { return };
    let mut child = cage
        .command(&["sh", "-c", "cat; echo problem >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let large = vec![b'x'; 1 << 20];
    let mut stdin = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(&large).map(|()| large.len()));
    let said = said(child.wait_with_output().unwrap());
    assert_eq!((said.out.len(), said.err.as_str()), (feed.join().unwrap().unwrap(), "problem\n"));
}

#[test]
fn a_reader_sees_the_end_when_the_command_closes_its_output() {
    let Some(cage) = cage(&[]) else { return };
    let mut child = cage
        .command(&["sh", "-c", "echo first; exec >&-; read wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut all = String::new();
    child.stdout.take().unwrap().read_to_string(&mut all).unwrap();
    assert_eq!(all, "first\n");
    assert_eq!(child.try_wait().unwrap(), None);
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_stream_that_is_a_socket_is_relayed_and_not_passed() {
    let Some(cage) = cage(&[]) else { return };
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let script = format!("{} kinds; cat", probe());
    let mut command = cage.command(&["sh", "-c", &script]);
    command.stdin(OwnedFd::from(theirs.try_clone().unwrap())).stdout(OwnedFd::from(theirs));
    let mut child = command.spawn().unwrap();
    drop(command);
    ours.write_all(b"through\n").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    ours.read_to_string(&mut all).unwrap();
    let (kinds, rest) = all.split_once('\n').unwrap();
    assert!(kinds.starts_with("pipe:") && !kinds.contains("socket:"), "{kinds}");
    assert_eq!(rest, "through\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_directory_or_an_odd_device_as_a_stream_is_refused() {
    let Some(cage) = cage(&[]) else { return };
    for (path, kind) in [("/", "a directory"), ("/dev/kmsg", "a device")] {
        let file = std::fs::File::open(path).unwrap();
        let said = said(cage.command(&["true"]).stdin(file).output().unwrap());
        assert_eq!(said.code, 125);
        assert!(said.err.contains(&format!("stdin is {kind}")), "{}", said.err);
    }
}

#[test]
fn a_stream_that_was_opened_to_be_read_is_no_way_to_write_what_is_read_only_inside() {
    let Some(plain) = cage(&[]) else { return };
    let (fixed, free) = (plain.place().join("fixed"), plain.place().join("free"));
    for file in [&fixed, &free] {
        std::fs::write(file, "first\nsecond\n").unwrap();
    }
    plain.give_away();
    let cage = cage(&["--fix", fixed.to_str().unwrap()]).unwrap();
    for (file, after) in [(&fixed, "first\nsecond\n"), (&free, "first\nsecond\nmore\n")] {
        let mut opened = std::fs::File::open(file).unwrap();
        opened.seek(std::io::SeekFrom::Start(6)).unwrap();
        let script = "cat; echo more >>/proc/self/fd/0; chmod 777 /proc/self/fd/0; true";
        let said = said(cage.command(&["sh", "-c", script]).stdin(opened).output().unwrap());
        assert_eq!(said.out, "second\n", "{}", said.err);
        assert_eq!(std::fs::read_to_string(file).unwrap(), after);
    }
}

#[test]
fn a_stream_that_is_not_there_inside_and_could_be_written_is_refused() {
    let Some(plain) = cage(&[]) else { return };
    let folder = plain.place().join("state");
    let file = folder.join("file");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&file, "x").unwrap();
    plain.give_away();
    let cage = cage(&["--absent", folder.to_str().unwrap()]).unwrap();
    let said_of = |file: std::fs::File| said(cage.command(&["cat"]).stdin(file).output().unwrap());
    let refused = said_of(std::fs::File::open(&file).unwrap());
    assert_eq!((refused.code, refused.out.as_str()), (125, ""));
    assert!(refused.err.contains("which is not there inside"), "{}", refused.err);
    // One that has no name any more is nobody else's: a shell's here document.
    let nameless = std::fs::File::open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(said_of(nameless).out, "x");
}

#[test]
fn only_the_standard_streams_and_what_is_shared_is_inherited() {
    let Some(plain) = cage(&[]) else { return };
    let file = std::fs::File::open("/etc/passwd").unwrap();
    let folder = std::fs::File::open("/").unwrap();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let memory = rustix::fs::memfd_create("m", rustix::fs::MemfdFlags::empty()).unwrap();
    let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
    let all = [
        file.as_raw_fd(),
        folder.as_raw_fd(),
        socket.as_raw_fd(),
        tcp.as_raw_fd(),
        memory.as_raw_fd(),
        namespace.as_raw_fd(),
    ];
    let run = |cage: &crate::cage::Cage| {
        let mut command = cage.command(&[probe().as_str(), "descriptors"]);
        // SAFETY: only duplicates descriptors.
        unsafe {
            command.pre_exec(move || {
                for (at, fd) in (20..).zip(all) {
                    libc::dup2(fd, at);
                }
                Ok(())
            });
        }
        said(command.output().unwrap())
    };
    assert_eq!(run(&plain).out, "0 1 2\n");
    let sharing = cage(&["--share-fd", "20"]).unwrap();
    assert_eq!(run(&sharing).out, "0 1 2 20\n");
    let missing = cage(&["--share-fd", "77"]).unwrap();
    assert!(run(&missing).err.contains("--share-fd 77: not open"));
}

#[test]
fn a_signal_sent_to_front_reaches_the_command() {
    let Some(cage) = cage(&[]) else { return };
    for (signal, name) in
        [(15, "TERM"), (1, "HUP"), (2, "INT"), (3, "QUIT"), (10, "USR1"), (12, "USR2")]
    {
        let script =
            format!("trap 'echo caught; exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child =
            cage.command(&["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        out.read_exact(&mut ready).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(
            pid,
            rustix::process::Signal::from_named_raw(signal).unwrap(),
        )
        .unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("caught\n", Some(7)), "{name}");
    }
}

#[test]
fn when_front_is_killed_everything_inside_ends() {
    let Some(cage) = cage(&[]) else { return };
    let script = "(setsid sh -c 'echo up; exec sleep 1000' &) ; exec sleep 1000";
    let mut child = cage.command(&["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut up = [0; 3];
    out.read_exact(&mut up).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Ends only when the last process that holds the pipe has.
    let mut rest = String::new();
    assert_eq!(out.read_to_string(&mut rest).unwrap(), 0);
}

#[test]
fn when_the_gate_ends_the_run_ends_with_125() {
    let Some(plain) = cage(&[]) else { return };
    let pid = plain.place().join("pid");
    let cage = cage(&["--gate-pid", pid.to_str().unwrap()]).unwrap();
    let mut child = cage
        .command(&["sh", "-c", "echo up; exec sleep 1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let gate = std::fs::read_to_string(pid).unwrap().parse().unwrap();
    let gate = rustix::process::Pid::from_raw(gate).unwrap();
    rustix::process::kill_process(gate, rustix::process::Signal::KILL).unwrap();
    let said = said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 125);
    assert!(said.err.contains("the gate ended"), "{}", said.err);
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let Some(cage) = cage(&[]) else { return };
    // The pipe would stay open as long as the sleeper lives.
    assert_eq!(cage.sh("sleep 1000 & echo done").out, "done\n");
}
