//! Makes the network namespace of a run: loopback only, with the addresses that stand for names.
//!
//! With root a thread makes it and kernel programs lead to the gate, so that it needs no route. Without, a child makes
//! it inside a user namespace, every address is given to loopback, and nftables lead to the gate.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    thread::UnshareFlags,
};

use crate::{
    error::LaunchError,
    form::Form,
    listeners::Listeners,
    ports::Ports,
    redirect,
    userns::{self, Namespaces},
};

/// `198.18.0.0/15`, the addresses that stand for names within a run (RFC 2544; DESIGN §3 *DNS*).
const NAMES: ([u8; 4], u8) = ([198, 18, 0, 0], 15);

/// Address families as netlink writes them.
const INET: u8 = 2;
const INET6: u8 = 10;

/// Every namespace's first interface is its loopback.
const LOOPBACK: u32 = 1;

/// A new network namespace and the sockets that the gate listens on inside it.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) namespaces: Held,
    pub(crate) listeners: Listeners,
}

/// What of a run's namespaces front holds before anything runs in them.
#[derive(Debug)]
pub(crate) enum Held {
    /// The network's, which belongs to the host's user namespace.
    Network(OwnedFd),
    /// The network's and the user namespace that it belongs to.
    User(Namespaces),
}

impl Network {
    /// Makes both. The process itself stays where it is.
    pub(crate) fn create(form: Form, ports: &Ports) -> Result<Self, LaunchError> {
        let mut made = match form {
            Form::KernelPrograms => Self::by_a_thread(ports)?,
            Form::UserNamespace => Self::by_a_child(ports)?,
        };
        ports.open_outside(&mut made.listeners)?;
        Ok(made)
    }

    fn by_a_thread(ports: &Ports) -> Result<Self, LaunchError> {
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
        Ok(Self { namespaces: Held::Network(namespace), listeners })
    }

    fn by_a_child(ports: &Ports) -> Result<Self, LaunchError> {
        let mut opened = userns::aside(|| {
            let namespaces = userns::enter_new()?;
            bring_up()
                .and_then(|()| own_everything())
                .map_err(|error| userns::refused("bringing loopback up", &error))?;
            let mut listeners = Listeners::open()
                .map_err(|error| userns::refused("opening the gate's listeners", &error))?;
            // Before a program may keep a capability: the connector is to have none.
            ports.open_inside(&mut listeners).map_err(|error| error.to_string())?;
            redirect::lead(&listeners)?;
            let Namespaces { user, network } = namespaces;
            let mut opened = listeners.into_fds();
            opened.extend([network, user]);
            Ok(opened)
        })?;
        let step = "taking the run's namespaces";
        let missing = || LaunchError::setup(step, io::Error::other("too few came"));
        let user = opened.pop().ok_or_else(missing)?;
        let network = opened.pop().ok_or_else(missing)?;
        let listeners =
            Listeners::from_fds(opened).map_err(|error| LaunchError::setup(step, error))?;
        Ok(Self { namespaces: Held::User(Namespaces { user, network }), listeners })
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

    let socket = netlink()?;
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

/// Has every address be one of this machine's: `local default dev lo src 127.0.0.1`, and the same for IPv6.
///
/// A packet to anywhere then has a route, so that it comes to where nftables see it. The source is named because a
/// local destination would otherwise be its own, and an answer to that address somebody else's.
fn own_everything() -> io::Result<()> {
    const RTM_NEWROUTE: u16 = 24;
    const RTA_OIF: u16 = 4;
    const RTA_PREFSRC: u16 = 7;
    const RT_TABLE_LOCAL: u8 = 255;
    const RTPROT_STATIC: u8 = 4;
    const RT_SCOPE_HOST: u8 = 254;
    const RTN_LOCAL: u8 = 2;

    let socket = netlink()?;
    for (family, source) in
        [(INET, &Ipv4Addr::LOCALHOST.octets()[..]), (INET6, &Ipv6Addr::LOCALHOST.octets()[..])]
    {
        // struct rtmsg: family, no lengths of prefixes, no service type, table, who made it, scope, type, no flags.
        let mut route =
            vec![family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL];
        route.extend([0; 4]);
        for (kind, value) in [(RTA_OIF, &LOOPBACK.to_ne_bytes()[..]), (RTA_PREFSRC, source)] {
            let length = u16::try_from(4 + value.len()).map_err(io::Error::other)?;
            route.extend(length.to_ne_bytes());
            route.extend(kind.to_ne_bytes());
            route.extend(value);
        }
        match ask(&socket, RTM_NEWROUTE, &route) {
            // A kernel without IPv6, or with it switched off: nothing can be sent by it either.
            Err(error) if family == INET6 && is_absent(&error) => {}
            done => done?,
        }
    }
    Ok(())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EACCES | libc::EINVAL | libc::ENETDOWN)
    )
}

fn netlink() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // protocol 0 is NETLINK_ROUTE
    )?)
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
