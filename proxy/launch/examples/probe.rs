//! Tries one thing from inside and prints what the kernel said; the tests read it.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it prints, and ends at the first surprise"
)]

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

/// A question for the address of `a.test` (RFC 1035 section 4.1).
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["connect", to] => print(connect(to.parse().unwrap())),
        ["udp-send", to] => print(udp(to.parse().unwrap(), false)),
        ["udp-connect", to] => print(udp(to.parse().unwrap(), true)),
        ["socket", family, kind, protocol] => {
            print(made(libc::SYS_socket, [number(family), number(kind), number(protocol), 0]));
        }
        ["socketpair", family] => {
            let mut pair = [0; 2];
            print(made(
                libc::SYS_socketpair,
                [number(family), 1, 0, (&raw mut pair) as libc::c_long],
            ));
        }
        ["call", name] => print(made(call(name), [0; 4])),
        ["int80", to] => print(int80(number(to))),
        ["x32"] => print(made(0x4000_0000 + 39, [0; 4])),
        ["ioctl", control] => {
            let byte = [b'#'; 64];
            print(made(
                libc::SYS_ioctl,
                [0, number(control), (&raw const byte) as libc::c_long, 0],
            ));
        }
        ["getfd", pid] => print(getfd(number(pid))),
        ["descriptors"] => descriptors(),
        ["write", path] => {
            print(std::fs::OpenOptions::new().write(true).open(path).map(|_| "opened"));
        }
        ["escape", path] => escape(path),
        ["kinds"] => println!("{}", (0..3).map(kind).collect::<Vec<_>>().join(" ")),
        other => panic!("unknown probe {other:?}"),
    }
}

fn print<T: std::fmt::Display>(result: io::Result<T>) {
    match result {
        Ok(value) => println!("ok {value}"),
        Err(error) => println!("error {}", error.raw_os_error().unwrap_or(-1)),
    }
}

fn number(text: &str) -> libc::c_long {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |hex| i64::from_str_radix(hex, 16))
        .unwrap()
}

fn connect(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    let peer = stream.peer_addr()?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(format!("{} peer {peer}", said.trim()))
}

fn udp(to: SocketAddr, connected: bool) -> io::Result<String> {
    let any: SocketAddr =
        if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("an address");
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    if connected {
        socket.connect(to)?;
        socket.send(QUESTION)?;
    } else {
        socket.send_to(QUESTION, to)?;
    }
    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer)?;
    Ok(format!("{length} from {from}"))
}

fn made(call: libc::c_long, [a, b, c, d]: [libc::c_long; 4]) -> io::Result<libc::c_long> {
    // SAFETY: the pointers among the arguments are valid for what is called here.
    let result = unsafe { libc::syscall(call, a, b, c, d) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn call(name: &str) -> libc::c_long {
    match name {
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "io_uring_enter" => libc::SYS_io_uring_enter,
        "io_uring_register" => libc::SYS_io_uring_register,
        "add_key" => libc::SYS_add_key,
        "keyctl" => libc::SYS_keyctl,
        "request_key" => libc::SYS_request_key,
        "bpf" => libc::SYS_bpf,
        "perf_event_open" => libc::SYS_perf_event_open,
        "userfaultfd" => libc::SYS_userfaultfd,
        "kexec_load" => libc::SYS_kexec_load,
        "kexec_file_load" => libc::SYS_kexec_file_load,
        "open_by_handle_at" => libc::SYS_open_by_handle_at,
        other => panic!("unknown call {other}"),
    }
}

/// `socket(family, SOCK_STREAM, 0)` by the 32-bit entry, where socket has number 359.
#[cfg(target_arch = "x86_64")]
fn int80(family: libc::c_long) -> io::Result<libc::c_long> {
    let result: i64;
    // SAFETY: the call takes numbers only; rbx is restored, because the compiler keeps it for itself.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {family}", "int 0x80", "xchg rbx, {family}",
            family = inout(reg) family => _,
            inlateout("rax") 359_i64 => result, in("rcx") 1, in("rdx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result =
        i32::try_from(result).unwrap_or_else(|_| result.cast_unsigned().to_le_bytes()[0].into());
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result.into()) }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: libc::c_long) -> io::Result<libc::c_long> {
    Err(io::Error::from_raw_os_error(libc::EPERM))
}

/// Any descriptor of another process.
fn getfd(pid: libc::c_long) -> io::Result<libc::c_long> {
    let process = made(libc::SYS_pidfd_open, [pid, 0, 0, 0])?;
    let mut last = io::Error::from_raw_os_error(libc::EBADF);
    for fd in 0..32 {
        match made(libc::SYS_pidfd_getfd, [process, fd, 0, 0]) {
            Ok(got) => return Ok(got),
            Err(error) if error.raw_os_error() != Some(libc::EBADF) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

/// The numbers that are open, without asking by one more.
fn descriptors() {
    let open = (0..1024).filter(|&fd| {
        // SAFETY: only asks.
        unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
    });
    println!("{}", open.map(|fd| fd.to_string()).collect::<Vec<_>>().join(" "));
}

/// Takes a user and a mount namespace of its own, tries to uncover what is mounted over `path`, and opens it.
/// In this process: without a user mapping the capabilities would not survive an exec.
fn escape(path: &str) {
    // SAFETY: one thread.
    let entered = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) };
    assert_eq!(entered, 0, "{}", io::Error::last_os_error());
    let mount = |kind: &std::ffi::CStr, at: &std::ffi::CStr, flags| {
        // SAFETY: the strings are valid for the call.
        unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    };
    mount(c"none", c"/proc/sys", libc::MS_REMOUNT | libc::MS_BIND);
    mount(c"proc", c"/mnt", 0);
    for at in [c"/proc/sys", c"/proc/sys", c"/proc"] {
        // SAFETY: as above.
        unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    }
    let again = path.replacen("/proc", "/mnt", 1);
    let opened = [path, again.as_str()]
        .map(|path| std::fs::OpenOptions::new().write(true).open(path).map(|_| "opened"));
    let [one, other] = opened;
    let result = if one.is_ok() { one } else { other.or(one) };
    print!("in a namespace of its own: ");
    print(result);
}

fn kind(fd: i32) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    link.to_string_lossy().into_owned()
}
