//! Frames put on the wire below IP: packet sockets, with the queue and past it, and `AF_XDP`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::Ordering;

use netns::attempt::{At as _, Attempt, Met};
use netns::sys::{self, Address};

use crate::inet;
use crate::memory::Shared;

/// The first `EtherType` for local experiments (IEEE 802).
const EXPERIMENT: u16 = 0x88b5;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
// Of linux/if_packet.h: options, and of the first version of a ring's frame where its length and its bytes are.
const PACKET_TX_RING: i32 = 13;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_QDISC_BYPASS: i32 = 20;
const TP_STATUS_SEND_REQUEST: u32 = 1;
const TPACKET_LENGTH: usize = 8;
const TPACKET_FRAME: usize = 32;
/// `SOCK_PACKET` (linux/net.h), which libc does not name.
const SOCK_PACKET: i32 = 10;
/// A link address that nobody has.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// By a packet socket.
pub(crate) fn packet(attempt: &Attempt) -> Met {
    inet::bend::whole_process(attempt)?;
    let cooked = attempt.says("cooked");
    let kind = if cooked { libc::SOCK_DGRAM } else { libc::SOCK_RAW };
    let socket = sys::socket(libc::AF_PACKET, kind, 0).at("socket")?;
    if attempt.says("bypass") {
        let option = PACKET_QDISC_BYPASS;
        sys::set_number(socket.as_fd(), libc::SOL_PACKET, option, 1).at("PACKET_QDISC_BYPASS")?;
    }
    if attempt.says("mark") {
        let mark = attempt.site.mark.to_ne_bytes();
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, &mark).at("SO_MARK")?;
    }
    let index = sys::interface(&attempt.site.device).at("interface")?;
    let (kind, body) = body(attempt);
    let to = Address::packet(index, kind, attempt.site.world_link);
    let mut bytes = if cooked { body } else { frame(attempt, kind, &body) };
    if attempt.says("ring") {
        return by_ring(socket.as_fd(), &to, &bytes);
    }
    if attempt.says("offload") {
        sys::set_number(socket.as_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, 1)
            .at("PACKET_VNET_HDR")?;
        // Of what the card is to do: nothing.
        bytes = [&[0; 10][..], &bytes].concat();
    }
    let pieces = inet::bend::message(attempt)?;
    sys::send_message(socket.as_fd(), &bytes, 0, Some(&to), &pieces).at("sendmsg")?;
    Ok(None)
}

/// By a ring of frames in memory that is shared with the kernel.
fn by_ring(fd: BorrowedFd<'_>, to: &Address, bytes: &[u8]) -> Met {
    let request = [CHUNK, 1, CHUNK / 2, 2].map(u32::to_ne_bytes).concat();
    sys::set_option(fd, libc::SOL_PACKET, PACKET_TX_RING, &request).at("PACKET_TX_RING")?;
    let ring = Shared::map(fd, CHUNK as usize, 0).at("mmap")?;
    ring.write(TPACKET_LENGTH, &u32::try_from(bytes.len()).unwrap_or(0).to_ne_bytes());
    ring.write(TPACKET_FRAME, bytes);
    ring.word(0).store(TP_STATUS_SEND_REQUEST, Ordering::Release);
    sys::send_to(fd, &[], 0, Some(to)).at("sendto").map(|_length| None)
}

/// By the packet socket of Linux 2.0, which is asked for as one of the internet's.
pub(crate) fn old_packet(attempt: &Attempt) -> Met {
    let (kind, body) = body(attempt);
    let protocol = i32::from(kind.to_be());
    let socket = sys::socket(libc::AF_INET, SOCK_PACKET, protocol).at("socket")?;
    // `sockaddr_pkt`: the interface by name, then the protocol.
    let mut name = attempt.site.device.as_bytes().to_vec();
    name.resize(14, 0);
    let to = Address::raw(libc::AF_PACKET, &[&name[..], &kind.to_be_bytes()].concat());
    let bytes = frame(attempt, kind, &body);
    sys::send_to(socket.as_fd(), &bytes, 0, Some(&to)).at("sendto").map(|_length| None)
}

fn frame(attempt: &Attempt, kind: u16, body: &[u8]) -> Vec<u8> {
    [&attempt.site.world_link[..], &NOBODY, &kind.to_be_bytes(), body].concat()
}

/// The `EtherType` and what follows it: bare, or dressed as what keeps neighbours together, which a floor lets out.
fn body(attempt: &Attempt) -> (u16, Vec<u8>) {
    let marker = attempt.marker.as_bytes();
    let (kind, mut body) = if attempt.says("as-arp") {
        let (own, other) = (attempt.site.pod.0.octets(), attempt.site.world.0.octets());
        let head = [0, 1, 8, 0, 6, 4, 0, 1];
        (ARP, [&head[..], &NOBODY, &own, &[0; 6], &other, marker].concat())
    } else if attempt.says("as-neighbour") {
        (IPV6, solicitation(attempt))
    } else {
        (EXPERIMENT, marker.to_vec())
    };
    body.resize(body.len().max(46), 0);
    (kind, body)
}

