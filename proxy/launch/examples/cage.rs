//! A front with the smallest gate there can be: it says where each connection wanted to go, and answers every name
//! with one address. The tests of this crate run commands in it.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test program: it ends at the first surprise"
)]

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use ebpf::Enforcement;
use tollgate_launch::{
    Absent, Cover, Ended, Identity, Listeners, Prepared, Registration, Spec, front,
    original_destination, recv_fds, send_fds,
};

/// What the stub's responder answers to every question for an IPv4 address.
const ANSWER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);

fn main() {
    tollgate_launch::init_if_asked();
    if std::env::args_os().nth(1).is_some_and(|word| word == "__gate") {
        gate();
        return;
    }
    let code = match run(Options::read()) {
        Ok(ended) => ended.code(),
        Err(error) => {
            eprintln!("cage: {error}");
            tollgate_launch::OWN_FAILURE
        }
    };
    std::process::exit(code);
}

struct Options {
    spec: Spec,
    prepared: Prepared,
    log: PathBuf,
    gate_pid: Option<PathBuf>,
}

impl Options {
    fn read() -> Self {
        let mut arguments = std::env::args_os().skip(1);
        let mut spec = Spec::here(OsString::new(), Vec::new()).unwrap();
        let mut prepared = Prepared {
            environment: Vec::new(),
            covers: Vec::new(),
            read_only: Vec::new(),
            absent: Vec::new(),
            gate_alive: None,
        };
        let mut log = PathBuf::from("/dev/null");
        let mut gate_pid = None;
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().expect("a value").into_string().unwrap();
            match flag.to_str().unwrap() {
                "--" => break,
                "--log" => log = value().into(),
                "--gate-pid" => gate_pid = Some(value().into()),
                "--cover" => {
                    let (path, text) = (value(), value());
                    let cover = Cover {
                        path: path.into(),
                        bytes: text.into_bytes(),
                        mode: 0o644,
                        owner: None,
                    };
                    prepared.covers.push(cover);
                }
                "--read-only" => prepared.read_only.push(value().into()),
                "--absent" => prepared.absent.push(Absent { path: value().into(), inode: None }),
                "--absent-inode" => {
                    let (path, inode) = (value(), value().parse().unwrap());
                    prepared.absent.push(Absent { path: path.into(), inode: Some((0, inode)) });
                }
                "--write" => spec.write.push(value().into()),
                "--share-socket" => spec.share_sockets.push(value().into()),
                "--share-fd" => spec.share.push(value().parse().unwrap()),
                "--fix" => spec.places.fixed.push(value().into()),
                "--hold" => spec.places.held.push(value().into()),
                "--hide" => spec.places.absent.push(value().into()),
                "--uid" => {
                    let uid = value().parse().unwrap();
                    spec.identity = Identity { uid, gid: uid, groups: vec![uid] };
                }
                "--unset" => prepared.environment.push((value().into(), None)),
                "--set" => {
                    let (name, text) = (value(), value());
                    prepared.environment.push((name.into(), Some(text.into())));
                }
                other => panic_on(other),
            }
        }
        spec.program = arguments.next().expect("a command");
        spec.arguments = arguments.collect();
        Self { spec, prepared, log, gate_pid }
    }
}

fn panic_on(flag: &str) -> ! {
    eprintln!("cage: unknown flag {flag}");
    std::process::exit(2)
}

