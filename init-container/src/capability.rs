//! Which capabilities each step takes, and which of them this process has.

use rustix::thread::{CapabilitySet, capabilities};

/// One capability and what it is for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    capability: CapabilitySet,
    name: &'static str,
    what: &'static str,
}

/// To load programs and pin them.
pub const BPF: Need =
    Need { capability: CapabilitySet::BPF, name: "BPF", what: "to load the kernel programs" };
/// To attach programs, and to change and read the floor.
pub const NET_ADMIN: Need = Need {
    capability: CapabilitySet::NET_ADMIN,
    name: "NET_ADMIN",
    what: "to attach the kernel programs and to change and read the nftables rules of the pod",
};
/// To give maps and pod file to the gate's user.
pub const CHOWN: Need = Need {
    capability: CapabilitySet::CHOWN,
    name: "CHOWN",
    what: "to give the maps and the pod file to the gate's user",
};
/// To enter another network or make a mount namespace, as a node's agent.
pub const SYS_ADMIN: Need = Need {
    capability: CapabilitySet::SYS_ADMIN,
    name: "SYS_ADMIN",
    what: "to enter the network of another process, or to show nftables another cgroup tree",
};

/// What is missing, in the words of a pod's specification; nothing where all are there.
#[must_use]
pub fn missing(needs: &[Need]) -> Option<String> {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    lacking(has, needs)
}

fn lacking(has: CapabilitySet, needs: &[Need]) -> Option<String> {
    let lacking: Vec<_> = needs.iter().filter(|need| !has.contains(need.capability)).collect();
    if lacking.is_empty() {
        return None;
    }
    let each: Vec<_> =
        lacking.iter().map(|need| format!("CAP_{} is missing, {}", need.name, need.what)).collect();
    let add: Vec<_> = lacking.iter().map(|need| need.name).collect();
    Some(format!(
        "{}: run this container as user 0 with securityContext.capabilities.add: [{}]",
        each.join("; "),
        add.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_asked_for() {
        let has = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
        assert_eq!(lacking(has, &[BPF, NET_ADMIN]), None);
    }

    #[test]
    fn each_that_is_missing_is_named_with_what_it_is_for() {
        let said = lacking(CapabilitySet::NET_ADMIN, &[BPF, NET_ADMIN, CHOWN]).unwrap();
        assert_eq!(
            said,
            "CAP_BPF is missing, to load the kernel programs; CAP_CHOWN is missing, to give the maps and the pod file \
             to the gate's user: run this container as user 0 with securityContext.capabilities.add: [BPF, CHOWN]"
        );
    }
}
