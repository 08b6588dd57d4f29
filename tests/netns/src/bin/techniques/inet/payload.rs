//! What is sent: the marker, dressed as the protocol wants it.

use netns::attempt::Attempt;

/// The bytes of one message.
pub(crate) fn payload(attempt: &Attempt) -> Vec<u8> {
    let marker = attempt.marker.as_bytes();
    let bytes = if attempt.says("quic") {
        quic(marker)
    } else if attempt.says("dns") {
        question(marker, attempt.says("tcp"))
    } else if attempt.says("ping") || attempt.says("icmp") {
        echo(marker, attempt.says("v6"))
    } else if attempt.says("hdrincl") {
        whole_packet(attempt)
    } else {
        marker.to_vec()
    };
    // In halves, so that segmentation makes two packets of it.
    if attempt.says("gso") { [bytes.clone(), bytes].concat() } else { bytes }
}

/// An Initial of QUIC version 1 (RFC 9000 section 17.2.2) whose token is the marker.
fn quic(marker: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    packet.push(u8::try_from(marker.len()).unwrap_or(0));
    packet.extend(marker);
    // An Initial fills 1,200 bytes.
    packet.extend([0x44, 0x9e]);
    packet.resize(1200, 0);
    packet
}

/// A question for a name whose first label is the marker (RFC 1035), with its length before it over TCP.
fn question(marker: &[u8], over_stream: bool) -> Vec<u8> {
    let head = [0x4e, 0x53, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let (own, top) = (u8::try_from(marker.len()).unwrap_or(0), 7);
    let name = [&[own], marker, &[top], b"example", &[0]].concat();
    let message = [&head[..], &name, &[0, 1, 0, 1]].concat();
    if !over_stream {
        return message;
    }
    let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
    [&length[..], &message].concat()
}

/// An echo request; the kernel fills in the checksum of a ping socket and of `ICMPv6`.
fn echo(marker: &[u8], v6: bool) -> Vec<u8> {
    let kind = if v6 { 128 } else { 8 };
    let mut packet = [&[kind, 0, 0, 0, 0, 1, 0, 1], marker].concat();
    let sum = checksum(&packet);
    for (byte, value) in packet.iter_mut().skip(2).zip(sum.to_be_bytes()) {
        *byte = value;
    }
    packet
}

/// An IPv4 packet with its header (RFC 791) carrying UDP, from an address that is not the pod's where `spoofed`.
fn whole_packet(attempt: &Attempt) -> Vec<u8> {
    const UDP: u8 = 17;
    let marker = attempt.marker.as_bytes();
    let from = if attempt.says("spoofed") { [192, 0, 2, 77] } else { attempt.site.pod.0.octets() };
    let segment = u16::try_from(8 + marker.len()).unwrap_or(8);
    let length = (20 + segment).to_be_bytes();
    let [high, low] = length;
    let head = [0x45, 0, high, low, 0, 0, 0, 0, 64, UDP, 0, 0];
    let udp = [attempt.port.to_be_bytes(), attempt.port.to_be_bytes(), segment.to_be_bytes()];
    [&head[..], &from, &attempt.v4.octets(), &udp.concat(), &[0, 0], marker].concat()
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    let mut sum = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum::<u32>() + odd;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
