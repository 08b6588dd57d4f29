//! Tells whether a socket's file is one that a process inside made, from what the kernel lists of its sockets.
//!
//! A Unix socket belongs to the network namespace of its maker, and the kernel lists the sockets of one with the
//! device and inode of their files. The list has 32 bits of the inode, and the device of the file system, which is
//! not always that of the file (btrfs): where that leaves a doubt, the socket must also be none of those outside.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{AtFlags, StatxFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, SocketAddrAny, netlink::SocketAddrNetlink},
};

use super::caller::Caller;
use crate::{mountinfo, sockets};

/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`), and the two ways in which an answer ends (linux/netlink.h).
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x1 | 0x300;
/// Length of a netlink message's header, and of `struct unix_diag_msg` (`linux/unix_diag.h`) with it.
const HEADER: usize = 16;
const MESSAGE: usize = HEADER + 16;
/// `UDIAG_SHOW_VFS`, and the attribute that it adds.
const SHOW_FILE: u32 = 0x2;
const FILE: u16 = 1;
/// States (`net/tcp_states.h`): a datagram socket is closed, or connected; a stream that has a peer is the other end
/// of somebody's connect, and carries the file of the socket that it was made for.
const ESTABLISHED: u8 = 1;
const CLOSED: u8 = 7;
const LISTENING: u8 = 10;
const DATAGRAM: u8 = 2;

/// Device and inode, as the kernel lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    device: u32,
    inode: u32,
}

/// A file for which a socket is sought.
#[derive(Debug)]
pub(super) struct Sought {
    key: Key,
    /// The mount through which it was found.
    mount: u64,
    /// Its inode is longer than what the kernel lists of it.
    cut: bool,
}

impl Sought {
    /// What `file` would be listed as.
    pub(super) fn of(file: &OwnedFd) -> Result<Self, Errno> {
        let what = StatxFlags::INO | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, what)?;
        let [a, b, c, d, ..] = stat.stx_ino.to_le_bytes();
        let inode = u32::from_le_bytes([a, b, c, d]);
        let key = Key { device: device(stat.stx_dev_major, stat.stx_dev_minor), inode };
        Ok(Self { key, mount: stat.stx_mnt_id, cut: u64::from(inode) != stat.stx_ino })
    }

    /// By the network namespaces inside, and, where that leaves a doubt, by the one outside.
    ///
    /// # Errors
    /// `EACCES` where a program outside listens there or nothing can be found out; `ECONNREFUSED`, as without us,
    /// where nobody is known to listen: the file may be left over from a program that ended.
    pub(super) fn is_made_inside(
        &self,
        caller: &Caller,
        outside: &Mutex<Lister>,
    ) -> Result<(), Errno> {
        self.decide(caller, outside).unwrap_or(Err(Errno::ACCESS))
    }

    fn decide(&self, caller: &Caller, outside: &Mutex<Lister>) -> io::Result<Result<(), Errno>> {
        let mut own = Lister::new(sockets::lister()?);
        if !self.cut && own.lists(&[self.key])? {
            return Ok(Ok(()));
        }
        let keys = self.all_keys(caller)?;
        let inside = own.lists(&keys)? || is_listed_elsewhere_inside(&keys)?;
        let mut outside = outside.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match (inside, outside.lists(&keys)?) {
            (true, false) => Ok(()),
            (_, true) => Err(Errno::ACCESS),
            (false, false) => Err(Errno::CONNREFUSED),
        })
    }

    /// With the device of the file's mount, where that is another than the file's own: the kernel lists that one.
    fn all_keys(&self, caller: &Caller) -> io::Result<Vec<Key>> {
        let mounts = std::fs::read(format!("/proc/{}/mountinfo", caller.thread))?;
        let of_mount = mountinfo::device_of(&String::from_utf8_lossy(&mounts), self.mount);
        let of_mount =
            of_mount.map(|(major, minor)| Key { device: device(major, minor), ..self.key });
        Ok([Some(self.key), of_mount].into_iter().flatten().collect())
    }
}

fn is_listed_elsewhere_inside(keys: &[Key]) -> io::Result<bool> {
    for network in super::caller::other_networks()? {
        if Lister::in_network(&network)?.lists(keys)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// As the kernel numbers devices for itself.
fn device(major: u32, minor: u32) -> u32 {
    (major << 20) | minor
}

/// Asks for the sockets of one network namespace.
#[derive(Debug)]
pub(super) struct Lister {
    socket: OwnedFd,
    asked: u32,
}

impl Lister {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, asked: 0 }
    }

    /// One for another network namespace: made by a thread that enters it, and ends.
    fn in_network(network: &OwnedFd) -> io::Result<Self> {
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(
                    network.as_fd(),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )?;
                sockets::lister()
            });
            made.join().unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
        })
        .map(Self::new)
    }

    /// Whether a socket that can be connected to is bound to one of these files.
    fn lists(&mut self, sought: &[Key]) -> io::Result<bool> {
        self.asked += 1;
        rustix::net::send(&self.socket, &question(self.asked), SendFlags::empty())?;
        let mut answer = vec![0; 32 << 10];
        let mut found = false;
        loop {
            let (_, length, sender) = rustix::io::retry_on_intr(|| {
                rustix::net::recvfrom(&self.socket, answer.as_mut_slice(), RecvFlags::TRUNC)
            })?;
            if !is_the_kernel(sender) {
                continue;
            }
            let part = answer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            match read(part, self.asked, sought)? {
                Read { over: true, found: here } => return Ok(found || here),
                Read { over: false, found: here } => found |= here,
            }
        }
    }
}

/// Whoever has the right to configure a network, such as one of its own, can send to any socket of this kind in it.
fn is_the_kernel(sender: Option<SocketAddrAny>) -> bool {
    sender
        .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
        .is_some_and(|at| at.pid() == 0)
}

fn question(number: u32) -> Vec<u8> {
    /// `struct nlmsghdr` and `struct unix_diag_req`.
    const LENGTH: u32 = 16 + 24;
    let states = [ESTABLISHED, CLOSED, LISTENING].iter().fold(0_u32, |all, state| all | 1 << state);
    let mut question = LENGTH.to_ne_bytes().to_vec();
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(REQUEST_DUMP.to_ne_bytes());
    question.extend(number.to_ne_bytes());
    question.extend([0; 4]);
    // Family AF_UNIX, no protocol, padding.
    question.extend([1, 0, 0, 0]);
    // Any inode of a socket, the file of each, any cookie.
    for word in [states, 0, SHOW_FILE, u32::MAX, u32::MAX] {
        question.extend(word.to_ne_bytes());
    }
    question
}

/// What one part of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    over: bool,
    found: bool,
}

fn read(mut part: &[u8], number: u32, sought: &[Key]) -> io::Result<Read> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let mut found = false;
    while !part.is_empty() {
        let length = word(part, 0).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|&length| length >= HEADER).ok_or_else(broken)?;
        let message = part.get(..length).ok_or_else(broken)?;
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
        // What is left of an answer that nobody read to its end.
        if word(message, 8) != Some(number) {
            continue;
        }
        match half(message, 4) {
            Some(DONE) => return Ok(Read { over: true, found }),
            Some(BY_FAMILY) => found |= is_of(message, sought),
            Some(ERROR) | None => return Err(broken()),
            Some(_) => {}
        }
    }
    Ok(Read { over: false, found })
}

/// Whether a message tells of a socket that can be connected to by the file that is sought.
fn is_of(message: &[u8], sought: &[Key]) -> bool {
    let (kind, state) = (message.get(HEADER + 1), message.get(HEADER + 2));
    if state == Some(&ESTABLISHED) && kind != Some(&DATAGRAM) {
        return false;
    }
    let mut attributes = message.get(MESSAGE..).unwrap_or_default();
    while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        if kind == FILE {
            let key = word(attributes, 4).zip(word(attributes, 8));
            return key.is_some_and(|(inode, device)| sought.contains(&Key { device, inode }));
        }
        let next = usize::from(length).max(4).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    false
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
