//! Real cgroups, in a network of each test's own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

const PORTS: Ports = Ports { intake: 27801, responder: 27853 };

/// Connects, by TCP or UDP, says a word, and prints what it hears.
const PROBE: &str = r#"
import socket, sys
kind, host, port = sys.argv[1:4]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(5)
try:
    s.connect((host, int(port)))
    s.send(b"?")
    print(s.recv(512).decode())
except OSError as error:
    print("error", error.errno)
"#;

/// A cgroup of one test; removed at its end, with what is below.
struct Group {
    folder: PathBuf,
    cgroup: String,
}

impl Group {
    fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        Self::at(&format!("attached-{}-{nth}-{name}", std::process::id()))
    }

    fn at(below: &str) -> Self {
        let mount = launch::cgroup_mounts().unwrap().remove(0);
        let folder = mount.point.join(below);
        fs::create_dir(&folder).unwrap();
        let cgroup = mount.cgroup_at(&folder).unwrap().into_os_string().into_string().unwrap();
        Self { folder, cgroup }
    }

    fn below(&self, name: &str) -> Self {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        Self { folder, cgroup: format!("{}/{name}", self.cgroup) }
    }

    fn target(&self) -> Target {
        Target::Cgroup(self.cgroup.clone().into())
    }

    fn start(&self, kind: &str, host: &str, port: u16) -> Child {
        let script = format!(
            "echo 0 > {}/cgroup.procs && exec python3 -c \"$0\" \"$@\"",
            self.folder.display()
        );
        Command::new("sh")
            .args(["-c", &script, PROBE, kind, host, &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn probe(&self, kind: &str, host: &str, port: u16) -> String {
        let output = self.start(kind, host, port).wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.folder);
        // A test that failed is said to have, not what it left.
        assert!(removed.is_ok() || thread::panicking(), "{removed:?}");
    }
}

/// Runs `test` where 192.0.2.1 is a host that says `direct` at port 80, with a gate that says who asked for what.
#[expect(clippy::print_stderr, reason = "a test that did not run must not pass silently")]
fn with_a_gate(test: fn(&Arc<Attachments>)) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT TESTED: needs root");
        return;
    }
    thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        for command in ["link set lo up", "addr add 192.0.2.1/32 dev lo"] {
            assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success());
        }
        let attachments = Arc::new(Attachments::new(PORTS));
        listen("192.0.2.1:80", |_, _| "direct".to_owned());
        for host in ["127.0.0.1", "[::1]"] {
            let gate = Arc::clone(&attachments);
            listen(&format!("{host}:{}", PORTS.intake), move |peer, at| {
                match gate.origin(peer, at) {
                    Some(Origin { wanted, by }) => {
                        format!("{wanted} for {} at {}", by.cgroup, by.attachment)
                    }
                    None => "nobody".to_owned(),
                }
            });
            let gate = Arc::clone(&attachments);
            answer_questions(&format!("{host}:{}", PORTS.responder), move |peer, at| {
                who(gate.asker(Transport::Udp, peer, at))
            });
        }
        let gate = Arc::clone(&attachments);
        listen("127.0.0.1:27802", move |peer, at| who(gate.asker(Transport::Tcp, peer, at)));
        test(&attachments);
    })
    .join()
    .unwrap();
}

fn who(member: Option<Member>) -> String {
    member.map_or("nobody".to_owned(), |member| member.cgroup.to_string())
}

fn listen(at: &str, says: impl Fn(SocketAddr, SocketAddr) -> String + Send + 'static) {
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let said = says(peer, stream.local_addr().unwrap());
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
        }
    });
}

fn answer_questions(at: &str, says: impl Fn(SocketAddr, SocketAddr) -> String + Send + 'static) {
    let socket = UdpSocket::bind(at).unwrap();
    thread::spawn(move || {
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 512]) {
            let said = says(peer, socket.local_addr().unwrap());
            socket.send_to(said.as_bytes(), peer).unwrap();
        }
    });
}

#[test]
fn what_an_attached_cgroup_connects_to_is_known_with_who_asked() {
    with_a_gate(|gate| {
        let (bot, slice, free) =
            (Group::new("bot.service"), Group::new("a.slice"), Group::new("free"));
        let inner = slice.below("inner.service");
        let at = Timestamp(7);
        let attached = gate.attach(&bot.target(), at).unwrap();
        assert_eq!(attached, Attachment { cgroup: bot.cgroup.clone(), at });
        gate.attach(&Target::Cgroup(slice.folder.clone()), at).unwrap();
        for (group, attachment) in [(&bot, &bot), (&slice, &slice), (&inner, &slice)] {
            let by = format!("for {} at {}", group.cgroup, attachment.cgroup);
            assert_eq!(group.probe("tcp", "192.0.2.1", 80), format!("192.0.2.1:80 {by}"));
            assert_eq!(group.probe("tcp", "2001:db8::9", 443), format!("[2001:db8::9]:443 {by}"));
            assert_eq!(group.probe("tcp", "::ffff:192.0.2.1", 80), format!("192.0.2.1:80 {by}"));
        }
        assert_eq!(free.probe("tcp", "192.0.2.1", 80), "direct");
        assert_eq!(free.probe("tcp", "127.0.0.1", PORTS.intake), "nobody");
        drop(inner);
    });
}

