//! What the gate itself knows of whoever opened a connection to a `tollgate serve`.

use std::net::IpAddr;

/// The far end of a connection. Nothing here is what the agent says of itself: the kernel names the
/// address and the control group, and the handshake proves the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address that it connects from; v4-mapped ones as IPv4.
    pub address: IpAddr,
    /// The control group of an attachment (`tollgate attach`) that the kernel redirected it from, as
    /// its path from the root of the hierarchy.
    pub cgroup: Option<String>,
    /// Whether it is in the pod that the gate guards.
    pub in_pod: bool,
    /// The names (DNS and URI) in the client certificate that it proved to hold.
    pub certificates: Vec<String>,
}

impl Peer {
    /// A peer of which only the address is known.
    #[must_use]
    pub const fn at(address: IpAddr) -> Self {
        Self {
            address: address.to_canonical(),
            cgroup: None,
            in_pod: false,
            certificates: Vec::new(),
        }
    }
}
