//! Every connect is made on the command's behalf: to what was made inside, and to nothing else.

use std::{
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{
    FORM, UIDS, cage,
    unix::{Outside, inside, open, outside, text},
};
use crate::cage::{Cage, Form, example, said};

const EACCES: &str = "error 13";
const ECONNREFUSED: &str = "error 111";
const ESOCKTNOSUPPORT: &str = "error 94";

/// A shell inside that waits until it is told to go on: what is made meanwhile was not there when it began.
struct Waiting(Child);

impl Waiting {
    fn with(cage: &Cage, script: &str) -> Self {
        let mut command = cage.command(&["sh", "-c", &format!("echo; read go; {script}")]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        Self(child)
    }

    fn go_on(mut self) -> String {
        drop(self.0.stdin.take());
        let said = said(self.0.wait_with_output().unwrap());
        format!("{}{}", said.out, said.err).trim().to_owned()
    }
}

fn sockets() -> String {
    text(&example("sockets")).to_owned()
}

#[test]
fn a_socket_made_after_the_start_is_refused_wherever_it_lies() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let home = std::env::var("HOME").unwrap();
        let folders: &[&str] =
            if uid == "0" { &["/tmp", "/run", &home] } else { &["/tmp", "/run"] };
        for folder in folders {
            let place = tempfile::tempdir_in(folder).unwrap();
            open(place.path());
            let script = format!("{} stream {}/*/outer.sock", sockets(), place.path().display());
            let waiting = Waiting::with(&cage, &script);
            let outer = Outside::in_folder(place.path());
            assert_eq!(waiting.go_on(), EACCES, "{folder} as {uid}");
            assert_eq!(outer.heard(), 0);
            assert_eq!(outside(&["stream", text(&outer.path())]), "ok sent", "it tests nothing");
        }
    }
}

/// Each way that leads to one and the same socket outside.
#[test]
fn no_other_way_to_its_file_leads_to_a_socket_outside() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let place = tempfile::tempdir().unwrap();
        open(place.path());
        let (p, s) = (text(place.path()), sockets());
        let ways = [
            format!("ln -s outer.sock {p}/d/link; {s} stream {p}/d/link"),
            format!("ln -s d {p}/l; {s} stream {p}/l/outer.sock"),
            format!("{s} stream /proc/self/root{p}/d/outer.sock"),
            format!("{s} stream /proc/$$/root{p}/d/outer.sock"),
            format!("cd {p}/d; {s} stream outer.sock"),
            format!("cd {p}/d; {s} stream ../d/./outer.sock"),
            format!("cd {p}/d; {s} stream /proc/self/cwd/outer.sock"),
            format!("exec 5<{p}/d; {s} stream /dev/fd/5/outer.sock"),
            format!("{s} opath {p}/d/outer.sock"),
            format!("{s} chroot {p}/d /outer.sock"),
            format!("{s} chroot {p}/d ../../outer.sock"),
            format!(
                "mv {p}/d/outer.sock {p}/d/renamed; {s} stream {p}/d/renamed; mv {p}/d/renamed {p}/d/outer.sock"
            ),
        ];
        // The kernel lets only its owner make a second name for a socket.
        let hard = format!("ln {p}/d/outer.sock {p}/d/hard; {s} stream {p}/d/hard");
        // Who runs as uid 0 without capabilities cannot map it in a namespace of its own.
        let nested = [
            format!("unshare -Ur {s} stream {p}/d/outer.sock"),
            format!("unshare -Urn {s} stream {p}/d/outer.sock"),
            format!("unshare -Urmpf --mount-proc {s} opath {p}/d/outer.sock"),
            format!(
                "unshare -Urm sh -c 'mkdir {p}/m; mount --bind {p}/d {p}/m; {s} stream {p}/m/outer.sock'"
            ),
        ];
        let more = if uid == "0" { vec![hard] } else { nested.into() };
        for way in ways.into_iter().chain(more) {
            let waiting = Waiting::with(&cage, &way);
            let outer = placed(place.path());
            let said = waiting.go_on();
            assert!(said.ends_with(EACCES), "{way} as {uid}: {said}");
            assert_eq!(outer.heard(), 0, "{way} as {uid}");
            std::fs::remove_dir_all(place.path()).unwrap();
            std::fs::create_dir(place.path()).unwrap();
            open(place.path());
        }
    }
}

