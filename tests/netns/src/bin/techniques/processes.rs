//! Sockets and memory of processes that are not the agent's: the gate's in particular.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use netns::attempt::{At as _, Attempt, Met, Stop};
use netns::sys;

/// Does to the gate's process what the words say.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let gate = attempt.site.gate_pid;
    let word = attempt.words.first().map_or("", String::as_str);
    match word {
        "getfd" => steal(gate),
        "ptrace" => trace(gate),
        "mem" => memory(gate),
        "readv" => read_memory(gate),
        "fd" => descriptors(gate),
        "environ" => fs::read(format!("/proc/{gate}/environ")).at("read").map(|_| None),
        "network" => enter(gate),
        _ => {
            Err(Stop { step: "begin".to_owned(), error: io::Error::other("the words say nothing") })
        }
    }
}

/// A descriptor of the gate's that is a socket.
fn steal(gate: i32) -> Met {
    let process = call(libc::SYS_pidfd_open, [i64::from(gate), 0, 0, 0]).at("pidfd_open")?;
    // SAFETY: the kernel just made it.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    let mut last = io::Error::from_raw_os_error(libc::EBADF);
    for number in 3..32 {
        let ask = [i64::from(process.as_raw_fd()), number, 0, 0];
        match call(libc::SYS_pidfd_getfd, ask) {
            Ok(stolen) => {
                // SAFETY: the kernel just made it.
                let stolen = unsafe { OwnedFd::from_raw_fd(stolen) };
                if sys::option(stolen.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE).is_ok() {
                    return Ok(Some("a socket of the gate".to_owned()));
                }
            }
            Err(error) => last = error,
        }
    }
    Err(last).at("pidfd_getfd")
}

fn trace(gate: i32) -> Met {
    let (seize, detach) = (0x4206, 17);
    call(libc::SYS_ptrace, [seize, i64::from(gate), 0, 0]).at("ptrace")?;
    // One that was not stopped cannot be let go by request; it is when this process ends.
    drop(call(libc::SYS_ptrace, [detach, i64::from(gate), 0, 0]));
    Ok(None)
}

fn memory(gate: i32) -> Met {
    let place = place(gate)?;
    let file = File::open(format!("/proc/{gate}/mem")).at("open")?;
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, place).at("read")?;
    Ok(Some(format!("{bytes:x?}")))
}

fn read_memory(gate: i32) -> Met {
    // Where nothing is known of the other's memory, its own places are as good a guess as any.
    let place =
        place(gate).or_else(|_unreadable| place(i32::try_from(std::process::id()).unwrap_or(0)))?;
    let mut bytes = [0_u8; 4];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 4 };
    let from = usize::try_from(place).unwrap_or(0);
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(from), iov_len: 4 };
    let (local, remote) = (&raw const local, &raw const remote);
    // SAFETY: the local buffer lives during the call; the remote one is not this process's.
    let read = unsafe { libc::process_vm_readv(gate, local, 1, remote, 1, 0) };
    if read < 0 { Err(io::Error::last_os_error()).at("process_vm_readv") } else { Ok(None) }
}

/// The first place of a process's memory.
fn place(process: i32) -> Result<u64, Stop> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).at("read maps")?;
    let first = maps.split('-').next().and_then(|text| u64::from_str_radix(text, 16).ok());
    first.ok_or_else(|| io::Error::from_raw_os_error(libc::EACCES)).at("read maps")
}

fn descriptors(gate: i32) -> Met {
    // Who may look into every folder counts them; what they are is another matter.
    for number in 0..4 {
        fs::read_link(format!("/proc/{gate}/fd/{number}")).at("readlink")?;
    }
    Ok(None)
}

fn enter(gate: i32) -> Met {
    let network = File::open(format!("/proc/{gate}/ns/net")).at("open")?;
    sys::enter(network.as_fd()).at("setns")?;
    Ok(None)
}

fn call(number: libc::c_long, [a, b, c, d]: [i64; 4]) -> io::Result<i32> {
    // SAFETY: takes numbers only; none is an address.
    let answer = unsafe { libc::syscall(number, a, b, c, d) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(io::Error::other)
}
