//! The floor: what leaves or enters a pod's network at all, whatever sockets say, as nftables text.
//!
//! Programs of a cgroup see sockets, netfilter sees packets: each closes the other's holes. The floor drops by the
//! interface that a packet really leaves by and by the mark of the socket that made it. Nothing is accepted because a
//! connection is established: an answer to who came in from outside is a way out too.

mod device;
mod egress;
mod exempt;
mod ingress;
mod outbound;
mod remember;
mod text;

use std::fmt;

use ipnet::IpNet;

use crate::{mode::Mode, ports};
use text::Table;

#[cfg(test)]
mod tests;

/// The table of both families, in whose named counters validation and metrics read.
pub const TABLE: &str = "tollgate";
/// Packets that a process tried to send out of the pod.
pub const DROPPED_OUT: &str = "dropped_out";
/// Packets that came for nobody who may be reached.
pub const DROPPED_IN: &str = "dropped_in";
/// Packets that were to pass through the pod.
pub const DROPPED_FORWARD: &str = "dropped_forward";
/// Frames that a process tried to put on an interface past the protocols; in the table of family `netdev`.
pub const DROPPED_DEVICE: &str = "dropped_device";
/// Packets to a documentation network that would have left: none but a probe sends one.
pub const PROBE_PASSED: &str = "probe_passed";

/// The floor of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    mode: Mode,
    interfaces: Vec<Interface>,
    devices: bool,
    gate: Exempt,
    inbound: Vec<u16>,
    askers: Vec<IpNet>,
}

/// By what the gate is known to the floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    /// Its user: a socket that belongs to another never sends, whatever its mark.
    pub uid: u32,
    /// Its cgroup in [`Mode::NftCgroup`]; as long as it is not known nothing leaves.
    pub cgroup: Option<ExemptCgroup>,
}

/// A cgroup as nftables names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExemptCgroup {
    path: String,
    level: u8,
}

/// The name of a network interface in characters that mean nothing to nftables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface(String);

/// What a floor cannot be made of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloorError {
    /// An interface's name would be read as a pattern or end the string.
    #[error(
        "the interface {0:?} has a character in its name that a rule cannot hold: rename it with `ip link set`"
    )]
    Interface(String),
    /// A cgroup's path would end the string.
    #[error("the cgroup {0:?} has a character in its name that a rule cannot hold")]
    Cgroup(String),
    /// A port cannot be both.
    #[error(
        "port {0} is the gate's own and cannot be declared as inbound: change the application's port"
    )]
    Inbound(u16),
}

impl Interface {
    /// Takes a name.
    ///
    /// # Errors
    /// When it holds anything but letters, digits and `_ - . : @`.
    pub fn new(name: &str) -> Result<Self, FloorError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:@".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(FloorError::Interface(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ExemptCgroup {
    /// Takes the path below the top of the hierarchy, without a leading slash; `namespace` is how many folders deep
    /// the cgroup namespace of who loads the rules begins.
    ///
    /// # Errors
    /// When a rule cannot hold it.
    pub fn new(path: &str, namespace: usize) -> Result<Self, FloorError> {
        let bad = || FloorError::Cgroup(path.to_owned());
        if path.is_empty() || path.contains(['"', '\\', '\n', '*']) {
            return Err(bad());
        }
        let depth = path.split('/').filter(|name| !name.is_empty()).count();
        let level = depth.checked_sub(namespace).and_then(|level| u8::try_from(level).ok());
        Ok(Self { path: path.to_owned(), level: level.ok_or_else(bad)? })
    }

    /// The path below the top of the hierarchy.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Floor {
    /// The floor of a pod whose interfaces, but for its loopback, are `interfaces`, and whose application is reached at
    /// the TCP ports `inbound`.
    ///
    /// # Errors
    /// When a port of the gate's own is declared as inbound.
    pub fn new(
        mode: Mode,
        interfaces: &[Interface],
        gate: Exempt,
        inbound: &[u16],
    ) -> Result<Self, FloorError> {
        if let Some(own) = inbound.iter().find(|port| ports::GATE.contains(port)) {
            return Err(FloorError::Inbound(*own));
        }
        let mut interfaces = interfaces.to_vec();
        interfaces.sort();
        interfaces.dedup();
        let mut inbound = inbound.to_vec();
        inbound.sort_unstable();
        inbound.dedup();
        Ok(Self { mode, interfaces, devices: true, gate, inbound, askers: Vec::new() })
    }

    /// The same for a kernel that cannot look at what leaves an interface (before 5.16): packet sockets pass it.
    #[must_use]
    pub fn without_devices(mut self) -> Self {
        self.devices = false;
        self
    }

    /// The same, where only these may ask for the gate's health and its counts; without any, everybody may.
    #[must_use]
    pub fn asked_from(mut self, askers: &[IpNet]) -> Self {
        self.askers = askers.to_vec();
        self
    }

    /// The mode it belongs to.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Its interfaces.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The whole as one transaction for `nft -f`, which replaces what was there.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.inet().replace();
        if self.devices {
            text.push_str(&device::table(self).replace());
        } else {
            text.push_str(&Table::new("netdev").remove());
        }
        text
    }

    /// What takes every floor away, in one transaction.
    #[must_use]
    pub fn remove() -> String {
        Table::new("inet").remove() + &Table::new("netdev").remove()
    }

    fn inet(&self) -> Table {
        let mut table = Table::new("inet");
        table.counters.extend([DROPPED_OUT, DROPPED_IN, DROPPED_FORWARD, PROBE_PASSED]);
        if self.mode != Mode::Kernel {
            table.sets.extend(remember::sets());
            // Before the rule that jumps there.
            table.chains.push(remember::chain());
            table.chains.push(exempt::chain(self));
            table.chains.extend(outbound::chains(self));
        }
        table.chains.extend(egress::chains(self));
        table.chains.extend(ingress::chains(self));
        table
    }
}

/// `{ 1, 2 }`
fn set(ports: &[u16]) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    format!("{{ {} }}", ports.join(", "))
}
