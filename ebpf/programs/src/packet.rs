//! Reads from a packet that may not leave where it was going, for the report.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use tollgate_ebpf_shared::{Endpoint, Words, mapped};

use crate::{
    destination::{TCP, UDP},
    refusal::nowhere,
};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const UDP_LITE: u32 = 136;

/// Family, protocol and destination as the headers say; what cannot be read is zero.
pub struct Headers {
    pub family: u32,
    pub protocol: u32,
    pub destination: Endpoint,
}

/// The headers from the network layer on, where a packet begins at this hook.
#[inline(always)]
pub fn headers(cx: &SkBuffContext) -> Headers {
    match byte(cx, 0) >> 4 {
        4 => {
            let protocol = u32::from(byte(cx, 9));
            let after = u32::from(byte(cx, 0) & 0xf) * 4;
            let port = port(cx, protocol, after);
            let destination = Endpoint { address: mapped(word(cx, 16)), port };
            Headers { family: AF_INET, protocol, destination }
        }
        6 => {
            let protocol = u32::from(byte(cx, 6));
            let address: Words = [word(cx, 24), word(cx, 28), word(cx, 32), word(cx, 36)];
            let destination = Endpoint { address, port: port(cx, protocol, 40) };
            Headers { family: AF_INET6, protocol, destination }
        }
        _ => Headers { family: 0, protocol: 0, destination: nowhere() },
    }
}

/// The destination port of the protocols that have one right there; behind other headers it is not sought.
#[inline(always)]
fn port(cx: &SkBuffContext, protocol: u32, header: u32) -> u32 {
    match protocol {
        TCP | UDP | UDP_LITE => {
            u32::from(byte(cx, header + 2)) << 8 | u32::from(byte(cx, header + 3))
        }
        _ => 0,
    }
}

#[inline(always)]
fn byte(cx: &SkBuffContext, at: u32) -> u8 {
    let mut byte = 0_u8;
    // SAFETY: the buffer is one byte long; past the packet's end nothing is written to it.
    unsafe { bpf_skb_load_bytes(cx.as_ptr(), at, (&raw mut byte).cast(), 1) };
    byte
}

/// Four bytes as they lie in memory.
#[inline(always)]
fn word(cx: &SkBuffContext, at: u32) -> u32 {
    let mut word = 0_u32;
    // SAFETY: the buffer is four bytes long; past the packet's end nothing is written to it.
    unsafe { bpf_skb_load_bytes(cx.as_ptr(), at, (&raw mut word).cast(), 4) };
    word
}
