//! Makes the network namespace of a run: loopback only, with the addresses that stand for names.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    thread::UnshareFlags,
};

use crate::{error::LaunchError, listeners::Listeners, ports::Ports};

/// `198.18.0.0/15`, the addresses that stand for names within a run (RFC 2544; DESIGN §3 *DNS*).
const NAMES: ([u8; 4], u8) = ([198, 18, 0, 0], 15);

/// Every namespace's first interface is its loopback.
const LOOPBACK: u32 = 1;

/// A new network namespace and the sockets that the gate listens on inside it.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) namespace: OwnedFd,
    pub(crate) listeners: Listeners,
}

impl Network {
    /// Makes both. Only a short-lived thread enters the namespace; the process stays where it is.
    pub(crate) fn create(ports: &Ports) -> Result<Self, LaunchError> {
        let mut made = Self::create_apart(ports)?;
        ports.open_outside(&mut made.listeners)?;
        Ok(made)
    }

    fn create_apart(ports: &Ports) -> Result<Self, LaunchError> {
        std::thread::scope(|scope| {
            scope.spawn(|| Self::create_here(ports)).join().unwrap_or_else(|_| {
                Err(LaunchError::setup(
                    "opening the run's network",
                    io::Error::other("its thread panicked"),
                ))
            })
        })
    }

    fn create_here(ports: &Ports) -> Result<Self, LaunchError> {
        let step = |what: &'static str| move |error: io::Error| LaunchError::setup(what, error);
        // SAFETY: only the network namespace of this thread changes; descriptors stay shared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|error| LaunchError::setup("making a network namespace", error.into()))?;
        bring_up().map_err(step("bringing loopback up"))?;
        let namespace = rustix::fs::open(
            "/proc/thread-self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| LaunchError::setup("opening the network namespace", error.into()))?;
        let mut listeners = Listeners::open().map_err(step("opening the gate's listeners"))?;
        ports.open_inside(&mut listeners)?;
        Ok(Self { namespace, listeners })
    }
}

/// Takes `lo` up and gives it the addresses of [`NAMES`].
///
/// There is no route to anything else: what the kernel programs redirect needs none, the rest goes nowhere.
fn bring_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const RTM_NEWADDR: u16 = 20;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFF_UP: u32 = 1;
    const INET: u8 = 2;

    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // protocol 0 is NETLINK_ROUTE
    )?;
    // struct ifinfomsg: family and type unspecified, index, flags, which flags change.
    let mut link = vec![0; 4];
    for word in [LOOPBACK, IFF_UP, IFF_UP] {
        link.extend(word.to_ne_bytes());
    }
    ask(&socket, RTM_NEWLINK, &link)?;

    // struct ifaddrmsg: family, prefix length, no flags, global scope, index; then two attributes.
    let (address, prefix) = NAMES;
    let mut add = vec![INET, prefix, 0, 0];
    add.extend(LOOPBACK.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        add.extend(8_u16.to_ne_bytes());
        add.extend(kind.to_ne_bytes());
        add.extend(address);
    }
    ask(&socket, RTM_NEWADDR, &add)
}

/// Sends one request and waits for its acknowledgement.
fn ask(socket: &OwnedFd, kind: u16, body: &[u8]) -> io::Result<()> {
    const HEADER: usize = 16;
    const REQUEST_ACK_CREATE: u16 = 0x1 | 0x4 | 0x400;

    let mut message = Vec::with_capacity(HEADER + body.len());
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(REQUEST_ACK_CREATE.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::send(socket.as_fd(), &message, SendFlags::empty())?;

    let mut answer = [0; 1024];
    let (received, _) = rustix::net::recv(socket.as_fd(), &mut answer, RecvFlags::empty())?;
    // struct nlmsgerr follows the header: a negative errno, or zero.
    let error = answer
        .get(..received)
        .and_then(|answer| answer.get(HEADER..HEADER + 4))
        .and_then(|field| <[u8; 4]>::try_from(field).ok())
        .map(i32::from_ne_bytes)
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "netlink answered too briefly")
        })?;
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-error)) }
}
