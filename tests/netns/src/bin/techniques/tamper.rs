//! What holds the agent, taken away by the agent: rules, programs, links, cgroups.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use netns::attempt::{At as _, Attempt, Met, Stop};

// Of linux/bpf.h.
const BPF_PROG_DETACH: i64 = 9;
const BPF_LINK_GET_FD_BY_ID: i64 = 30;
const BPF_LINK_GET_NEXT_ID: i64 = 31;
const BPF_PROG_QUERY: i64 = 16;
const BPF_CGROUP_INET4_CONNECT: u32 = 10;

/// Does what the words say.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let word = attempt.words.first().map_or("", String::as_str);
    match word {
        "flush" => program("nft", &["flush", "ruleset"]),
        "rule" => program("nft", &["add", "table", "inet", "agents"]),
        "route" => {
            let route = ["192.0.2.0/24", "dev", &attempt.site.device];
            program("ip", &[&["route", "add"], &route[..]].concat())?;
            program("ip", &[&["route", "del"], &route[..]].concat())
        }
        "link" => {
            program("ip", &["link", "add", "agents", "type", "veth"])?;
            program("ip", &["link", "del", "agents"])
        }
        "tun" => File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .and_then(|tun| tunnel(&tun))
            .at("TUNSETIFF")
            .map(|()| None),
        "forward" => ["1", "0"]
            .iter()
            .try_for_each(|value| fs::write("/proc/sys/net/ipv4/ip_forward", value))
            .at("write")
            .map(|()| None),
        "query" => query(attempt),
        "link-by-id" => link_by_id(),
        "move-out" => move_out(attempt),
        _ => {
            Err(Stop { step: "begin".to_owned(), error: io::Error::other("the words say nothing") })
        }
    }
}

/// Runs a program, whose refusal is told as EPERM where it says so.
fn program(name: &str, arguments: &[&str]) -> Met {
    let done = Command::new(name).args(arguments).stdin(Stdio::null()).output().at("start")?;
    if done.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let is_denied = said.contains("not permitted") || said.contains("Permission denied");
    let error =
        if is_denied { io::Error::from_raw_os_error(libc::EPERM) } else { io::Error::other(said) };
    Err(error).at(name)
}

/// A new interface whose other end is a file of the agent's.
fn tunnel(tun: &File) -> io::Result<()> {
    const TUNSETIFF: u64 = 0x4004_54ca;
    const IFF_TUN: u16 = 1;
    // ifreq: a name of 16 bytes, empty so that the kernel chooses, then the flags.
    let mut request = [0_u8; 40];
    for (byte, value) in request.iter_mut().skip(16).zip(IFF_TUN.to_ne_bytes()) {
        *byte = value;
    }
    // SAFETY: the request has the size of the kernel's.
    let answer = unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `bpf(2)` with its attributes as words.
fn bpf(command: i64, attributes: &mut [u32; 20]) -> io::Result<i32> {
    let size = size_of_val(attributes);
    // SAFETY: the attributes live during the call and have that size.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(io::Error::other)
}

/// Detaches from its cgroup what is attached for connect4; where nothing is, the kernel says so.
fn query(attempt: &Attempt) -> Met {
    let own = File::open(&attempt.site.cgroup)
        .or_else(|_unseen| File::open("/sys/fs/cgroup"))
        .at("open")?;
    let mut attributes = [0; 20];
    attributes[0] = own.as_raw_fd().cast_unsigned();
    attributes[1] = BPF_CGROUP_INET4_CONNECT;
    bpf(BPF_PROG_QUERY, &mut attributes).at("BPF_PROG_QUERY")?;
    let mut attributes = [0; 20];
    attributes[0] = own.as_raw_fd().cast_unsigned();
    attributes[2] = BPF_CGROUP_INET4_CONNECT;
    match bpf(BPF_PROG_DETACH, &mut attributes) {
        // Asked and found nothing: whoever may ask may also detach.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        done => done.at("BPF_PROG_DETACH").map(|_| None),
    }
}

/// Any link of the machine, by its number.
fn link_by_id() -> Met {
    let mut attributes = [0; 20];
    match bpf(BPF_LINK_GET_NEXT_ID, &mut attributes) {
        // There is none: whoever may ask would get it.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        done => done.at("BPF_LINK_GET_NEXT_ID")?,
    };
    let next = attributes[1];
    let mut attributes = [0; 20];
    attributes[0] = next;
    bpf(BPF_LINK_GET_FD_BY_ID, &mut attributes).at("BPF_LINK_GET_FD_BY_ID").map(|_| None)
}

/// Writes itself into the group above its own.
fn move_out(attempt: &Attempt) -> Met {
    let folder = format!("{}/../..", attempt.site.cgroup);
    fs::write(format!("{folder}/cgroup.procs"), "0").at("write").map(|()| None)
}