/// A program outside with its socket at `d/outer.sock`.
fn placed(place: &Path) -> Outside {
    let outer = Outside::in_folder(place);
    std::fs::create_dir(place.join("d")).unwrap();
    open(&place.join("d"));
    std::fs::rename(outer.path(), place.join("d/outer.sock")).unwrap();
    outer
}

#[test]
fn the_same_ways_lead_to_a_socket_inside() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let place = tempfile::tempdir().unwrap();
        open(place.path());
        let (p, s) = (text(place.path()), sockets());
        let serve = "import socket,sys,os\n\
            s=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(64)\nos.chmod(sys.argv[1],0o777)\n\
            print('up',flush=True)\nwhile True: s.accept()[0].recv(9)";
        let nested = format!(
            "unshare -Ur {s} stream sock; unshare -Urn {s} stream sock; unshare -Urmpf --mount-proc {s} opath sock;"
        );
        let (nested, count) = if uid == "0" { ("", 16) } else { (nested.as_str(), 19) };
        let script = format!(
            "mkdir {p}/d; mkfifo {p}/up; python3 -c \"{serve}\" {p}/d/sock >{p}/up & read up <{p}/up; cd {p}/d; \
             ln -s sock link; ln -s d ../l; exec 5<.; \
             for to in {p}/d/sock {p}/d/link {p}/l/sock {p}/l/link /proc/self/root{p}/d/sock sock ../d/./sock ./link \
             /proc/self/cwd/sock /proc/thread-self/cwd/link /dev/fd/5/sock; do {s} stream $to; done; \
             {s} opath {p}/d/sock; {s} chroot {p}/d /sock; {s} chroot {p}/d ../link; {nested} ln sock hard; {s} stream hard; \
             mv sock other; {s} stream other; kill $!"
        );
        let said = cage.sh(&script);
        assert_eq!(said.out, "ok sent\n".repeat(count), "as {uid}: {}", said.err);
    }
}

#[test]
fn a_socket_made_in_one_network_namespace_inside_is_reached_from_another() {
    let Some(cage) = cage(&["--uid", "1000"]) else { return };
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    let (p, s) = (text(place.path()), sockets());
    let serve = "import socket,sys\n\
        s=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nprint('up',flush=True)\nwhile True: s.accept()[0].recv(9)";
    let script = format!(
        "mkfifo {p}/up; unshare -Urn python3 -c \"{serve}\" {p}/sock >{p}/up & read up <{p}/up; \
         {s} stream {p}/sock; unshare -Urn {s} stream {p}/sock"
    );
    assert_eq!(cage.sh(&script).out, "ok sent\nok sent\n");
}

#[test]
fn sockets_of_every_kind_work_among_processes_inside() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let place = tempfile::tempdir().unwrap();
        open(place.path());
        let at = |name: &str| text(&place.path().join(name)).to_owned();
        assert_eq!(inside(&cage, &["inside", "stream", &at("s")]), "ok hello", "as {uid}");
        // Where no kernel program can tell whom a datagram names, there are no such sockets.
        let datagram = if FORM == Form::KernelPrograms { "ok hello" } else { ESOCKTNOSUPPORT };
        assert_eq!(inside(&cage, &["inside", "dgram", &at("d")]), datagram, "as {uid}");
        assert_eq!(inside(&cage, &["abstract", "some-name"]), "ok connected", "as {uid}");
        // Who connects is the caller, to the server's eyes, and not who connected on its behalf.
        assert_eq!(inside(&cage, &["peer", &at("p")]), format!("ok {uid} {uid}"));
        // Left over from a program that ended: refused as without us, so that the next one takes its place.
        assert_eq!(inside(&cage, &["stream", &at("s")]), ECONNREFUSED);
    }
}

