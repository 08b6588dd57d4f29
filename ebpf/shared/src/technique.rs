//! The ways out that the programs refuse, each with a number and a name.

/// How somebody tried to leave past the gate.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Technique {
    /// A socket that is neither TCP nor UDP: UDP-Lite, ping, raw, SCTP, MPTCP.
    SocketType = 0,
    /// A datagram, or a connected UDP socket, to somewhere else than a name server.
    Datagram = 1,
    /// A connect by a socket whose protocol the gate cannot read.
    UnreadableConnect = 2,
    /// A connect or a datagram to a port at which the gate listens.
    GatePort = 3,
    /// A bind to a port at which the gate listens.
    BindGatePort = 4,
    /// A socket option that chooses a way or a mark.
    SocketOption = 5,
    /// A packet that was about to leave by another interface than loopback.
    Egress = 6,
    /// A connect or a datagram out of another network namespace than the gate's.
    Elsewhere = 7,
}

/// All techniques, in the order of their numbers.
pub const TECHNIQUES: [Technique; 8] = [
    Technique::SocketType,
    Technique::Datagram,
    Technique::UnreadableConnect,
    Technique::GatePort,
    Technique::BindGatePort,
    Technique::SocketOption,
    Technique::Egress,
    Technique::Elsewhere,
];

impl Technique {
    /// The technique's name in records, events and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SocketType => "socket_type",
            Self::Datagram => "datagram",
            Self::UnreadableConnect => "unreadable_connect",
            Self::GatePort => "gate_port",
            Self::BindGatePort => "bind_gate_port",
            Self::SocketOption => "socket_option",
            Self::Egress => "egress",
            Self::Elsewhere => "elsewhere",
        }
    }
}