#[test]
fn who_asks_for_names_or_comes_by_the_proxy_is_known_by_the_socket() {
    with_a_gate(|gate| {
        let (bot, free) = (Group::new("bot"), Group::new("free"));
        gate.attach(&bot.target(), Timestamp(0)).unwrap();
        let inner = bot.below("inner");
        for group in [&bot, &inner] {
            for server in ["9.9.9.9", "2001:db8::9", "::ffff:9.9.9.9"] {
                assert_eq!(group.probe("udp", server, 53), group.cgroup, "{server}");
            }
            assert_eq!(group.probe("tcp", "127.0.0.1", 27802), group.cgroup);
        }
        assert_eq!(free.probe("udp", "127.0.0.1", PORTS.responder), "nobody");
        assert_eq!(free.probe("tcp", "127.0.0.1", 27802), "nobody");
        drop(inner);
    });
}

#[test]
fn what_is_detached_goes_direct_and_is_attached_no_longer() {
    with_a_gate(|gate| {
        let (bot, other) = (Group::new("bot.service"), Group::new("other"));
        gate.attach(&bot.target(), Timestamp(0)).unwrap();
        gate.attach(&other.target(), Timestamp(0)).unwrap();
        assert_ne!(bot.probe("tcp", "192.0.2.1", 80), "direct");
        let unit = Target::Unit(bot.folder.file_name().unwrap().to_str().unwrap().to_owned());
        assert_eq!(gate.detach(&unit).unwrap().cgroup, bot.cgroup);
        assert_eq!(bot.probe("tcp", "192.0.2.1", 80), "direct");
        assert_ne!(other.probe("tcp", "192.0.2.1", 80), "direct");
        let again = gate.detach(&bot.target()).unwrap_err();
        assert!(matches!(again, AttachError::NotAttached { .. }));
        assert!(again.to_string().contains(&other.cgroup), "{again}");
        gate.detach(&Target::Cgroup(other.folder.clone())).unwrap();
        assert_eq!(gate.list(), []);
        assert_eq!(gate.readiness(), Vec::<String>::new());
    });
}

#[test]
fn a_connection_that_waits_at_a_detachment_is_nobodys() {
    with_a_gate(|_| {
        let (bot, gate) = (Group::new("bot"), Attachments::new(Ports { intake: 27901, ..PORTS }));
        let intake = TcpListener::bind("127.0.0.1:27901").unwrap();
        gate.attach(&bot.target(), Timestamp(0)).unwrap();
        let probe = bot.start("tcp", "192.0.2.1", 80);
        let (stream, peer) = intake.accept().unwrap();
        let at = stream.local_addr().unwrap();
        assert_eq!(*gate.origin(peer, at).unwrap().by.cgroup, *bot.cgroup);
        gate.detach(&bot.target()).unwrap();
        assert_eq!(gate.origin(peer, at), None);
        // Attached anew, it is still nobody's: the kernel would not say when its source is another's.
        gate.attach(&bot.target(), Timestamp(0)).unwrap();
        assert_eq!(gate.origin(peer, at), None);
        drop(stream);
        assert!(probe.wait_with_output().unwrap().status.success());
    });
}

#[test]
fn a_unit_is_found_by_its_name_below_any_slice() {
    with_a_gate(|gate| {
        let (slice, other) = (Group::new("a.slice"), Group::new("b.slice"));
        let name = format!("unit-{}.service", std::process::id());
        let unit = slice.below(&name);
        let asked = Target::Unit(name.strip_suffix(".service").unwrap().to_owned());
        assert_eq!(gate.attach(&asked, Timestamp(0)).unwrap().cgroup, unit.cgroup);
        gate.detach(&asked).unwrap();
        let twin = other.below(&name);
        let error = gate.attach(&asked, Timestamp(0)).unwrap_err();
        assert!(matches!(error, AttachError::Ambiguous { .. }));
        let said = error.to_string();
        assert!(said.contains(&unit.cgroup) && said.contains(&twin.cgroup), "{said}");
        drop((unit, twin));
        let error = gate.attach(&asked, Timestamp(0)).unwrap_err();
        assert!(matches!(error, AttachError::Absent { .. }), "{error}");
        assert_eq!(gate.list(), []);
    });
}

