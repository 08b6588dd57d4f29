//! The numbers that gate, programs and floor agree on, by what they are for.

pub use ebpf::{
    CONTROL_PORT as CONTROL, GATE_PORTS as GATE, HEALTH_PORT as HEALTH, INBOUND_PORT as INBOUND,
    INTAKE_PORT as INTAKE, MARK, PROXY_PORT as PROXY, RESPONDER_PORT as RESPONDER,
};

/// The connection mark of what came in for the gate, before the gate has said anything on it (nftables modes).
pub const CAME_IN: u32 = MARK + 1;

/// The user that the gate's container runs as unless another is named.
pub const GATE_UID: u32 = 16801;
