//! Connects to Unix sockets in every way that a program could try, and prints what the kernel said; the tests of
//! Unix sockets run it inside and outside.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test program: it prints, and ends at the first surprise"
)]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["stream", path] => print(greet(libc::SOCK_STREAM, path)),
        ["seqpacket", path] => print(greet(libc::SOCK_SEQPACKET, path)),
        ["dgram", path] => print(greet(libc::SOCK_DGRAM, path)),
        ["sendto", path] => print(send_to(path)),
        ["pair-sendto", path] => print(pair_send_to(path)),
        ["opath", path] => print(by_descriptor(path)),
        ["chroot", folder, path] => print(rooted(folder, path)),
        ["inside", kind, path] => print(inside(kind, path)),
        ["abstract", name] => print(abstract_name(name)),
        ["peer", path] => print(peer(path)),
        ["race", good, bad] => race(good, bad),
        ["dup-race", good, bad] => dup_race(good, bad),
        ["link-race", good, bad] => link_race(good, bad),
        ["tcp-nonblocking", to] => print(nonblocking(to.parse().unwrap())),
        ["full-backlog", path] => full_backlog(path),
        ["handler", path] => print(interrupted(path)),
        ["odd"] => odd(),
        ["netlink", port] => print(netlink(port.parse().unwrap())),
        ["listener"] => print(second_listener()),
        ["below-listener", program, rest @ ..] => {
            let _listener = second_listener().unwrap();
            let error = std::process::Command::new(program).args(rest).status();
            std::process::exit(error.unwrap().code().unwrap());
        }
        ["bench-tcp", to, count] => bench(count, || drop(TcpStream::connect(to))),
        ["bench-unix", path, count] => {
            let listener = UnixListener::bind(path).unwrap();
            thread::spawn(move || listener.incoming().for_each(drop));
            bench(count, || drop(UnixStream::connect(path).unwrap()));
        }
        other => panic!("unknown way {other:?}"),
    }
}

fn print<T: std::fmt::Display>(result: io::Result<T>) {
    match result {
        Ok(value) => println!("ok {value}"),
        Err(error) => println!("error {}", error.raw_os_error().unwrap_or(-1)),
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved, and the new descriptor is nobody else's.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(path: &str) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: all zeroes are a value of this structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = 1;
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    (address, libc::socklen_t::try_from(2 + path.len() + 1).unwrap())
}

fn connect(fd: RawFd, path: &str) -> io::Result<()> {
    let (address, length) = address(path);
    // SAFETY: the address is valid for the call.
    check(unsafe { libc::connect(fd, (&raw const address).cast(), length) }).map(drop)
}

/// Connects and sends a word, as a helper outside would be asked.
fn greet(kind: libc::c_int, path: &str) -> io::Result<&'static str> {
    let socket = socket(libc::AF_UNIX, kind)?;
    connect(socket.as_raw_fd(), path)?;
    rustix::net::send(&socket, b"do it for me", rustix::net::SendFlags::NOSIGNAL)?;
    Ok("sent")
}

/// Connects a Netlink socket to another one of this network, which needs the right to configure it.
fn netlink(port: u32) -> io::Result<&'static str> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW)?;
    // SAFETY: all zeroes are a value of this structure.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    (address.nl_family, address.nl_pid) = (16, port);
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
    // SAFETY: the address is valid for the call.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok("connected")
}

fn send_to(path: &str) -> io::Result<usize> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_DGRAM)?;
    let (address, length) = address(path);
    let word = b"do it for me";
    // SAFETY: the buffers are valid for the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            word.as_ptr().cast(),
            word.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    usize::try_from(sent).map_err(|_negative| io::Error::last_os_error())
}

/// From one end of a connected pair to somebody else.
fn pair_send_to(path: &str) -> io::Result<usize> {
    let (one, _other) = UnixDatagram::pair()?;
    one.send_to(b"do it for me", path)
}

fn by_descriptor(path: &str) -> io::Result<&'static str> {
    let target = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    greet(libc::SOCK_STREAM, &format!("/proc/self/fd/{}", target.as_raw_fd()))
}

/// With another root, in a user namespace of its own.
fn rooted(folder: &str, path: &str) -> io::Result<&'static str> {
    // SAFETY: one thread, and the string is valid.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    rustix::process::chroot(folder)?;
    rustix::process::chdir("/")?;
    greet(libc::SOCK_STREAM, path)
}