fn run(options: Options) -> Result<Ended, Box<dyn std::error::Error>> {
    let Options { spec, mut prepared, log, gate_pid } = options;
    let (ours, theirs) = UnixStream::pair()?;
    let gate = Command::new("/proc/self/exe")
        .args([OsString::from("__gate"), log.into()])
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    if let Some(path) = gate_pid {
        std::fs::write(path, gate.id().to_string())?;
    }
    let ended = front(spec, |registration: &Registration<'_>| {
        let mut fds = registration.listeners.fds();
        fds.extend(registration.cgroup);
        let word: &[u8] = if registration.cgroup.is_some() { b"cgroup" } else { b"rules" };
        send_fds(&ours, word, &fds)?;
        let mut answer = vec![0; 65536];
        let (length, _) = recv_fds(&ours, &mut answer)?;
        if &answer[..length] != b"ok" {
            return Err(String::from_utf8_lossy(&answer[..length]).into_owned().into());
        }
        prepared.gate_alive = Some(ours.try_clone()?.into());
        Ok(prepared)
    });
    Ok(ended?)
}

/// The gate's process: serves one run and ends when its front has.
fn gate() {
    let log: PathBuf = std::env::args_os().nth(2).unwrap().into();
    let log = Arc::new(Mutex::new(OpenOptions::new().append(true).create(true).open(log).unwrap()));
    let stdin = std::io::stdin();
    std::thread::spawn(ebpf::prepare);
    let front = UnixStream::from(stdin.as_fd().try_clone_to_owned().unwrap());
    let mut word = [0; 16];
    let (length, mut fds) = recv_fds(&front, &mut word).unwrap();
    let origins = match &word[..length] {
        b"rules" => Origins::Rules,
        b"cgroup" => match Enforcement::attach(fds.pop().unwrap().as_fd()) {
            Ok(enforcement) => Origins::Programs(Box::new(enforcement)),
            Err(error) => {
                send_fds(&front, error.to_string().as_bytes(), &[]).unwrap();
                return;
            }
        },
        _ => return,
    };
    serve(Listeners::from_fds(fds).unwrap(), &Arc::new(origins), &log);
    send_fds(&front, b"ok", &[]).unwrap();
    // Ends with the front.
    let mut rest = Vec::new();
    drop((&front).read_to_end(&mut rest));
}

/// Who knows where a connection wanted to go.
enum Origins {
    Programs(Box<Enforcement>),
    Rules,
}

impl Origins {
    fn of(&self, stream: &TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Programs(enforcement) => enforcement.original_dst(peer),
            Self::Rules => original_destination(stream),
        }
    }
}

fn serve(listeners: Listeners, origins: &Arc<Origins>, log: &Arc<Mutex<File>>) {
    for listener in listeners.intake {
        let (origins, log) = (Arc::clone(origins), Arc::clone(log));
        std::thread::spawn(move || intake(&listener, &origins, &log));
    }
    for socket in listeners.dns_udp {
        let log = Arc::clone(log);
        std::thread::spawn(move || dns_udp(&socket, &log));
    }
    for listener in listeners.dns_tcp {
        let log = Arc::clone(log);
        std::thread::spawn(move || dns_tcp(&listener, &log));
    }
}

fn note(log: &Mutex<File>, line: &str) {
    log.lock().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Says where the connection wanted to go; one that cannot be known is closed.
fn intake(listener: &TcpListener, origins: &Origins, log: &Mutex<File>) {
    while let Ok((mut stream, peer)) = listener.accept() {
        let Some(wanted) = origins.of(&stream, peer) else {
            note(log, "unknown");
            continue;
        };
        note(log, &format!("tcp {wanted}"));
        drop(stream.write_all(format!("{wanted}\n").as_bytes()));
    }
}

fn dns_udp(socket: &UdpSocket, log: &Mutex<File>) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        note(log, "dns udp");
        drop(socket.send_to(&answer(&question[..length]), from));
    }
}

fn dns_tcp(listener: &TcpListener, log: &Mutex<File>) {
    while let Ok((mut stream, _)) = listener.accept() {
        note(log, "dns tcp");
        drop(answer_on(&mut stream));
    }
}

fn answer_on(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question)?;
    let answer = answer(&question);
    stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())?;
    stream.write_all(&answer)
}

/// One address for a question of type A, and no data for any other (RFC 1035 section 4).
fn answer(question: &[u8]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ANSWER.octets());
    }
    answer
}
