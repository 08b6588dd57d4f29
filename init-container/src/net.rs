//! What the network namespace of the calling thread has: interfaces and addresses.

use std::{collections::BTreeSet, fs, io, net::IpAddr, path::Path};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use crate::floor::{FloorError, Interface};

/// The interfaces and addresses of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Every interface but the loopback.
    pub interfaces: Vec<Interface>,
    /// Every address that is not a loopback address.
    pub own: Vec<IpAddr>,
}

/// Why the network is not known.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel's list cannot be read.
    #[error("cannot list the interfaces of this network: {0}")]
    List(io::Error),
    /// A name is odd.
    #[error(transparent)]
    Name(#[from] FloorError),
}

impl Network {
    /// Looks at the network namespace of the calling thread.
    ///
    /// # Errors
    /// When it cannot be listed, or an interface's name cannot stand in a rule.
    pub fn here() -> Result<Self, NetworkError> {
        let listed = getifaddrs().map_err(|error| NetworkError::List(error.into()))?;
        let (mut names, mut own) = (BTreeSet::new(), BTreeSet::new());
        for entry in listed {
            if !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
                names.insert(entry.interface_name);
            }
            let address = entry.address.and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())))
            });
            own.extend(address.filter(|address| !address.is_loopback()));
        }
        let interfaces = names.iter().map(|name| Interface::new(name)).collect::<Result<_, _>>()?;
        Ok(Self { interfaces, own: own.into_iter().collect() })
    }
}

/// The kernel's number of an interface.
///
/// # Errors
/// When there is none of this name.
pub fn index(interface: &Interface) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(interface.name())?)
}

/// The first interface that is a device of the machine itself, as the node's network has and a pod's rarely.
///
/// Nothing where `/sys` shows another network than that of the calling thread.
#[must_use]
pub fn machines_own(network: &Network) -> Option<String> {
    let links = getifaddrs().ok()?.filter_map(|entry| {
        let address = entry.address?;
        Some((entry.interface_name, address.as_link_addr()?.to_string().to_lowercase()))
    });
    let links: Vec<_> = links.collect();
    let names = network.interfaces.iter().map(Interface::name);
    let mut devices = names.filter(|name| {
        let at = Path::new("/sys/class/net").join(name);
        let shown = fs::read_to_string(at.join("address")).unwrap_or_default();
        let same = links.iter().any(|(link, address)| link == name && *address == shown.trim());
        same && at.join("device").exists()
    });
    devices.next().map(str::to_owned)
}
