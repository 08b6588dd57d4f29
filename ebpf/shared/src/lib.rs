//! Names the layouts and ports that the kernel programs and their loader must agree on.
#![no_std]

/// The gate's transparent intake, TCP, on both loopback addresses, unless the loader names another (DESIGN §9).
pub const INTAKE_PORT: u16 = 16801;

/// Where names are asked for; every question to this port goes to the gate's own responder, which is at this port
/// too unless the loader names another.
pub const DNS_PORT: u16 = 53;

/// The program's constant (`u32`) that holds the port of the intake.
pub const INTAKE_CONSTANT: &str = "INTAKE";
/// The program's constant (`u32`) that holds the port of the responder.
pub const RESPONDER_CONSTANT: &str = "RESPONDER";
/// The program's constant (`u64`) that holds the cookie of the one network namespace in which the gate is reached;
/// 0 where there is only one.
pub const NETWORK_CONSTANT: &str = "NETWORK";

/// An IPv6 address as four words in the order they have in memory; IPv4 is written as `::ffff:a.b.c.d`.
pub type Words = [u32; 4];

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
    /// The id of the cgroup in which it was, low word first.
    pub cgroup: [u32; 2],
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

/// Connections that may be open at once, of one run or of all that is attached to one gate; beyond it a
/// connection has no destination and is closed.
pub const CONNECTIONS: usize = 65_536;

/// The words of `::ffff:a.b.c.d`, given `a.b.c.d` in memory order.
#[must_use]
pub const fn mapped(v4: u32) -> Words {
    [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), v4]
}
