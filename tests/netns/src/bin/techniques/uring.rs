//! Connections and datagrams that the kernel's ring makes, so that no system call of the agent names a socket address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use netns::attempt::{At as _, Attempt, Met};
use netns::sys::Address;

use crate::inet::{self, Plan};
use crate::memory::Shared;

// Of linux/io_uring.h.
const SETUP_SQPOLL: u32 = 1 << 1;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
const FEAT_SINGLE_MMAP: u32 = 1;
const OFF_SQES: i64 = 0x1000_0000;
const ASYNC: u8 = 1 << 4;
const OP_SENDMSG: u8 = 9;
const OP_CONNECT: u8 = 16;
const OP_SEND: u8 = 26;
const OP_SOCKET: u8 = 45;
const OP_COMMAND: u8 = 46;
const OP_SEND_ZC: u8 = 47;
const OP_BIND: u8 = 56;
const SOCKET_SETSOCKOPT: u64 = 3;

/// Does what the words say by a ring.
pub(crate) fn run(attempt: &Attempt) -> Met {
    let plan = Plan::read(attempt)?;
    let mut ring = Ring::new(attempt.says("sqpoll")).at("io_uring_setup")?;
    ring.asynchronous = attempt.says("async");
    let socket = if attempt.says("op-socket") {
        let (family, kind, protocol) = plan.kind();
        let entry = Entry {
            operation: OP_SOCKET,
            fd: family,
            offset: u64::from(kind.cast_unsigned()),
            length: protocol.cast_unsigned(),
            ..Entry::default()
        };
        let made = ring.submit(&entry).at("IORING_OP_SOCKET")?;
        // SAFETY: the kernel just made it.
        unsafe { OwnedFd::from_raw_fd(made) }
    } else {
        plan.open().at("socket")?
    };
    let fd = socket.as_fd();
    let bytes = inet::payload(attempt);
    if attempt.says("bind-gate") {
        return ring.bind(attempt, fd);
    }
    if attempt.says("ring-device") {
        let device = attempt.site.device.as_bytes();
        ring.set_option(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device)
            .at("SOCKET_URING_OP_SETSOCKOPT")?;
    }
    for (word, operation) in [("send-to", OP_SEND), ("zero-copy", OP_SEND_ZC)] {
        if attempt.says(word) {
            ring.send_to(operation, fd, &bytes, &plan.to).at("IORING_OP_SEND")?;
            return Ok(None);
        }
    }
    if attempt.says("udp") {
        ring.send_message(fd, &bytes, 0, &plan.to).at("IORING_OP_SENDMSG")?;
        return Ok(None);
    }
    if attempt.says("fastopen") {
        let flags = libc::MSG_FASTOPEN.cast_unsigned();
        match ring.send_message(fd, &bytes, flags, &plan.to) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            done => drop(done.at("IORING_OP_SENDMSG")?),
        }
        return inet::stream(attempt, fd, &plan.to, true);
    }
    ring.connect(fd, &plan.to).at("IORING_OP_CONNECT")?;
    ring.send(fd, &bytes).at("IORING_OP_SEND")?;
    inet::heard(fd)
}

/// `io_uring_params` as words of 32 bits.
const PARAMETERS: usize = 30;
const FLAGS: usize = 2;
const FEATURES: usize = 5;
const SQ_OFFSETS: usize = 10;
const CQ_OFFSETS: usize = 20;

/// `io_uring_sqe`, as far as it is used.
#[derive(Default)]
struct Entry {
    operation: u8,
    fd: i32,
    offset: u64,
    address: u64,
    length: u32,
    flags: u32,
    /// The length of an address or of an option's value.
    extent: u32,
    value: u64,
}

impl Entry {
    fn bytes(&self, asynchronous: bool) -> [u8; 64] {
        let mut bytes = [0; 64];
        let head = [self.operation, if asynchronous { ASYNC } else { 0 }, 0, 0];
        let fields = [
            &head[..],
            &self.fd.to_ne_bytes(),
            &self.offset.to_ne_bytes(),
            &self.address.to_ne_bytes(),
            &self.length.to_ne_bytes(),
            &self.flags.to_ne_bytes(),
            &[0; 12],
            &self.extent.to_ne_bytes(),
            &self.value.to_ne_bytes(),
        ]
        .concat();
        for (byte, value) in bytes.iter_mut().zip(fields) {
            *byte = value;
        }
        bytes
    }
}

/// A ring of eight entries that is given one at a time.
struct Ring {
    fd: OwnedFd,
    rings: Shared,
    entries: Shared,
    parameters: [u32; PARAMETERS],
    asynchronous: bool,
}

