//! Connections of which no agent is known yet, counted by the address that they come from.
//!
//! An agent has its own limit of connections. Before a connection says whose it is, only its address can
//! be held against it, so that a neighbour without a key cannot take the gate's room from everybody.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections, by address.
#[derive(Debug)]
pub(crate) struct Strangers {
    most: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place among those from its address, until it is known whose it is or until it ends.
#[derive(Debug, Clone)]
pub(crate) struct Stranger(Arc<Place>);

#[derive(Debug)]
struct Place {
    strangers: Arc<Strangers>,
    address: IpAddr,
    known: AtomicBool,
}

impl Strangers {
    /// Room for this many from each address.
    pub(crate) fn at_most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, by_address: Mutex::default() })
    }

    /// Takes a place; `None` where as many from there are unknown already.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Stranger> {
        let address = counted_as(peer);
        let mut by_address = self.lock();
        let taken = by_address.entry(address).or_default();
        if *taken >= self.most {
            return None;
        }
        *taken += 1;
        drop(by_address);
        let (strangers, known) = (Arc::clone(self), AtomicBool::new(false));
        Some(Stranger(Arc::new(Place { strangers, address, known })))
    }

    fn give_back(&self, address: IpAddr) {
        let mut by_address = self.lock();
        if let Some(taken) = by_address.get_mut(&address) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                by_address.remove(&address);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// It is known whose the connection is: from now on it counts among its agent's.
    pub(crate) fn is_known(&self) {
        self.0.leave();
    }
}

impl Place {
    fn leave(&self) {
        // Asked at each request, and true from the first one on.
        if !self.known.load(Ordering::Relaxed) && !self.known.swap(true, Ordering::Relaxed) {
            self.strangers.give_back(self.address);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A host of IPv6 has at least a network of 64 bits to itself, and as many addresses as it likes.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_has_no_more_than_its_places_and_another_has_its_own() {
        let strangers = Strangers::at_most(2);
        let held =
            [strangers.take(ip("10.0.0.1")).unwrap(), strangers.take(ip("10.0.0.1")).unwrap()];
        assert!(strangers.take(ip("10.0.0.1")).is_none());
        assert!(strangers.take(ip("::ffff:10.0.0.1")).is_none(), "the same in another form");
        assert!(strangers.take(ip("10.0.0.2")).is_some());
        drop(held);
        assert!(strangers.lock().is_empty(), "nothing is kept of addresses that are gone");
    }

    #[test]
    fn who_becomes_known_gives_the_place_back_once() {
        let strangers = Strangers::at_most(1);
        let first = strangers.take(ip("10.0.0.1")).unwrap();
        let tunnel = first.clone();
        first.is_known();
        let second = strangers.take(ip("10.0.0.1")).unwrap();
        tunnel.is_known();
        drop((first, tunnel));
        assert!(strangers.take(ip("10.0.0.1")).is_none(), "the second is there, and unknown");
        drop(second);
        assert!(strangers.take(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn all_of_one_network_of_ipv6_are_one() {
        let strangers = Strangers::at_most(1);
        let _held = strangers.take(ip("2001:db8:0:1::1")).unwrap();
        assert!(strangers.take(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(strangers.take(ip("2001:db8:0:2::1")).is_some());
    }
}
