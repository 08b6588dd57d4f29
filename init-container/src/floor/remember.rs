//! What the floor drops of a socket, by who tried and where to, where no program tells it: a list in the kernel, which
//! ends by itself what nobody tries again.

use super::text::Chain;

/// The list of refused packets of each family.
pub(super) const SETS: [(&str, &str); 2] = [("refused_v4", "ip"), ("refused_v6", "ip6")];
/// The chain that enters them.
pub(super) const CHAIN: &str = "remember";

/// Protocols whose second field is the destination's port.
const WITH_PORTS: &str = "{ tcp, udp, udplite, sctp, dccp }";
/// As many as are told apart; what comes when it is full is in the counters only.
const MOST: u32 = 1024;
/// How long what is not tried again is remembered.
const FOR: &str = "1h";

/// The declarations.
pub(super) fn sets() -> impl Iterator<Item = String> {
    SETS.into_iter().map(|(name, family)| {
        let key = format!("meta skuid . meta l4proto . {family} daddr . th dport");
        format!("set {name} {{ typeof {key}; size {MOST}; flags dynamic,timeout; timeout {FOR}; }}")
    })
}

/// Enters a packet and goes on; one that no socket sent has no user and is not entered.
pub(super) fn chain() -> Chain {
    let mut chain = Chain::called(CHAIN);
    for (differs, port) in [("", "th dport"), ("!= ", "0")] {
        for (name, family) in SETS {
            let key = format!("meta skuid . meta l4proto . {family} daddr . {port}");
            chain = chain.rule(format!(
                "meta l4proto {differs}{WITH_PORTS} update @{name} {{ {key} counter }}"
            ));
        }
    }
    chain
}
