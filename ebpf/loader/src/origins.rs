//! What the programs publish of each redirected connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aya::{
    Pod,
    maps::{HashMap, MapData, MapError},
};
use ebpf_shared::{Cgroup, Endpoint, Words};

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

    /// As [`Origins::of`], if the connection was accepted at `at`, one of the addresses that the programs redirect to.
    pub(crate) fn at(&self, peer: SocketAddr, at: SocketAddr) -> Option<Origin> {
        let here = match at.ip().to_canonical() {
            IpAddr::V4(ip) => ip == Ipv4Addr::LOCALHOST,
            IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
        };
        here.then(|| self.of(peer))?
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

pub(crate) fn id([low, high]: Cgroup) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The reverse of [`id`].
pub(crate) fn halves(id: u64) -> Cgroup {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
    let low = id as u32;
    [low, (id >> 32) as u32]
}

pub(crate) fn endpoint(at: SocketAddr) -> Endpoint {
    Endpoint { address: words(at.ip()), port: u32::from(at.port()) }
}

/// An address as the programs see it.
pub(crate) fn words(ip: IpAddr) -> Words {
    let octets = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let (words, _) = octets.as_chunks::<4>();
    let mut address: Words = [0; 4];
    for (word, chunk) in address.iter_mut().zip(words) {
        *word = u32::from_ne_bytes(*chunk);
    }
    address
}

pub(crate) fn address(at: &Endpoint) -> Option<SocketAddr> {
    let mut octets = [0; 16];
    let (chunks, _) = octets.as_chunks_mut::<4>();
    for (chunk, word) in chunks.iter_mut().zip(at.address) {
        *chunk = word.to_ne_bytes();
    }
    Some(SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), u16::try_from(at.port).ok()?))
}