/// A server and its client, both here.
fn inside(kind: &str, path: &str) -> io::Result<String> {
    if kind == "dgram" {
        let server = UnixDatagram::bind(path)?;
        let client = UnixDatagram::unbound()?;
        client.connect(path)?;
        client.send(b"hello")?;
        let mut word = [0; 16];
        let length = server.recv(&mut word)?;
        return Ok(String::from_utf8_lossy(&word[..length]).into_owned());
    }
    let listener = UnixListener::bind(path)?;
    let mut client = UnixStream::connect(path)?;
    client.write_all(b"hello")?;
    drop(client);
    let mut word = String::new();
    listener.accept()?.0.read_to_string(&mut word)?;
    Ok(word)
}

fn abstract_name(name: &str) -> io::Result<&'static str> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let _listener = UnixListener::bind_addr(&address)?;
    UnixStream::connect_addr(&address)?;
    Ok("connected")
}

/// What the server side learns of who connected: user and group.
fn peer(path: &str) -> io::Result<String> {
    let listener = UnixListener::bind(path)?;
    let _client = UnixStream::connect(path)?;
    let peer = rustix::net::sockopt::socket_peercred(listener.accept()?.0)?;
    Ok(format!("{} {}", peer.uid.as_raw(), peer.gid.as_raw()))
}

/// Who is reached by mistake may have a full queue: no call waits for that.
const KIND: libc::c_int = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;

/// One thread connects; another changes the address under it, between a socket made here and one made outside.
fn race(good: &str, bad: &str) {
    assert_eq!(good.len(), bad.len(), "both must be of one length");
    let listener = UnixListener::bind(good).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let (mut shared, length) = address(good);
    let (one, other) = (address(good).0, address(bad).0);
    let shared = (&raw mut shared) as usize;
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let writer = thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            for address in [one, other] {
                // SAFETY: the structure lives until this thread is joined; a torn read is the point of it.
                unsafe { std::ptr::write_volatile(shared as *mut libc::sockaddr_un, address) };
            }
        }
    });
    let (mut connected, mut refused) = (0_u32, 0_u32);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let socket = socket(libc::AF_UNIX, KIND).unwrap();
        // SAFETY: as above.
        match unsafe { libc::connect(socket.as_raw_fd(), shared as *const libc::sockaddr, length) }
        {
            0 => connected += 1,
            _ => refused += 1,
        }
    }
    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    println!("{connected} {refused}");
}

/// One thread connects by a number that another moves between two sockets.
fn dup_race(good: &str, bad: &str) {
    let listener = UnixListener::bind(good).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let slot = socket(libc::AF_UNIX, KIND).unwrap();
    let number = slot.as_raw_fd();
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let mover = thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            for family in [libc::AF_UNIX, libc::AF_INET] {
                let fresh = socket(family, KIND).unwrap();
                // SAFETY: the number is held open by this process until the end.
                check(unsafe { libc::dup2(fresh.as_raw_fd(), number) }).unwrap();
            }
        }
    });
    let (mut connected, mut refused) = (0_u32, 0_u32);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        for path in [good, bad] {
            match connect(number, path) {
                Ok(()) => connected += 1,
                Err(_) => refused += 1,
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    mover.join().unwrap();
    println!("{connected} {refused}");
}

/// One thread connects by a link that another turns between a socket made here and one made outside.
fn link_race(good: &str, bad: &str) {
    let listener = UnixListener::bind(good).unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let link = format!("{good}.link");
    std::os::unix::fs::symlink(good, &link).unwrap();
    let (over, turning) = (Arc::new(AtomicBool::new(false)), link.clone());
    let (ended, targets) = (Arc::clone(&over), [good.to_owned(), bad.to_owned()]);
    let turner = thread::spawn(move || {
        let fresh = format!("{turning}.fresh");
        while !ended.load(Ordering::Relaxed) {
            for target in &targets {
                std::os::unix::fs::symlink(target, &fresh).unwrap();
                std::fs::rename(&fresh, &turning).unwrap();
            }
        }
    });
    let (mut connected, mut refused) = (0_u32, 0_u32);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        match connect(socket(libc::AF_UNIX, KIND).unwrap().as_raw_fd(), &link) {
            Ok(()) => connected += 1,
            Err(_) => refused += 1,
        }
    }
    over.store(true, Ordering::Relaxed);
    turner.join().unwrap();
    println!("{connected} {refused}");
}

