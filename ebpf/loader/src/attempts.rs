//! What the programs refused, as it happens.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use ebpf_shared::{Endpoint, Refused, TECHNIQUES, Technique};

use crate::{
    EbpfError,
    origins::{address, id},
};

/// One attempt that a program refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How.
    pub technique: Technique,
    /// The id of the cgroup of who tried.
    pub cgroup: u64,
    /// The process, as the node's first PID namespace numbers it; 0 where it is not known.
    pub pid: u32,
    /// The user, as the node's first user namespace numbers it.
    pub uid: u32,
    /// The name of the process, which it can choose: whoever shows it escapes it. Empty where it is not known.
    pub comm: String,
    /// Where to, if there is such a thing and it is known; port 0 where the protocol has none.
    pub destination: Option<SocketAddr>,
    /// The socket's or packet's protocol (`IPPROTO_*`).
    pub protocol: u32,
    /// The socket's or packet's address family (`AF_*`).
    pub family: u32,
    /// Level and name of the option, of [`Technique::SocketOption`].
    pub option: Option<(u32, u32)>,
}

/// Refused attempts as they happen. The descriptor is readable when there are some; a ring that is full loses them, and
/// only the counters are complete.
pub struct Attempts(RingBuf<MapData>);

impl fmt::Debug for Attempts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Attempts").finish_non_exhaustive()
    }
}

impl Attempts {
    pub(crate) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The oldest that was not read yet. Does not wait.
    ///
    /// What a newer version of the programs refused in a way that this one has no name for is passed over.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator: it goes on after nothing"
    )]
    pub fn next(&mut self) -> Option<Attempt> {
        loop {
            let item = self.0.next()?;
            if let Some(attempt) = read(&item) {
                return Some(attempt);
            }
        }
    }
}

impl AsFd for Attempts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How often each technique was refused, by the kernel's own count: also what did not fit into the ring.
pub struct Counters(PerCpuArray<MapData, u64>);

impl fmt::Debug for Counters {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Counters {
    pub(crate) const fn new(map: PerCpuArray<MapData, u64>) -> Self {
        Self(map)
    }

    /// Since the programs were attached.
    ///
    /// # Errors
    /// When the kernel does not let the map be read.
    pub fn read(&self) -> Result<Vec<(Technique, u64)>, EbpfError> {
        let failed = |error| EbpfError::Map { name: "COUNTERS", source: Box::new(error) };
        (0..)
            .zip(TECHNIQUES)
            .map(|(index, technique)| {
                let each = self.0.get(&index, 0).map_err(failed)?;
                Ok((technique, each.iter().sum()))
            })
            .collect()
    }
}

/// The words of a [`Refused`] before the name.
const WORDS: usize = 13;

fn read(item: &[u8]) -> Option<Attempt> {
    let (words, comm) = item.split_at_checked(WORDS * 4)?;
    // The ring rounds sizes up.
    let comm = comm.get(..size_of::<Refused>() - WORDS * 4)?;
    let mut fields = [0_u32; WORDS];
    let (words, _) = words.as_chunks::<4>();
    for (field, word) in fields.iter_mut().zip(words) {
        *field = u32::from_ne_bytes(*word);
    }
    let [technique, pid, uid, family, protocol, option, low, high, a, b, c, d, port] = fields;
    let technique = *TECHNIQUES.get(usize::try_from(technique).ok()?)?;
    let destination = Endpoint { address: [a, b, c, d], port };
    let is_known = destination.address != [0; 4] || port != 0;
    let name = comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Attempt {
        technique,
        cgroup: id([low, high]),
        pid,
        uid,
        comm: String::from_utf8_lossy(name).into_owned(),
        destination: if is_known { address(&destination) } else { None },
        protocol,
        family,
        option: (technique == Technique::SocketOption).then_some((option >> 16, option & 0xffff)),
    })
}

#[cfg(test)]
mod tests;
