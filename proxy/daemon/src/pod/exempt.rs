//! Whether firewall rules know this gate: where no programs are, somebody else has to have told them.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ebpf::{GATE_PORTS, RESPONDER_PORT};

use super::Mode;

/// A datagram over the loopback is there before the call that sent it returns; more is for a machine that stands still.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the rules make of a packet of this process.
#[derive(Debug)]
pub(super) struct Exemption {
    mode: Mode,
    /// As it was last seen.
    known: Mutex<Option<bool>>,
}

impl Exemption {
    /// Of a gate that was not looked at yet.
    pub(super) const fn new(mode: Mode) -> Self {
        Self { mode, known: Mutex::new(None) }
    }

    /// Looks whether the rules know this gate, and says what to do when they do not.
    pub(super) fn missing(&self) -> Option<&'static str> {
        // One at a time: two would ask for the same port.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = passes().unwrap_or_else(|error| {
            tracing::debug!(%error, "whether the firewall knows this gate cannot be found out");
            false
        });
        let remedy = (!now).then(|| self.remedy());
        if *known != Some(now) {
            if let Some(remedy) = remedy {
                tracing::error!("{remedy}");
            } else {
                tracing::info!("the firewall knows this gate");
            }
            *known = Some(now);
        }
        remedy
    }

    const fn remedy(&self) -> &'static str {
        match self.mode {
            Mode::NftUser => {
                "the firewall does not know this gate, so nothing that it sends leaves: run tollgate-init install with \
                 --gate-uid and the user that this gate runs as"
            }
            Mode::NftCgroup | Mode::Kernel => {
                "the firewall does not know this gate, so nothing that it sends leaves: run tollgate-init install in this \
                 pod again while the gate listens, as after every start of the gate's container (tollgate-init node \
                 makes a cgroup that stays)"
            }
        }
    }
}

/// Whether a datagram of this process to a port of the gate's gets there: the floor rejects it from everybody else.
fn passes() -> io::Result<bool> {
    let free = GATE_PORTS.into_iter().filter(|port| *port != RESPONDER_PORT);
    let bound = free.map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port))).find_map(Result::ok);
    // Somebody who took all of them stands in the gate's place.
    let Some(to) = bound else { return Ok(false) };
    to.set_read_timeout(Some(PATIENCE))?;
    let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    from.send_to(b"?", to.local_addr()?)?;
    let (_, sender) = to.recv_from(&mut [0; 1])?;
    Ok(sender == from.local_addr()?)
}
