//! The gate's own ports, by every address that is this network's.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
};

use super::{Seen, stream};
use crate::{net::Network, ports};

/// The first that answers, else what the last said.
pub(super) fn own(network: &Network) -> Seen {
    let all: Vec<_> = addresses(network)
        .into_iter()
        .flat_map(|address| ports::GATE.map(|port| SocketAddr::new(address, port)))
        .collect();
    let mut last = Seen::Nothing("there is no address");
    // One thread for each address and port would be hundreds in a pod with many addresses.
    for some in all.chunks(ABREAST) {
        let seen: Vec<_> = thread::scope(|scope| {
            let tries: Vec<_> =
                some.iter().map(|at| scope.spawn(|| stream::connect(*at, None))).collect();
            tries.into_iter().flat_map(thread::ScopedJoinHandle::join).collect()
        });
        for one in seen {
            if matches!(one, Seen::Connected) {
                return one;
            }
            // Of a family that this network lacks there is nothing to say.
            if !matches!(one, Seen::Lacking(_)) {
                last = one;
            }
        }
    }
    last
}

const ABREAST: usize = 64;

fn addresses(network: &Network) -> Vec<IpAddr> {
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3)),
    ];
    // A link-local address means nothing without its interface.
    let own = network.own.iter().copied().filter(|address| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    let mut all: Vec<_> = loopback.into_iter().chain(own).collect();
    let mapped = all.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
        IpAddr::V6(_) => None,
    });
    let mapped: Vec<_> = mapped.collect();
    all.extend(mapped);
    all
}
