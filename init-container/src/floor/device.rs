//! What is put on an interface past the protocols: packet sockets, with and without a queue. Kernel 5.16.

use super::{DROPPED_DEVICE, Floor, Interface, egress, text::Chain, text::Table};
use crate::ports::MARK;

pub(super) fn table(floor: &Floor) -> Table {
    let mut table = Table::new("netdev");
    table.counters.push(DROPPED_DEVICE);
    table.chains = floor.interfaces.iter().enumerate().map(|at| chain(floor, at)).collect();
    table
}

/// Chains are numbered: an interface's name may hold what a chain's cannot.
fn chain(floor: &Floor, (nth, interface): (usize, &Interface)) -> Chain {
    let hook = format!("type filter hook egress device \"{interface}\" priority 0; policy drop;");
    Chain::new(format!("leave_{nth}"), hook)
        .rule(egress::of_others(floor.gate.uid, DROPPED_DEVICE))
        .rule(format!("meta mark {MARK:#x} meta rtclassid >= 0 accept"))
        .rule(format!("meta skuid >= 0 counter name {DROPPED_DEVICE} drop"))
        .rule("meta protocol arp accept")
        .rule(egress::NEIGHBOURS_OUT)
        .rule(format!("counter name {DROPPED_DEVICE}"))
}
