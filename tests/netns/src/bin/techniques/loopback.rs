//! TCP without a socket: frames that a packet socket puts on the loopback, to ports of the gate that no `connect` may name.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use netns::attempt::{At as _, Attempt, Met, Stop};
use netns::sys::{self, Address};

/// `ETH_P_IPV6`. What comes to IPv4 like this the kernel drops by itself: its source is the machine's own.
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;
const SYN_ACK: u8 = SYN | ACK;
/// `IPV6_MINHOPCOUNT` (linux/in6.h): what has come further is dropped without an answer.
const IPV6_MINHOPCOUNT: i32 = 73;
/// How long an answer is waited for, in milliseconds.
const PATIENCE: i32 = 60;
/// Both ends of every frame.
const ADDRESS: Ipv6Addr = Ipv6Addr::LOCALHOST;
const FIRST: u32 = 1000;

/// Shakes hands with each port of the gate and hears what it says.
pub(crate) fn run(attempt: &Attempt) -> Met {
    // To this one the answers go, and it is deaf: without it the kernel would refuse them with a reset.
    let deaf = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, 0).at("socket")?;
    sys::set_number(deaf.as_fd(), libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, 255).at("deafen")?;
    let own = SocketAddr::from((ADDRESS, attempt.port));
    sys::bind(deaf.as_fd(), &Address::inet(own, 0)).at("bind")?;
    sys::listen(deaf.as_fd()).at("listen")?;
    let kind = i32::from(IPV6.to_be());
    let wire = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, kind).at("packet socket")?;
    let index = sys::interface("lo").at("interface")?;
    let end = End { wire, at: Address::packet(index, IPV6, [0; 6]), port: attempt.port };
    for port in &attempt.site.gate_ports {
        if end.shake_hands(*port)? {
            return Ok(Some(format!("[{ADDRESS}]:{port} is open")));
        }
    }
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)).at("SYN")
}

/// The end that no socket has.
struct End {
    wire: OwnedFd,
    at: Address,
    port: u16,
}

impl End {
    /// Whether the port took the connection.
    fn shake_hands(&self, port: u16) -> Result<bool, Stop> {
        self.send(port, SYN, FIRST, 0)?;
        while sys::wait(self.wire.as_fd(), libc::POLLIN, PATIENCE).at("poll")? {
            let packet = sys::receive(self.wire.as_fd(), 0).at("receive")?;
            if let Some(theirs) = self.taken(&packet, port) {
                self.send(port, ACK, FIRST + 1, theirs.wrapping_add(1))?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The number that the answer of the port begins with, where it is one.
    fn taken(&self, packet: &[u8], port: u16) -> Option<u32> {
        let segment = packet.get(40..)?;
        let ends = [port.to_be_bytes(), self.port.to_be_bytes()].concat();
        let is_answer = segment.starts_with(&ends) && *segment.get(13)? == SYN_ACK;
        let number = segment.get(4..8)?.try_into().ok().map(u32::from_be_bytes)?;
        is_answer.then_some(number)
    }

    fn send(&self, port: u16, flags: u8, number: u32, taken: u32) -> Result<(), Stop> {
        let ports = [self.port.to_be_bytes(), port.to_be_bytes()].concat();
        let numbers = [number.to_be_bytes(), taken.to_be_bytes()].concat();
        let (words, window) = (5 << 4, [0xff, 0xff]);
        let open = [&ports[..], &numbers, &[words, flags], &window, &[0; 4]].concat();
        let length = u8::try_from(open.len()).unwrap_or(0);
        let ends = [ADDRESS.octets(), ADDRESS.octets()].concat();
        let sum = checksum(&[&ends[..], &[0, length, 0, TCP], &open].concat());
        let segment = [&ports[..], &numbers, &[words, flags], &window, &sum, &[0; 2]].concat();
        let head = [0x60, 0, 0, 0, 0, length, TCP, 64];
        let packet = [&head[..], &ends, &segment].concat();
        sys::send_to(self.wire.as_fd(), &packet, 0, Some(&self.at)).at("sendto").map(drop)
    }
}

/// The sum of RFC 1071 over an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (words, _) = bytes.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).unwrap_or(0).to_be_bytes()
}
