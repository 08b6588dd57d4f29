//! Which packets are the gate's, where no program marks its sockets.

use super::{Floor, text::Chain};
use crate::{
    mode::Mode,
    ports::{CAME_IN, MARK},
};

/// The expression of a rule that matches sockets of the gate's cgroup, or with `!=` of another; without one as long as
/// it is not known, and in the other modes.
pub(super) fn cgroup(floor: &Floor, differs: &str) -> Option<String> {
    let known = floor.gate.cgroup.as_ref().filter(|_| floor.mode == Mode::NftCgroup);
    known.map(|it| format!("socket cgroupv2 level {} {differs}\"{}\"", it.level, it.path))
}

/// The mark is taken off first, so that one which a process set for itself is worth nothing.
pub(super) fn chain(floor: &Floor) -> Chain {
    let mut chain = Chain::new("exempt", "type route hook output priority -150; policy accept;")
        .rule("meta mark set 0");
    if let Some(gate) = gate(floor) {
        chain = chain.rule(format!("{gate} meta mark set {MARK:#x} ct mark set {MARK:#x} accept"));
    }
    // What is left of whole sockets with an owner is somebody else's. Without one are the kernel's own answers, and in
    // the mode by user what the gate had not sent yet when it closed: those go by the connection, which only the gate's
    // packets mark. The answer to a handshake is not yet of a whole socket, and comes before the gate's first packet on
    // what came in, as a refusal does; both hold no byte.
    chain
        .rule("meta skuid >= 0 socket mark >= 0 accept")
        .rule(format!("ct mark {MARK:#x} meta mark set {MARK:#x} accept"))
        .rule(format!(
            "ct mark {CAME_IN:#x} tcp flags & (fin | syn | rst | ack) == syn | ack meta mark set {MARK:#x} accept"
        ))
        .rule(format!(
            "ct mark {CAME_IN:#x} tcp flags & rst == rst meta mark set {MARK:#x} accept"
        ))
}

fn gate(floor: &Floor) -> Option<String> {
    match floor.mode {
        Mode::NftUser => Some(format!("meta skuid {}", floor.gate.uid)),
        Mode::NftCgroup => cgroup(floor, ""),
        // Its sockets are marked where they are made.
        Mode::Kernel => None,
    }
}