impl Ring {
    fn new(polled: bool) -> io::Result<Self> {
        let mut parameters = [0_u32; PARAMETERS];
        parameters[FLAGS] = if polled { SETUP_SQPOLL } else { 0 };
        // SAFETY: the parameters have the size the kernel writes.
        let made = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) };
        let made = i32::try_from(made).unwrap_or(-1);
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made it.
        let fd = unsafe { OwnedFd::from_raw_fd(made) };
        if parameters[FEATURES] & FEAT_SINGLE_MMAP == 0 {
            return Err(io::Error::other("a kernel with two mappings of the ring"));
        }
        let rings = Shared::map(fd.as_fd(), 4096, 0)?;
        let entries = Shared::map(fd.as_fd(), 4096, OFF_SQES)?;
        Ok(Self { fd, rings, entries, parameters, asynchronous: false })
    }

    fn at(&self, offsets: usize, field: usize) -> &AtomicU32 {
        let offset = self.parameters.get(offsets + field).copied().unwrap_or(0);
        self.rings.word(offset as usize)
    }

    /// Submits one entry and waits for its answer.
    fn submit(&mut self, entry: &Entry) -> io::Result<i32> {
        // The fields of both offset tables: head, tail, mask, entries, flags, dropped, array; cqes is the sixth.
        let (head, tail, mask, flags, array, cqes) = (0, 1, 2, 4, 6, 5);
        let at = self.at(SQ_OFFSETS, tail).load(Ordering::Acquire);
        let slot = at & self.at(SQ_OFFSETS, mask).load(Ordering::Relaxed);
        self.entries.write(slot as usize * 64, &entry.bytes(self.asynchronous));
        let place = self.parameters.get(SQ_OFFSETS + array).copied().unwrap_or(0) + slot * 4;
        self.rings.word(place as usize).store(slot, Ordering::Relaxed);
        self.at(SQ_OFFSETS, tail).store(at.wrapping_add(1), Ordering::Release);
        let polled = self.parameters[FLAGS] & SETUP_SQPOLL != 0;
        let mut how = ENTER_GETEVENTS;
        if polled && self.at(SQ_OFFSETS, flags).load(Ordering::SeqCst) & 1 != 0 {
            how |= ENTER_SQ_WAKEUP;
        }
        let (fd, count, none) = (self.fd.as_raw_fd(), u32::from(!polled), 0_usize);
        // SAFETY: takes numbers only; what the entry points to outlives the answer that is waited for here.
        let entered =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, count, 1, how, none, none) };
        if entered < 0 {
            return Err(io::Error::last_os_error());
        }
        let seen = self.at(CQ_OFFSETS, head).load(Ordering::Acquire);
        let slot = seen & self.at(CQ_OFFSETS, mask).load(Ordering::Relaxed);
        let place = self.parameters.get(CQ_OFFSETS + cqes).copied().unwrap_or(0) + slot * 16;
        let answer = self.rings.word(place as usize + 8).load(Ordering::Acquire).cast_signed();
        self.at(CQ_OFFSETS, head).store(seen.wrapping_add(1), Ordering::Release);
        if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(answer) }
    }

    fn connect(&mut self, fd: BorrowedFd<'_>, to: &Address) -> io::Result<i32> {
        self.submit(&Entry {
            operation: OP_CONNECT,
            fd: fd.as_raw_fd(),
            address: to.bytes().as_ptr().addr() as u64,
            offset: to.bytes().len() as u64,
            ..Entry::default()
        })
    }

    fn send(&mut self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<i32> {
        self.submit(&Entry {
            operation: OP_SEND,
            fd: fd.as_raw_fd(),
            address: bytes.as_ptr().addr() as u64,
            length: u32::try_from(bytes.len()).unwrap_or(0),
            ..Entry::default()
        })
    }

    /// With the address in the entry itself.
    fn send_to(
        &mut self,
        operation: u8,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
        to: &Address,
    ) -> io::Result<i32> {
        self.submit(&Entry {
            operation,
            fd: fd.as_raw_fd(),
            address: bytes.as_ptr().addr() as u64,
            length: u32::try_from(bytes.len()).unwrap_or(0),
            offset: to.bytes().as_ptr().addr() as u64,
            extent: u32::try_from(to.bytes().len()).unwrap_or(0),
            ..Entry::default()
        })
    }

    fn set_option(
        &mut self,
        fd: BorrowedFd<'_>,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> io::Result<i32> {
        let [level, name] = [level, name].map(|number| u64::from(number.cast_unsigned()));
        self.submit(&Entry {
            operation: OP_COMMAND,
            fd: fd.as_raw_fd(),
            offset: SOCKET_SETSOCKOPT,
            address: level | name << 32,
            extent: u32::try_from(value.len()).unwrap_or(0),
            value: value.as_ptr().addr() as u64,
            ..Entry::default()
        })
    }

    /// At the first of the gate's ports.
    fn bind(&mut self, attempt: &Attempt, fd: BorrowedFd<'_>) -> Met {
        let port = attempt.site.gate_ports.first().copied().unwrap_or_default();
        // Where nobody ever was, so that no connection that ended a moment ago is in the way.
        let at = Address::inet(SocketAddr::from((Ipv4Addr::new(127, 9, 9, 9), port)), 0);
        self.submit(&Entry {
            operation: OP_BIND,
            fd: fd.as_raw_fd(),
            address: at.bytes().as_ptr().addr() as u64,
            offset: at.bytes().len() as u64,
            ..Entry::default()
        })
        .at("IORING_OP_BIND")
        .map(|_done| None)
    }

    fn send_message(
        &mut self,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
        flags: u32,
        to: &Address,
    ) -> io::Result<i32> {
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zeros is a valid header.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = to.bytes().as_ptr().cast_mut().cast();
        message.msg_namelen = u32::try_from(to.bytes().len()).unwrap_or(0);
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        self.submit(&Entry {
            operation: OP_SENDMSG,
            fd: fd.as_raw_fd(),
            address: (&raw const message).addr() as u64,
            length: 1,
            flags,
            ..Entry::default()
        })
    }
}
