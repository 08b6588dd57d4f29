//! Frames past the protocols: packet sockets and `AF_XDP`.

use std::{thread, time::Duration};

use ebpf::probe::{self, Xdp};

use super::Seen;
use crate::{
    net::{self, Network},
    ports::MARK,
};

/// A frame to everybody, of the type kept for experiments (IEEE 802 local 1).
const FRAME: [u8; 18] =
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, b't', b'r', b'y', b'!'];

pub(super) fn frame(network: &Network) -> Seen {
    send(network, None)
}

/// With the mark of the gate, which `CAP_NET_RAW` allows to set.
pub(super) fn marked_frame(network: &Network) -> Seen {
    send(network, Some(MARK))
}

fn send(network: &Network, mark: Option<u32>) -> Seen {
    on_each(network, |index| match probe::send_frame(index, &FRAME, mark) {
        Ok(()) => Seen::Sent,
        Err(error) => Seen::no_socket(error),
    })
}

pub(super) fn xdp(network: &Network) -> Seen {
    on_each(network, |index| match bind(index) {
        Xdp::Open => Seen::Possible,
        Xdp::Held => Seen::Held,
        Xdp::Refused(error) => Seen::Refused(error),
        Xdp::Lacking(error) => Seen::Lacking(error),
    })
}

/// The kernel lets a queue go some time after its socket was closed, as of a try before this one: who holds it goes on.
fn bind(index: u32) -> Xdp {
    let mut seen = probe::xdp(index, 0);
    for _ in 0..AGAIN {
        if !matches!(seen, Xdp::Held) {
            break;
        }
        thread::sleep(PAUSE);
        seen = probe::xdp(index, 0);
    }
    seen
}

const AGAIN: usize = 4;
const PAUSE: Duration = Duration::from_millis(15);

/// The worst that any interface shows.
fn on_each(network: &Network, attempt: impl Fn(u32) -> Seen) -> Seen {
    let mut last = Seen::Nothing("there is no interface");
    for interface in &network.interfaces {
        let seen = match net::index(interface) {
            Ok(index) => attempt(index),
            Err(error) => Seen::Refused(error),
        };
        if matches!(seen, Seen::Sent | Seen::Possible) {
            return seen;
        }
        last = seen;
    }
    last
}
