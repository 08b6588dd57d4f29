//! The numbers that gate, programs and floor agree on.

/// The mark of the gate's sockets, `PROX`; nobody else can set it where the programs are in force.
pub const MARK: u32 = 0x5052_4f58;
/// The connection mark of what came in for the gate, before the gate has said anything on it (nftables modes).
pub const CAME_IN: u32 = MARK + 1;

/// Redirected TCP connections.
pub const INTAKE: u16 = 16801;
/// Explicit proxy and gateway.
pub const PROXY: u16 = 16802;
/// Redirected inbound TCP connections.
pub const INBOUND: u16 = 16806;
/// Control API.
pub const CONTROL: u16 = 16809;
/// Health, readiness and metrics: the one port that is open from outside.
pub const HEALTH: u16 = 16815;
/// Questions for names.
pub const RESPONDER: u16 = 16853;

/// Everywhere the gate listens.
pub const GATE: [u16; 6] = [INTAKE, PROXY, INBOUND, CONTROL, HEALTH, RESPONDER];

/// The user that the gate's container runs as unless another is named.
pub const GATE_UID: u32 = 16801;