#[test]
fn datagrams_and_packets_do_not_reach_a_socket_outside() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let place = tempfile::tempdir().unwrap();
        open(place.path());
        let (p, s) = (text(place.path()), sockets());
        let script = format!(
            "{s} dgram {p}/dgram; {s} sendto {p}/dgram; {s} pair-sendto {p}/dgram; {s} seqpacket {p}/packet"
        );
        let waiting = Waiting::with(&cage, &script);
        let datagram = UnixDatagram::bind(place.path().join("dgram")).unwrap();
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK);
        let packet = rustix::net::socket_with(kind.0, kind.1, kind.2, None).unwrap();
        let at = SocketAddrUnix::new(place.path().join("packet")).unwrap();
        rustix::net::bind(packet.as_fd(), &at).unwrap();
        rustix::net::listen(packet.as_fd(), 8).unwrap();
        open(&place.path().join("dgram"));
        open(&place.path().join("packet"));
        let said: Vec<String> = waiting.go_on().lines().map(str::to_owned).collect();
        // By a kernel program where there is one for that, else there are no such sockets.
        for (line, word) in said.iter().zip(["dgram", "sendto", "pair-sendto"]) {
            let by_program = if word == "dgram" { EACCES } else { "error 1" };
            assert!(
                [by_program, ESOCKTNOSUPPORT].contains(&line.as_str()),
                "{word} as {uid}: {line}"
            );
        }
        assert_eq!(said[3], EACCES, "as {uid}");
        datagram.set_nonblocking(true).unwrap();
        assert!(datagram.recv(&mut [0; 64]).is_err());
        assert!(rustix::net::accept(packet.as_fd()).is_err());
        for word in ["dgram", "sendto", "pair-sendto"] {
            assert!(
                outside(&[word, text(&place.path().join("dgram"))]).starts_with("ok"),
                "{word}"
            );
            assert!(datagram.recv(&mut [0; 64]).is_ok(), "{word}: it tests nothing");
        }
    }
}

#[test]
fn what_changes_under_a_connect_leads_it_to_nobody_outside() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        // A socket connects once, so the second race counts few.
        for (race, least) in [("race", 100), ("link-race", 100), ("dup-race", 5)] {
            let place = tempfile::tempdir().unwrap();
            open(place.path());
            let p = text(place.path());
            let script = format!("{} {race} {p}/d/inner.sock {p}/d/outer.sock", sockets());
            let waiting = Waiting::with(&cage, &script);
            let outer = placed(place.path());
            let counts: Vec<u32> =
                waiting.go_on().split(' ').map(|count| count.parse().unwrap()).collect();
            assert!(counts[0] > least && counts[1] > least, "{race} as {uid}: {counts:?}");
            assert_eq!(outer.heard(), 0, "{race} as {uid}");
        }
    }
}

#[test]
fn a_connect_that_is_not_waited_for_is_in_progress_and_arrives() {
    let Some(cage) = cage(&[]) else { return };
    for to in ["1.2.3.4:443", "[2001:db8::1]:80"] {
        assert_eq!(inside(&cage, &["tcp-nonblocking", to]), format!("ok 115 {to}"));
    }
    assert_eq!(cage.log(), ["tcp 1.2.3.4:443", "tcp [2001:db8::1]:80"]);
}

#[test]
fn odd_arguments_are_answered_as_the_kernel_does() {
    let Some(cage) = cage(&[]) else { return };
    assert_eq!(inside(&cage, &["odd"]), outside(&["odd"]));
}

#[test]
fn connects_that_wait_do_not_hold_up_others() {
    let Some(cage) = cage(&[]) else { return };
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    let path = place.path().join("s");
    assert_eq!(inside(&cage, &["full-backlog", text(&path)]), "full hello");
}

#[test]
fn a_signal_neither_breaks_a_connect_nor_makes_it_twice() {
    let Some(cage) = cage(&[]) else { return };
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    assert_eq!(inside(&cage, &["handler", text(&place.path().join("s"))]), "ok 2000");
}

