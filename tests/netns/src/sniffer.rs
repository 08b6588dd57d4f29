//! A packet socket on the world's end of the wire, and the fence that says that all sent before it has arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail, ensure};

use crate::attempt::Attempt;
use crate::sys::{self, Address};
use crate::topology::{PEER, Topology, WORLD, inside};

const ETH_P_ALL: u16 = 3;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
/// Where a fence goes to: the port is discard (RFC 863), which no attempt has.
pub const FENCED: (Ipv4Addr, u16) = (WORLD.0, FENCE);
const FENCE: u16 = 9;
const PATIENCE: i32 = 5000;

/// One frame that arrived in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    fn part(&self, from: usize, length: usize) -> &[u8] {
        self.0.get(from..from + length).unwrap_or_default()
    }

    fn number(&self, at: usize) -> u16 {
        self.part(at, 2).try_into().map_or(0, u16::from_be_bytes)
    }

    fn kind(&self) -> u16 {
        self.number(12)
    }

    /// Protocol, source, destination, and where what is above IP begins.
    fn internet(&self) -> Option<(u8, IpAddr, IpAddr, usize)> {
        match self.kind() {
            IPV4 => {
                let words = self.part(14, 1).first()? & 0xf;
                let from: [u8; 4] = self.part(26, 4).try_into().ok()?;
                let to: [u8; 4] = self.part(30, 4).try_into().ok()?;
                let protocol = *self.part(23, 1).first()?;
                let at = 14 + usize::from(words) * 4;
                Some((protocol, Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into(), at))
            }
            IPV6 => {
                let from: [u8; 16] = self.part(22, 16).try_into().ok()?;
                let to: [u8; 16] = self.part(38, 16).try_into().ok()?;
                let protocol = *self.part(20, 1).first()?;
                Some((protocol, Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into(), 54))
            }
            _ => None,
        }
    }

    /// Whether it belongs to how neighbours find each other.
    #[must_use]
    pub fn is_neighbourly(&self) -> bool {
        const ICMPV6: u8 = 58;
        let discovery = || {
            let (protocol, .., at) = self.internet()?;
            let kind = self.part(at, 1).first()?;
            Some(protocol == ICMPV6 && (133..=137).contains(kind))
        };
        self.kind() == ARP || (self.kind() == IPV6 && discovery().unwrap_or(false))
    }

    /// Whether it belongs to this attempt: by its marker, its destination, a group or a port.
    #[must_use]
    pub fn is_of(&self, attempt: &Attempt) -> bool {
        let holds = |bytes: &[u8]| self.0.windows(bytes.len()).any(|window| window == bytes);
        // Addresses, options and what a membership report says after them.
        let in_header =
            |bytes: &[u8]| self.0.windows(4).skip(26).take(48).any(|window| window == bytes);
        let at_port = || {
            const ICMP: u8 = 1;
            let (protocol, .., at) = self.internet()?;
            // Of what an error quotes, the port it was sent to.
            let quoted = protocol == ICMP && self.number(at + 30) == attempt.port;
            let has_ports = [6, 17, 33, 132, 136].contains(&protocol);
            let ends = [self.number(at), self.number(at + 2)];
            Some(quoted || has_ports && ends.contains(&attempt.port))
        };
        holds(attempt.marker.as_bytes())
            || (self.kind() == IPV6 && holds(&attempt.v6.octets()))
            || (self.kind() == IPV6 && holds(&attempt.group6().octets()))
            || (self.kind() == IPV4 && in_header(&attempt.v4.octets()))
            || (self.kind() == IPV4 && in_header(&attempt.group4().octets()))
            || at_port().unwrap_or(false)
    }

    /// Whether it is this fence: a datagram that ends with its number.
    fn is_fence(&self, number: u64) -> bool {
        const UDP: u8 = 17;
        let ends = || self.0.ends_with(&number.to_be_bytes());
        self.internet().is_some_and(|(protocol, .., at)| {
            protocol == UDP && self.number(at + 2) == FENCE && ends()
        })
    }

    /// In a few words: protocol, source, destination, port and length.
    #[must_use]
    pub fn told(&self) -> String {
        let length = self.0.len();
        match self.internet() {
            Some((protocol, from, to, at)) => {
                let port = self.number(at + 2);
                format!("protocol {protocol}, {from} to {to} port {port}, {length} bytes")
            }
            None => format!("EtherType {:#06x}, {length} bytes", self.kind()),
        }
    }
}

/// Hears everything that arrives in the world.
#[derive(Debug)]
pub struct Sniffer {
    socket: OwnedFd,
    fence: OwnedFd,
    /// Where fences end, unread: a port without a socket would refuse them.
    _reached: UdpSocket,
    processors: usize,
}

impl Sniffer {
    /// Begins to listen. Fences are datagrams of `fence`, a socket as the gate's: of its cgroup and user, with its mark,
    /// connected to [`FENCED`], so that whatever is in force lets them out.
    ///
    /// # Errors
    /// Without the privilege to open packet sockets.
    pub fn listen(topology: &Topology, fence: OwnedFd) -> Result<Self> {
        let socket = inside(&topology.world, || {
            let all = i32::from(ETH_P_ALL.to_be());
            let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, all)?;
            let at = Address::packet(sys::interface(PEER)?, ETH_P_ALL, [0; 6]);
            sys::bind(socket.as_fd(), &at)?;
            let room = 32 << 20;
            sys::set_number(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, room)?;
            Ok(socket)
        })?;
        let reached = inside(&topology.world, || Ok(UdpSocket::bind(FENCED)?))?;
        Ok(Self { socket, fence, _reached: reached, processors: sys::processors() })
    }

    /// All frames that have arrived since the last time.
    ///
    /// A fence is sent on each processor, because what one of them sends arrives in order: when all fences are there,
    /// so is all that was sent before.
    ///
    /// # Errors
    /// When a fence does not arrive, or the socket lost frames: then nothing can be said.
    pub fn arrived(&self) -> Result<Vec<Frame>> {
        let number = crate::random()?;
        for processor in 0..self.processors {
            let (fence, number) = (&self.fence, number.to_be_bytes());
            std::thread::scope(|scope| {
                let thread = scope.spawn(move || {
                    sys::pin_to_processor(processor)?;
                    sys::send_to(fence.as_fd(), &number, 0, None)
                });
                thread.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")))
            })
            .with_context(|| format!("no fence can be sent on processor {processor}"))?;
        }
        let mut frames = Vec::new();
        let mut fences = 0;
        while fences < self.processors {
            let frame = self.next()?;
            if frame.is_fence(number) {
                fences += 1;
            } else {
                frames.push(frame);
            }
        }
        self.ensure_complete()?;
        Ok(frames)
    }

    fn next(&self) -> Result<Frame> {
        loop {
            if !sys::wait(self.socket.as_fd(), libc::POLLIN, PATIENCE)? {
                bail!("a fence did not arrive: the harness hears nothing of the wire");
            }
            let (bytes, is_own) = sys::receive_frame(self.socket.as_fd())?;
            if !is_own {
                return Ok(Frame(bytes));
            }
        }
    }

    fn ensure_complete(&self) -> Result<()> {
        const PACKET_STATISTICS: i32 = 6;
        let counted = sys::option(self.socket.as_fd(), libc::SOL_PACKET, PACKET_STATISTICS)?;
        let lost = counted.get(4..8).and_then(|bytes| bytes.try_into().ok());
        let lost = lost.map(u32::from_ne_bytes).context("no statistics of the packet socket")?;
        ensure!(lost == 0, "the packet socket lost {lost} frames");
        Ok(())
    }
}
