//! The addresses that stand for names, each for one name only.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

/// 198.18.0.0/15, the benchmarking range of RFC 2544, which is routed nowhere.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Addresses of the range but for its first and last.
pub const CAPACITY: usize = (1 << 17) - 2;

/// The names of one run and the addresses that stand for them.
///
/// An address is given once and never given again, so a connection to it means its name for as long as the run
/// lasts. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<Arc<str>, Ipv4Addr>,
    names: Vec<Arc<str>>,
    /// How many addresses after the range's first the first name has its own.
    begin: usize,
}

impl Table {
    /// The address of the n-th name.
    fn address(&self, nth: usize) -> Option<Ipv4Addr> {
        let place = (self.begin + nth) % CAPACITY;
        Some(Ipv4Addr::from(FIRST + 1 + u32::try_from(place).ok()?))
    }

    /// The name that has this address.
    fn name(&self, address: Ipv4Addr) -> Option<&Arc<str>> {
        let place = usize::try_from(u32::from(address).checked_sub(FIRST + 1)?).ok()?;
        let nth = (place.checked_add(CAPACITY)?.checked_sub(self.begin)?) % CAPACITY;
        self.names.get(nth).filter(|_| place < CAPACITY)
    }
}

impl Addresses {
    /// Beginning somewhere in the range, which a random number says: who kept an address that the gate before gave out
    /// will hardly meet another name at it.
    #[must_use]
    pub fn from_anywhere(random: u32) -> Self {
        let begin = usize::try_from(random).unwrap_or_default() % CAPACITY;
        Self(Arc::new(RwLock::new(Table { begin, ..Table::default() })))
    }

    /// The name that `address` stands for.
    #[must_use]
    pub fn name_of(&self, address: Ipv4Addr) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).name(address).cloned()
    }

    /// The address that stands for `name`, if it has one.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Ipv4Addr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).copied()
    }

    /// The address that stands for `name`, given now if it had none; `None` once all are given.
    pub(super) fn give(&self, name: &str) -> Option<Ipv4Addr> {
        if let Some(held) = self.of(name) {
            return Some(held);
        }
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&held) = table.by_name.get(name) {
            return Some(held);
        }
        if table.names.len() >= CAPACITY {
            return None;
        }
        let name: Arc<str> = name.into();
        let address = table.address(table.names.len())?;
        table.names.push(Arc::clone(&name));
        table.by_name.insert(name, address);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wherever_the_addresses_begin_each_means_its_name_and_no_other_means_one() {
        for begin in [0, 1, 70_000, u32::try_from(CAPACITY).unwrap() - 1, u32::MAX] {
            let addresses = Addresses::from_anywhere(begin);
            let given = ["a", "b", "c"].map(|name| addresses.give(name).unwrap());
            assert_eq!(given.map(|at| addresses.name_of(at).unwrap().to_string()), ["a", "b", "c"]);
            let (first, last) = (Ipv4Addr::from(FIRST), Ipv4Addr::new(198, 19, 255, 255));
            assert!(given.iter().all(|at| *at > first && *at < last), "{given:?}");
            let others = [first, last, Ipv4Addr::new(198, 18, 99, 99), Ipv4Addr::new(8, 8, 8, 8)];
            assert!(others.iter().all(|at| addresses.name_of(*at).is_none()), "{begin}");
        }
    }
}
