//! What the programs publish of each redirected connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aya::{
    Pod,
    maps::{HashMap, MapData, MapError},
};
use ebpf_shared::{Endpoint, Words};

/// Where a redirected connection wanted to go, and who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The destination, in the family of its address: a mapped one is IPv4.
    pub wanted: SocketAddr,
    /// The id of the cgroup in which the process was that connected: the inode of its folder.
    pub cgroup: u64,
}

/// An endpoint as a map key.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source(Endpoint);

// SAFETY: `Endpoint` is `repr(C)`, five `u32` without padding, and every bit pattern is a value.
unsafe impl Pod for Source {}

/// An origin as a map value.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept(ebpf_shared::Origin);

// SAFETY: `Origin` is `repr(C)`, seven `u32` without padding, and every bit pattern is a value.
unsafe impl Pod for Kept {}

/// The kernel's list of redirected connections that are open.
#[derive(Debug)]
pub(crate) struct Origins(HashMap<MapData, Source, Kept>);

impl Origins {
    pub(crate) fn new(map: HashMap<MapData, Source, Kept>) -> Self {
        Self(map)
    }

    /// One system call. An error reads as "no destination", which the gate answers by closing.
    pub(crate) fn of(&self, peer: SocketAddr) -> Option<Origin> {
        let Kept(kept) = self.0.get(&Source(endpoint(peer)), 0).ok()?;
        Some(Origin { wanted: address(&kept.wanted)?, cgroup: id(kept.cgroup) })
    }

    /// Removes the connections that came from a cgroup of which `gone` holds.
    pub(crate) fn forget(&mut self, gone: impl Fn(u64) -> bool) -> Result<(), MapError> {
        let all: Vec<_> = self.0.iter().collect::<Result<_, _>>()?;
        for (source, Kept(kept)) in all {
            if gone(id(kept.cgroup)) {
                match self.0.remove(&source) {
                    // It was closed meanwhile.
                    Ok(()) | Err(MapError::KeyNotFound) => {}
                    Err(MapError::SyscallError(error))
                        if error.io_error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn id([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

pub(crate) fn endpoint(at: SocketAddr) -> Endpoint {
    let octets = match at.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let (words, _) = octets.as_chunks::<4>();
    let mut address: Words = [0; 4];
    for (word, chunk) in address.iter_mut().zip(words) {
        *word = u32::from_ne_bytes(*chunk);
    }
    Endpoint { address, port: u32::from(at.port()) }
}

pub(crate) fn address(at: &Endpoint) -> Option<SocketAddr> {
    let mut octets = [0; 16];
    let (chunks, _) = octets.as_chunks_mut::<4>();
    for (chunk, word) in chunks.iter_mut().zip(at.address) {
        *chunk = word.to_ne_bytes();
    }
    Some(SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), u16::try_from(at.port).ok()?))
}
