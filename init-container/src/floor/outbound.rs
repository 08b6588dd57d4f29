//! Leading what the pod sends to its gate, and keeping the gate's ports for what was led there, without programs.

use super::{Floor, set, text::Chain};
use crate::ports::{GATE, INTAKE, MARK, RESPONDER};

pub(super) fn chains(floor: &Floor) -> [Chain; 2] {
    let lead = Chain::new("lead", "type nat hook output priority -100; policy accept;")
        .rule(format!("meta mark {MARK:#x} accept"))
        // A gate whose cgroup is not known yet, or not any more, is not led to itself; what it sends is dropped.
        .rule(format!("meta skuid {} accept", floor.gate.uid))
        .rule("oifname \"lo\" fib daddr type local accept")
        .rule(format!("udp dport 53 redirect to :{RESPONDER}"))
        .rule(format!("tcp dport 53 redirect to :{RESPONDER}"))
        .rule(format!("meta l4proto tcp redirect to :{INTAKE}"));
    let gate = set(&GATE);
    let keep = Chain::new("keep", "type filter hook output priority 0; policy accept;")
        .rule(format!("meta mark {MARK:#x} accept"))
        .rule("ct status dnat accept")
        .rule(format!(
            "oifname \"lo\" ct direction original tcp dport {gate} reject with tcp reset"
        ))
        .rule(format!("oifname \"lo\" ct direction original udp dport {gate} reject"));
    [lead, keep]
}
