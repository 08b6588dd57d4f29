//! Names the layouts, ports and words that the kernel programs and their loader must agree on.
#![no_std]

mod technique;
pub use technique::{TECHNIQUES, Technique};

/// The gate's transparent intake, TCP, on both loopback addresses, unless the loader names another (DESIGN §9).
pub const INTAKE_PORT: u16 = 16801;

/// The port at which the gate takes explicit proxy requests.
pub const PROXY_PORT: u16 = 16802;

/// The port to which a pod's inbound TCP connections are redirected.
pub const INBOUND_PORT: u16 = 16806;

/// The port of the control API.
pub const CONTROL_PORT: u16 = 16809;

/// The port of health, readiness and metrics.
pub const HEALTH_PORT: u16 = 16815;

/// The port of the responder, beside [`DNS_PORT`], where the gate may not listen at that one.
pub const RESPONDER_PORT: u16 = 16853;

/// Every port at which a gate may listen in the network of what it governs: nobody else connects to them or binds them.
pub const GATE_PORTS: [u16; 6] =
    [INTAKE_PORT, PROXY_PORT, INBOUND_PORT, CONTROL_PORT, HEALTH_PORT, RESPONDER_PORT];

/// Where names are asked for; every question to this port goes to the gate's own responder, which is at this port
/// too unless the loader names another.
pub const DNS_PORT: u16 = 53;

/// The mark of the exempt cgroup's sockets, by which the packet filter tells them: `PROX` in ASCII.
pub const MARK: u32 = 0x5052_4f58;

/// The program's constant (`u32`) that holds the port of the intake.
pub const INTAKE_CONSTANT: &str = "INTAKE";
/// The program's constant (`u32`) that holds the port of the responder.
pub const RESPONDER_CONSTANT: &str = "RESPONDER";
/// The program's constant (`u64`) that holds the cookie of the one network namespace in which the gate is reached;
/// 0 where there is only one.
pub const NETWORK_CONSTANT: &str = "NETWORK";
/// The program's constant (`u32`) that says, where it is not 0, that the kernel tells a program at a socket option
/// which process called (6.1).
pub const NAMED_CONSTANT: &str = "NAMED";
/// The program's constant (`u32`) that says, where it is not 0, that the programs may ask what the calling process is
/// called: the kernel lets those only that a process with `CAP_PERFMON` loaded.
pub const CALLED_CONSTANT: &str = "CALLED";

/// An IPv6 address as four words in the order they have in memory; IPv4 is written as `::ffff:a.b.c.d`.
pub type Words = [u32; 4];

/// A cgroup's id, the inode of its folder, low word first.
pub type Cgroup = [u32; 2];

/// One end of a connection: how the accepting side sees it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, in memory order.
    pub address: Words,
    /// The port, in host order.
    pub port: u32,
}

/// Where a redirected connection wanted to go, and who asked.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The destination that the program named.
    pub wanted: Endpoint,
    /// The cgroup in which it was.
    pub cgroup: Cgroup,
}

/// Where a socket wanted to go before it was sent to the gate; kept with the socket.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirected {
    /// The destination that the program named, and who that was.
    pub origin: Origin,
    /// Which protocol the redirected packets use: [`WIRE_NONE`], [`WIRE_V4`] or [`WIRE_V6`].
    pub wire: u32,
}

/// The socket's last connect was not redirected.
pub const WIRE_NONE: u32 = 0;
/// The gate sees the connection as coming from an IPv4 address.
pub const WIRE_V4: u32 = 4;
/// The gate sees the connection as coming from an IPv6 address.
pub const WIRE_V6: u32 = 6;

/// What a program refused, as it lies in the ring buffer: 68 bytes without padding.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// A [`Technique`], by its number.
    pub technique: u32,
    /// The process, in the first PID namespace; 0 where no process is known to have asked.
    pub pid: u32,
    /// The user, in the first user namespace.
    pub uid: u32,
    /// The socket's address family (`AF_*`).
    pub family: u32,
    /// The protocol (`IPPROTO_*`).
    pub protocol: u32,
    /// The level of a socket option in the upper half and its name in the lower; otherwise 0.
    pub option: u32,
    /// The cgroup of who asked.
    pub cgroup: Cgroup,
    /// Where it was to go; all zeros where that is not known.
    pub destination: Endpoint,
    /// The name of the process, ended by a zero.
    pub comm: [u8; 16],
}

/// Connections that may be open at once, of one run or of all that is attached to one gate; beyond it a
/// connection has no destination and is closed.
pub const CONNECTIONS: usize = 65_536;

/// Cgroups that may be exempt at once: one gate, and as many again while it is replaced.
pub const EXEMPTIONS: usize = 4;

/// The ids of the cgroups that are exempt; 0 is nobody's. One value of an array, which every packet is compared with
/// without a call.
pub type Exempt = [u64; EXEMPTIONS];

/// Addresses of its own that a pod may have.
pub const OWN_ADDRESSES: usize = 64;

/// Ports at which one gate may listen.
pub const PORTS: usize = 16;

/// The size of the ring buffer of refused attempts, in bytes: some 900 of them.
pub const RING: usize = 64 * 1024;

/// The words of `::ffff:a.b.c.d`, given `a.b.c.d` in memory order.
#[must_use]
pub const fn mapped(v4: u32) -> Words {
    [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4]
}