/// A neighbour solicitation (RFC 4861) to somebody far away, with the marker as an option.
fn solicitation(attempt: &Attempt) -> Vec<u8> {
    const ICMPV6: u8 = 58;
    let marker = attempt.marker.as_bytes();
    let words = u8::try_from((2 + marker.len()).div_ceil(8)).unwrap_or(1);
    let mut option = [&[253, words], marker].concat();
    option.resize(usize::from(words) * 8, 0);
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &attempt.v6.octets(), &option].concat();
    let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], ICMPV6, 255];
    let (from, to) = (attempt.site.pod.1.octets(), attempt.v6.octets());
    [&head[..], &from, &to, &message].concat()
}

/// A socket of the family and type that the words say by number: who has one is past every hook of the internet ones.
pub(crate) fn family(attempt: &Attempt) -> Met {
    let mut numbers = attempt.words.iter().filter_map(|word| word.parse::<i32>().ok());
    let (Some(family), Some(kind)) = (numbers.next(), numbers.next()) else {
        return Err(io::Error::other("the words say no family and type")).at("begin");
    };
    sys::socket(family, kind, numbers.next().unwrap_or(0)).at("socket").map(|_socket| None)
}

/// A socket to the hypervisor: bound, not connected, because what answers there is not ours to try.
pub(crate) fn vsock(_: &Attempt) -> Met {
    let socket = sys::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).at("socket")?;
    // Two reserved bytes, then port and context: any of both.
    let any = [&[0; 2][..], &[0xff; 8], &[0; 4]].concat();
    sys::bind(socket.as_fd(), &Address::raw(libc::AF_VSOCK, &any)).at("bind")?;
    Ok(None)
}

// Of linux/if_xdp.h.
const SOL_XDP: i32 = 283;
const XDP_MMAP_OFFSETS: i32 = 1;
const XDP_TX_RING: i32 = 3;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;
const PGOFF_TX_RING: i64 = 0x8000_0000;
const XDP_COPY: u16 = 2;
const CHUNK: u32 = 4096;
const CHUNKS: u32 = 4;

/// By a ring of `AF_XDP` in copy mode, which no hook above the driver sees.
pub(crate) fn xdp(attempt: &Attempt) -> Met {
    let socket = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).at("socket")?;
    let fd = socket.as_fd();
    let memory = Shared::own((CHUNK * CHUNKS) as usize).at("mmap")?;
    let ring = rings(fd, &memory).at("rings")?;
    let index = sys::interface(&attempt.site.device).at("interface")?;
    let at = [&XDP_COPY.to_ne_bytes()[..], &index.to_ne_bytes(), &[0; 8]].concat();
    bind_when_free(fd, &Address::raw(libc::AF_XDP, &at)).at("bind")?;
    let (kind, body) = body(attempt);
    let bytes = frame(attempt, kind, &body);
    memory.write(0, &bytes);
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    let descriptor = [&0_u64.to_ne_bytes()[..], &length.to_ne_bytes(), &[0; 4]].concat();
    ring.mapping.write(ring.descriptors, &descriptor);
    ring.mapping.word(ring.producer).store(1, Ordering::Release);
    sys::send_to(fd, &[], libc::MSG_DONTWAIT, None).at("sendto")?;
    // The frame is gone when its chunk may be used again.
    Ok(None)
}

/// The kernel frees a queue some moments after its last socket was closed.
fn bind_when_free(fd: BorrowedFd<'_>, at: &Address) -> io::Result<()> {
    for _ in 0..10 {
        match sys::bind(fd, at) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(std::time::Duration::from_millis(30));
            }
            done => return done,
        }
    }
    sys::bind(fd, at)
}

struct Sending {
    mapping: Shared,
    producer: usize,
    descriptors: usize,
}

fn rings(fd: BorrowedFd<'_>, memory: &Shared) -> io::Result<Sending> {
    let length = u64::from(CHUNK * CHUNKS).to_ne_bytes();
    let region =
        [&memory.address().to_ne_bytes()[..], &length, &CHUNK.to_ne_bytes(), &[0; 12]].concat();
    sys::set_option(fd, SOL_XDP, XDP_UMEM_REG, &region)?;
    for ring in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING] {
        sys::set_option(fd, SOL_XDP, ring, &CHUNKS.to_ne_bytes())?;
    }
    // For each of rx, tx, fill and completion: producer, consumer, descriptors, flags, 64 bits each.
    let offsets = sys::option(fd, SOL_XDP, XDP_MMAP_OFFSETS)?;
    let (words, _) = offsets.as_chunks::<8>();
    let offset = |number: usize| {
        let word = words.get(number).map(|word| u64::from_ne_bytes(*word));
        usize::try_from(word.unwrap_or(0)).unwrap_or(0)
    };
    let (producer, descriptors) = (offset(4), offset(6));
    let mapping = Shared::map(fd, descriptors + CHUNKS as usize * 16, PGOFF_TX_RING)?;
    Ok(Sending { mapping, producer, descriptors })
}
