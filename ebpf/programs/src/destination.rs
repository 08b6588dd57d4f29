//! Decides from an address, a port and a protocol what becomes of a connect or a datagram.

use tollgate_ebpf_shared::{DNS_PORT, Endpoint, Technique, Words, mapped};

use crate::governed;

pub const STREAM: u32 = 1;
pub const DGRAM: u32 = 2;
pub const TCP: u32 = 6;
pub const UDP: u32 = 17;

/// `127.0.0.1` as it lies in memory.
const LOCALHOST: u32 = u32::from_ne_bytes([127, 0, 0, 1]);
/// `::1` as it lies in memory.
const LOCALHOST6: Words = [0, 0, 0, u32::from_ne_bytes([0, 0, 0, 1])];

/// The ports at which the gate listens, on both loopback addresses.
#[derive(Clone, Copy)]
pub struct Gate {
    pub intake: u16,
    pub responder: u16,
}

/// What becomes of a connect or a datagram.
#[derive(Clone, Copy)]
pub enum Fate {
    /// It goes where it wanted to.
    Allow,
    /// It goes where an earlier call on this socket was sent; what that call wanted stays noted.
    Stay,
    /// It fails with EPERM.
    Refuse(Technique),
    /// It goes to the gate.
    Redirect(Endpoint),
}

/// Where a socket wants to go.
#[derive(Clone, Copy)]
pub struct Whereto {
    address: Words,
    port: u16,
    protocol: u32,
    v6_socket: bool,
}

impl Whereto {
    /// From the fields of the context: the port is in network order in the low half of its word.
    #[inline(always)]
    pub fn new(address: Words, port: u32, protocol: u32, v6_socket: bool) -> Self {
        Self { address, port: u16::from_be(port as u16), protocol, v6_socket }
    }

    /// The call was made with an IPv6 address (also a mapped one).
    #[inline(always)]
    pub fn is_v6(&self) -> bool {
        self.v6_socket
    }

    /// The protocol of the socket.
    #[inline(always)]
    pub fn protocol(&self) -> u32 {
        self.protocol
    }

    /// The destination as the program named it.
    #[inline(always)]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, port: u32::from(self.port) }
    }

    /// One of the gate's two addresses that a redirected socket really talks to.
    #[inline(always)]
    pub fn is_at(&self, gate: Gate) -> bool {
        let here =
            if self.is_mapped() { self.address[3] == LOCALHOST } else { self.is_localhost6() };
        here && (self.port == gate.intake || self.port == gate.responder)
    }

    /// TCP and connected UDP. `redirected` says that this socket's last call was sent to the gate.
    #[inline(always)]
    pub fn connect(&self, gate: Gate, redirected: bool) -> Fate {
        match self.protocol {
            TCP | UDP => self.judge(gate, redirected),
            _ => Fate::Refuse(Technique::UnreadableConnect),
        }
    }

    /// A datagram: questions for names go to the responder, the rest stays inside.
    #[inline(always)]
    pub fn datagram(&self, gate: Gate, redirected: bool) -> Fate {
        self.judge(gate, redirected)
    }

    /// Where the gate is not: the loopback is the process's own, and may be another gate's; there is no way out.
    #[inline(always)]
    pub fn elsewhere(&self) -> Fate {
        if self.is_loopback() { Fate::Allow } else { Fate::Refuse(Technique::Elsewhere) }
    }

    #[inline(always)]
    fn judge(&self, gate: Gate, redirected: bool) -> Fate {
        if redirected && self.is_at(gate) {
            // The same call again: the programs of a cgroup above see what those below wrote, and a connected IPv6
            // socket with a mapped destination asks at each datagram.
            Fate::Stay
        } else if self.port == DNS_PORT {
            self.to_gate(gate.responder)
        } else if self.is_loopback() || governed::is_own(&self.address) {
            self.inside()
        } else if self.protocol == TCP {
            self.to_gate(gate.intake)
        } else {
            Fate::Refuse(Technique::Datagram)
        }
    }

    /// Nobody connects to the gate by its own name: there is no destination to judge by.
    #[inline(always)]
    fn inside(&self) -> Fate {
        if governed::is_gate_port(self.port) {
            Fate::Refuse(Technique::GatePort)
        } else {
            Fate::Allow
        }
    }

    #[inline(always)]
    fn to_gate(&self, port: u16) -> Fate {
        let address = if self.is_mapped() { mapped(LOCALHOST) } else { LOCALHOST6 };
        Fate::Redirect(Endpoint { address, port: u32::from(port) })
    }

    #[inline(always)]
    fn is_mapped(&self) -> bool {
        let [a, b, c, _] = mapped(0);
        self.address[0] == a && self.address[1] == b && self.address[2] == c
    }

    /// `127/8`, `::1`, and the unspecified addresses, which the kernel treats as the local host.
    #[inline(always)]
    fn is_loopback(&self) -> bool {
        if self.is_mapped() {
            let v4 = self.address[3];
            v4 == 0 || v4.to_ne_bytes()[0] == 127
        } else {
            self.is_localhost6() || self.address == [0; 4]
        }
    }

    #[inline(always)]
    fn is_localhost6(&self) -> bool {
        self.address == LOCALHOST6
    }
}