/// The error of the call itself, then what came of it.
fn nonblocking(to: SocketAddr) -> io::Result<String> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
    let first = rustix::net::connect(&socket, &to).err().map_or(0, rustix::io::Errno::raw_os_error);
    let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
    let second = Duration::from_secs(5);
    rustix::event::poll(&mut ready, Some(&second.try_into().unwrap()))?;
    rustix::net::sockopt::socket_error(&socket)?.map_err(io::Error::from)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    let mut said = String::new();
    TcpStream::from(socket).read_to_string(&mut said)?;
    Ok(format!("{first} {}", said.trim()))
}

/// Connects that wait for a full queue, and one elsewhere that must not wait for them.
fn full_backlog(path: &str) {
    let listener = socket(libc::AF_UNIX, libc::SOCK_STREAM).unwrap();
    let (address, length) = address(path);
    // SAFETY: the address is valid for the call.
    check(unsafe { libc::bind(listener.as_raw_fd(), (&raw const address).cast(), length) })
        .unwrap();
    rustix::net::listen(listener.as_fd(), 0).unwrap();
    for _ in 0..8 {
        let path = path.to_owned();
        thread::spawn(move || {
            connect(socket(libc::AF_UNIX, libc::SOCK_STREAM).unwrap().as_raw_fd(), &path)
        });
    }
    let nonblocking = socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK).unwrap();
    let full = loop {
        match connect(nonblocking.as_raw_fd(), path) {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => break "full",
            Err(error) => panic!("{error}"),
            Ok(()) => {}
        }
    };
    let begun = Instant::now();
    println!("{full} {}", inside("stream", &format!("{path}.other")).unwrap());
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// A signal with a handler arrives again and again while connections are made.
fn interrupted(path: &str) -> io::Result<u32> {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing; the interval is valid for the call.
    unsafe {
        libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
        let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        check(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()))?;
    }
    let listener = UnixListener::bind(path)?;
    thread::spawn(move || listener.incoming().for_each(drop));
    for _ in 0..2000 {
        connect(socket(libc::AF_UNIX, libc::SOCK_STREAM)?.as_raw_fd(), path)?;
    }
    Ok(2000)
}

/// Arguments that no library would pass: the kernel's own answer to each.
fn odd() {
    let unix = socket(libc::AF_UNIX, libc::SOCK_STREAM).unwrap();
    let inet = socket(libc::AF_INET, libc::SOCK_STREAM).unwrap();
    let (address, _) = address("/tmp/none");
    let address: *const libc::sockaddr = (&raw const address).cast();
    let unspecified = [0_u8; 16];
    let said: Vec<String> = [
        (-1, address, 16),
        (unix.as_raw_fd(), address, 500),
        (unix.as_raw_fd(), address, u32::MAX),
        (unix.as_raw_fd(), address, 0),
        (unix.as_raw_fd(), address, 1),
        (unix.as_raw_fd(), address, 2),
        (unix.as_raw_fd(), std::ptr::null(), 16),
        (unix.as_raw_fd(), 8 as *const libc::sockaddr, 16),
        (unix.as_raw_fd(), address, 12),
        (inet.as_raw_fd(), address, 12),
        (inet.as_raw_fd(), unspecified.as_ptr().cast(), 16),
        (0, address, 12),
    ]
    .into_iter()
    .map(|(fd, address, length)| {
        // SAFETY: what is invalid here is refused by the kernel.
        match check(unsafe { libc::connect(fd, address, length) }) {
            Ok(_) => "0".to_owned(),
            Err(error) => error.raw_os_error().unwrap().to_string(),
        }
    })
    .collect();
    println!("{}", said.join(" "));
}

/// A filter of our own that asks to be told of every connect: its supervisor could let them pass.
fn second_listener() -> io::Result<libc::c_int> {
    let filter = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let program = libc::sock_fprog { len: 1, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program is valid for the call.
    let fd = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    check(libc::c_int::try_from(fd).unwrap())
}

/// The best of twenty rounds: what else the machine does is no cost of a connect.
fn bench(count: &str, mut once: impl FnMut()) {
    const ROUNDS: u32 = 20;
    let count = count.parse::<u32>().unwrap() / ROUNDS;
    once();
    let round = |_| {
        let begun = Instant::now();
        for _ in 0..count {
            once();
        }
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    };
    println!("{:.1} us", (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min));
}
