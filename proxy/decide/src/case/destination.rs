//! Facts of where a request wants to go.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// How the destination is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// HTTP over TLS that the gate terminates.
    Https,
    /// HTTP in clear.
    Http,
    /// Bytes that the gate does not read.
    Opaque,
}

/// Where a request wants to go, by name, before any look-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Host name or address literal; lower case, without a trailing dot, IDNA as ASCII.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// SNI, Host or `:authority`, and the address the kernel was asked for all mean this host.
    pub agrees: bool,
    /// The credential the gate would put in for this host, where it holds one.
    pub credential: Option<String>,
}

/// What the destination's name resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// The name is not admitted, so nothing was asked of the network.
    NotLookedUp,
    /// The name does not exist, or has no address.
    NoSuchName,
    /// The address that will be dialled.
    Resolved {
        /// In text form.
        ip: String,
        /// What kind of address it is.
        class: AddressClass,
        /// The user named this very address with `--connect-to`. An address literal in the contract does not.
        named: bool,
    },
}

/// What kind of address a name resolved to. Only [`AddressClass::Public`] is dialled unless named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressClass {
    /// Globally reachable.
    Public,
    /// This machine.
    Loopback,
    /// RFC 1918, ULA or carrier-grade NAT.
    Private,
    /// Link-local, where cloud metadata services live.
    LinkLocal,
    /// A form that carries another address inside (NAT64, 6to4, Teredo, v4-mapped, v4-compatible).
    Embedded,
    /// Multicast, broadcast, unspecified, documentation, reserved.
    Reserved,
}