#[test]
fn nothing_inside_can_take_the_supervisors_place() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        // EBUSY: another listener of a filter could let every connect pass.
        assert_eq!(inside(&cage, &["listener"]), "error 16", "as {uid}");
        // PID 1 holds the listener, and there is no signal for it from inside.
        let said = cage.sh("for s in 9 15 11 6 19; do kill -$s 1; done; sleep 0.1; echo alive");
        assert_eq!(said.out, "alive\n", "as {uid}");
        let probe = crate::cage::probe();
        assert_eq!(cage.sh(&format!("{probe} getfd 1")).out, "error 1\n", "as {uid}");
    }
    assert_eq!(outside(&["listener"]).split(' ').next(), Some("ok"), "it tests nothing");
}

/// One that did have them could be told by anybody inside which sockets were made inside.
#[test]
fn a_connect_has_none_of_the_supervisors_rights() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        assert_eq!(inside(&cage, &["netlink", "1"]), "error 1", "as {uid}");
        assert_eq!(inside(&cage, &["netlink", "0"]), "ok connected", "as {uid}");
    }
    assert_eq!(outside(&["netlink", "1"]), "ok connected", "it tests nothing");
}

#[test]
fn a_socket_that_is_shared_is_reached_and_only_that_one() {
    for &uid in UIDS {
        let Some(_root) = cage(&[]) else { return };
        let place = tempfile::tempdir_in("/run").unwrap();
        open(place.path());
        let path = place.path().join("docker.sock");
        // A stand-in for an engine.
        let mut engine = std::process::Command::new("python3")
            .args(["-c", "import http.server,socketserver,sys,os\n\
                class H(http.server.BaseHTTPRequestHandler):\n  def do_GET(s):\n    s.send_response(200);s.end_headers();s.wfile.write(b'[]')\n  \
                def address_string(s): return ''\n  def log_message(s,*a): pass\n\
                s=socketserver.UnixStreamServer(sys.argv[1],H);os.chmod(sys.argv[1],0o777);print('up',flush=True);s.serve_forever()"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(engine.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
        let ask = format!(
            "curl -s --max-time 5 --unix-socket {} http://engine/containers",
            path.display()
        );
        let shared = cage(&["--uid", uid, "--share-socket", text(&path)]).unwrap();
        let given = shared.sh(&ask);
        let linked = shared.sh(&ask.replace("/run/", "/var/run/"));
        let other = Outside::in_folder(place.path());
        let refused = inside(&shared, &["stream", text(&other.path())]);
        let kept = cage(&["--uid", uid]).unwrap().sh(&ask);
        engine.kill().unwrap();
        engine.wait().unwrap();
        assert_eq!((given.out.as_str(), given.code), ("[]", 0), "as {uid}: {}", given.err);
        assert_eq!((linked.out.as_str(), linked.code), ("[]", 0), "as {uid}: {}", linked.err);
        assert_eq!((kept.out.as_str(), kept.code), ("", 7), "as {uid}");
        assert_eq!((refused.as_str(), other.heard()), (ECONNREFUSED, 0), "as {uid}");
    }
}

#[test]
fn a_path_is_looked_up_and_connected_to_with_the_callers_rights() {
    let Some(_root) = cage(&[]) else { return };
    let outer = Outside::in_folder(Path::new("/tmp"));
    let path = outer.path();
    let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
    let cage = cage(&["--uid", "1000", "--share-socket", text(&path)]).unwrap();
    let rights = [(0o777, 0o755, "ok sent"), (0o700, 0o755, EACCES), (0o777, 0o700, EACCES)];
    // Who may not enter the folder cannot share from it either, but root can.
    let tried = if FORM == Form::KernelPrograms { 3 } else { 2 };
    for (file, folder, said) in rights.into_iter().take(tried) {
        std::fs::set_permissions(&path, mode(file)).unwrap();
        std::fs::set_permissions(outer.place.path(), mode(folder)).unwrap();
        assert_eq!(inside(&cage, &["stream", text(&path)]), said, "{file:o} {folder:o}");
        let same = format!("/proc/self/root{}", path.display());
        assert_eq!(inside(&cage, &["stream", &same]), said, "{file:o} {folder:o}");
    }
    assert_eq!(outer.heard(), 2);
}

#[test]
fn on_a_file_system_of_layers_sockets_inside_work_and_those_outside_are_refused() {
    let Some(cage) = cage(&[]) else { return };
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    let (p, s) = (text(place.path()), sockets());
    // Layers of one file system, and of two: the second shows files with devices of their own.
    for lower in ["/tmp", "/dev/shm"] {
        let lower = tempfile::tempdir_in(lower).unwrap();
        let cage = cage.line();
        let script = format!(
            "cd {p}; mkdir -p upper work all; mount -t overlay -o lowerdir={},upperdir=upper,workdir=work none all; chmod 777 all; \
             {cage} -- sh -c '{s} inside stream {p}/all/in; touch {p}/all/go; while ! [ -e {p}/all/up ]; do sleep 0.01; done; \
             {s} stream {p}/all/in; {s} stream {p}/all/out' & \
             while ! [ -e all/go ]; do sleep 0.01; done; \
             python3 -c \"import socket,sys,time;s=socket.socket(socket.AF_UNIX);s.bind('all/out');s.listen();open('all/up','w');\
             s.settimeout(3)\ntry: s.accept();print('REACHED')\nexcept TimeoutError: pass\" & wait; umount all; rm -rf upper work all",
            lower.path().display()
        );
        let output = std::process::Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .output()
            .unwrap();
        let said = said(output);
        assert_eq!(said.out, format!("ok hello\n{ECONNREFUSED}\n{EACCES}\n"), "{}", said.err);
    }
}

#[test]
fn below_another_filter_with_a_listener_nothing_runs() {
    let Some(_cage) = cage(&[]) else { return };
    let command = [
        sockets(),
        "below-listener".into(),
        text(&example("cage")).into(),
        "--".into(),
        "echo".into(),
    ];
    let output = std::process::Command::new(&command[0]).args(&command[1..]).output().unwrap();
    let said = said(output);
    assert_eq!((said.code, said.out.as_str()), (125, ""));
    assert!(said.err.contains("another program that watches connects"), "{}", said.err);
}

#[test]
fn what_cannot_be_shared_stops_the_run() {
    let Some(cage) = cage(&["--share-socket", "/etc/passwd"]) else { return };
    let said = cage.sh("echo ran");
    assert_eq!((said.code, said.out.as_str()), (125, ""));
    assert!(said.err.contains("--share-socket /etc/passwd: it is no socket"), "{}", said.err);
}

#[test]
fn a_nested_sandbox_still_works_for_another_user_and_leads_nowhere() {
    let Some(cage) = cage(&["--uid", "1000"]) else { return };
    if std::process::Command::new("bwrap").arg("--version").output().is_err() {
        eprintln!("NOT TESTED: needs bubblewrap");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    let (p, s) = (text(place.path()), sockets());
    let sandbox =
        format!("bwrap --ro-bind / / --bind {p} {p} --dev /dev --proc /proc --unshare-all");
    let script = format!(
        "{sandbox} sh -c 'echo pid $$; {s} inside stream {p}/in; {s} opath {p}/*/outer.sock; {s} stream {p}/*/outer.sock'"
    );
    let waiting = Waiting::with(&cage, &script);
    let outer = Outside::in_folder(place.path());
    assert_eq!(waiting.go_on(), format!("pid 2\nok hello\n{EACCES}\n{EACCES}"));
    assert_eq!(outer.heard(), 0);
}

#[test]
fn a_connect_stays_cheap() {
    let Some(cage) = cage(&[]) else { return };
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    let begun = Instant::now();
    for words in [["bench-tcp", "127.0.0.1:9"], ["bench-unix", text(&place.path().join("s"))]] {
        let said = inside(&cage, &[words[0], words[1], "1000"]);
        eprintln!("{} inside: {said}", words[0]);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}
