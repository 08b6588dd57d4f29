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
    /// The name of the n-th address at n - 1.
    names: Vec<Arc<str>>,
}

impl Addresses {
    /// The name that `address` stands for.
    #[must_use]
    pub fn name_of(&self, address: Ipv4Addr) -> Option<Arc<str>> {
        let index = u32::from(address).checked_sub(FIRST + 1)?;
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.names.get(usize::try_from(index).ok()?).cloned()
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
        table.names.push(Arc::clone(&name));
        let address = Ipv4Addr::from(FIRST + u32::try_from(table.names.len()).ok()?);
        table.by_name.insert(name, address);
        Some(address)
    }
}