#[test]
fn the_root_what_overlaps_and_what_is_no_cgroup_are_refused() {
    with_a_gate(|gate| {
        let bot = Group::new("bot");
        let inner = bot.below("inner");
        let root = Target::Cgroup(launch::cgroup_mounts().unwrap().remove(0).point);
        assert!(matches!(gate.attach(&root, Timestamp(0)), Err(AttachError::Root)));
        gate.attach(&inner.target(), Timestamp(0)).unwrap();
        for over in [&bot, &inner] {
            let refused = gate.attach(&over.target(), Timestamp(0));
            assert!(matches!(refused, Err(AttachError::Overlaps { .. })), "{refused:?}");
        }
        gate.detach(&inner.target()).unwrap();
        gate.attach(&bot.target(), Timestamp(0)).unwrap();
        let refused = gate.attach(&inner.target(), Timestamp(0));
        assert!(matches!(refused, Err(AttachError::Overlaps { .. })), "{refused:?}");
        for nothing in ["/no/such/cgroup", "bot", "/sys/fs/cgroup/../../../tmp"] {
            let refused = gate.attach(&Target::Cgroup(nothing.into()), Timestamp(0));
            let expected =
                matches!(refused, Err(AttachError::Absent { .. } | AttachError::NoCgroup(..)));
            assert!(expected, "{nothing}: {refused:?}");
        }
        drop(inner);
    });
}

#[test]
fn a_unit_that_starts_anew_is_attached_again() {
    with_a_gate(|gate| {
        let bot = Group::new("bot.service");
        gate.attach(&bot.target(), Timestamp(3)).unwrap();
        assert_eq!(gate.refresh(), []);
        assert_eq!(gate.readiness(), [format!("{ADVISORY}: {}", bot.cgroup)]);
        fs::remove_dir(&bot.folder).unwrap();
        let line = |standing| Listed {
            attachment: Attachment { cgroup: bot.cgroup.clone(), at: Timestamp(3) },
            standing,
        };
        assert_eq!(gate.refresh(), [line(Standing::Absent)]);
        assert_eq!(gate.refresh(), [], "it is said once");
        let said = gate.readiness();
        assert_eq!(said, [format!("not redirected: {}: the cgroup is not there", bot.cgroup)]);
        fs::create_dir(&bot.folder).unwrap();
        assert_eq!(bot.probe("tcp", "192.0.2.1", 80), "direct", "the gap");
        assert_eq!(gate.refresh(), [line(Standing::Redirected)]);
        assert_ne!(bot.probe("tcp", "192.0.2.1", 80), "direct");
        // Both at once, between two looks.
        fs::remove_dir(&bot.folder).unwrap();
        fs::create_dir(&bot.folder).unwrap();
        gate.refresh();
        assert_ne!(bot.probe("tcp", "192.0.2.1", 80), "direct");
    });
}

#[test]
fn a_restart_takes_up_what_was_attached_and_waits_for_what_is_not_there() {
    with_a_gate(|gate| {
        let (bot, late) = (Group::new("bot"), Group::new("late"));
        let attachment = |cgroup: &str| Attachment { cgroup: cgroup.to_owned(), at: Timestamp(1) };
        fs::remove_dir(&late.folder).unwrap();
        let refused =
            gate.restore(vec![attachment(&bot.cgroup), attachment(&late.cgroup), attachment("/")]);
        assert!(matches!(refused.as_slice(), [(_, AttachError::Root)]), "{refused:?}");
        let standing =
            |gate: &Attachments| gate.list().iter().map(|one| one.standing).collect::<Vec<_>>();
        assert_eq!(standing(gate), [Standing::Redirected, Standing::Absent]);
        assert_ne!(bot.probe("tcp", "192.0.2.1", 80), "direct");
        fs::create_dir(&late.folder).unwrap();
        gate.refresh();
        assert_eq!(standing(gate), [Standing::Redirected, Standing::Redirected]);
        assert_ne!(late.probe("tcp", "192.0.2.1", 80), "direct");
    });
}

#[test]
fn when_the_gate_is_gone_nothing_is_redirected() {
    with_a_gate(|_| {
        let bot = Group::new("bot");
        let other = Attachments::new(PORTS);
        other.attach(&bot.target(), Timestamp(0)).unwrap();
        assert_ne!(bot.probe("tcp", "192.0.2.1", 80), "direct");
        drop(other);
        assert_eq!(bot.probe("tcp", "192.0.2.1", 80), "direct");
    });
}

#[test]
fn what_an_attached_cgroup_tries_past_the_gate_is_told_once_and_with_who_it_was() {
    with_a_gate(|gate| {
        let group = Group::new("tries");
        let inner = group.below("inner");
        assert!(gate.attempts().is_none(), "nothing is attached");
        gate.attach(&group.target(), Timestamp(1)).unwrap();
        let mut attempts = gate.attempts().unwrap();
        assert!(gate.attempts().is_none(), "there is one reader");
        assert_eq!(inner.probe("udp", "192.0.2.1", 9), "error 1");
        let attempt = attempts.next().unwrap();
        assert_eq!(attempt.destination, Some("192.0.2.1:9".parse().unwrap()));
        assert_eq!(*gate.member_of(attempt.cgroup).unwrap().cgroup, *inner.cgroup);
        assert!(attempts.next().is_none());
        gate.detach(&group.target()).unwrap();
    });
}
