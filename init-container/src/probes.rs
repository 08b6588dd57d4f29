//! Tries that must fail, and the one that must succeed: what holds is what was seen to hold.
//!
//! Each is made with the capabilities that this process has, so a container with the agent's proves the agent's
//! case, and one with more a harder one. Packets go to the documentation networks, which nobody answers for; the floor
//! counts and drops those that it would have let out.

mod datagram;
mod device;
mod gate;
mod ports;
mod stream;

use std::{io, thread, time::Duration};

use serde::Serialize;

use crate::{floor::PROBE_PASSED, net::Network, nft::Counters};

pub(crate) use gate::hex;
pub use gate::{Greeting, GreetingError, greeting_of};

#[cfg(test)]
mod tests;

/// How long a connection may take to fail by itself before it counts as unanswered.
const PATIENCE: Duration = Duration::from_millis(60);

/// What one try showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As expected.
    Holds,
    /// There is a way round.
    Fails,
    /// Not as strong as it could be, which is said and does not stop.
    Weaker,
    /// This kernel has nothing to try, or the try cannot be made here.
    NotRun,
}

/// One try, what was expected of it, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, which stays.
    pub name: &'static str,
    /// What must happen.
    pub expected: &'static str,
    /// What happened.
    pub seen: String,
    /// Whether that is well.
    pub outcome: Outcome,
}

/// What a try was answered with.
#[derive(Debug)]
enum Seen {
    /// The kernel refused.
    Refused(io::Error),
    /// The kernel lacks what the try needs.
    Lacking(io::Error),
    /// There is nothing to try: no interface, no address of that kind.
    Nothing(&'static str),
    /// The kernel took it and reported nothing.
    Sent,
    /// Somebody answered.
    Connected,
    /// Nobody answered.
    Silent,
    /// It is possible, for who has the capability.
    Possible,
    /// It is taken by somebody who holds it against others.
    Held,
}

impl Seen {
    /// Sorts a failure to make a socket.
    fn no_socket(error: io::Error) -> Self {
        match error.raw_os_error() {
            // EPROTONOSUPPORT, ESOCKTNOSUPPORT, EAFNOSUPPORT (errno.h)
            Some(93 | 94 | 97) => Self::Lacking(error),
            _ => Self::Refused(error),
        }
    }
}

/// What is tried.
struct Probe {
    name: &'static str,
    expected: &'static str,
    run: fn(&Network) -> Seen,
    judge: fn(&Seen) -> Outcome,
}

/// What must not be sent at all.
fn unsent(seen: &Seen) -> Outcome {
    match seen {
        Seen::Refused(_) | Seen::Held => Outcome::Holds,
        Seen::Lacking(_) | Seen::Nothing(_) => Outcome::NotRun,
        Seen::Sent | Seen::Connected | Seen::Silent | Seen::Possible => Outcome::Fails,
    }
}

/// What may be led to the gate: the floor's own count tells whether it left instead.
fn led(seen: &Seen) -> Outcome {
    if matches!(seen, Seen::Connected | Seen::Silent) { Outcome::Holds } else { unsent(seen) }
}

/// What the kernel reports as sent although the floor drops it: the floor's own count tells whether it left.
fn swallowed(seen: &Seen) -> Outcome {
    if matches!(seen, Seen::Sent) { Outcome::Holds } else { unsent(seen) }
}

/// What must find nobody.
fn unanswered(seen: &Seen) -> Outcome {
    if matches!(seen, Seen::Silent) { Outcome::Holds } else { unsent(seen) }
}

/// What admission has to take a capability away for, unless somebody holds it.
fn taken(seen: &Seen) -> Outcome {
    if matches!(seen, Seen::Possible) { Outcome::Weaker } else { unsent(seen) }
}

/// The name of the one try that may show [`Outcome::Weaker`].
pub const AF_XDP: &str = "af_xdp";

const REFUSED: &str = "refused";
const DROPPED: &str = "refused, or dropped by the floor";
const TO_GATE: &str = "led to the gate, or refused";

const PROBES: [Probe; 15] = [
    Probe { name: "udp_v4", expected: REFUSED, run: datagram::udp_v4, judge: unsent },
    Probe { name: "udp_v6", expected: REFUSED, run: datagram::udp_v6, judge: unsent },
    Probe {
        name: "udp_v4_connected",
        expected: REFUSED,
        run: datagram::udp_v4_connected,
        judge: unsent,
    },
    Probe { name: "udplite_v4", expected: REFUSED, run: datagram::udplite_v4, judge: unsent },
    Probe { name: "udplite_v6", expected: REFUSED, run: datagram::udplite_v6, judge: unsent },
    Probe { name: "ping_v4", expected: REFUSED, run: datagram::ping_v4, judge: unsent },
    Probe { name: "ping_v6", expected: DROPPED, run: datagram::ping_v6, judge: swallowed },
    Probe { name: "raw_v4", expected: REFUSED, run: datagram::raw_v4, judge: unsent },
    Probe { name: "raw_v6", expected: REFUSED, run: datagram::raw_v6, judge: unsent },
    Probe { name: "tcp_v6", expected: TO_GATE, run: stream::v6, judge: led },
    Probe { name: "tcp_on_interface", expected: TO_GATE, run: stream::on_interface, judge: led },
    Probe {
        name: "own_ports",
        expected: "refused at every local address",
        run: ports::own,
        judge: unanswered,
    },
    Probe { name: "packet_socket", expected: REFUSED, run: device::frame, judge: unsent },
    Probe {
        name: "packet_socket_marked",
        expected: REFUSED,
        run: device::marked_frame,
        judge: unsent,
    },
    Probe {
        name: AF_XDP,
        expected: "held by the gate, or refused: drop NET_RAW from every container",
        run: device::xdp,
        judge: taken,
    },
];

/// Makes every try that must fail, all at once; the floor's counters stood at `before`, and are read afterwards.
///
/// # Errors
/// When the counters cannot be read.
pub fn negative<E>(
    network: &Network,
    before: &Counters,
    after: impl FnOnce() -> Result<Counters, E>,
) -> Result<Vec<Finding>, E> {
    let mut findings: Vec<Finding> = thread::scope(|scope| {
        let tries = PROBES.each_ref().map(|probe| scope.spawn(|| find(probe, network)));
        tries
            .into_iter()
            .zip(&PROBES)
            .map(|(found, probe)| {
                found.join().unwrap_or_else(|_| Finding {
                    name: probe.name,
                    expected: probe.expected,
                    seen: "the try itself broke".to_owned(),
                    outcome: Outcome::Fails,
                })
            })
            .collect()
    });
    findings.push(passed(before, &after()?));
    Ok(findings)
}

fn find(probe: &Probe, network: &Network) -> Finding {
    let seen = (probe.run)(network);
    let outcome = (probe.judge)(&seen);
    Finding { name: probe.name, expected: probe.expected, seen: say(&seen), outcome }
}

fn say(seen: &Seen) -> String {
    match seen {
        Seen::Refused(error) => format!("refused: {error}"),
        Seen::Lacking(error) => format!("this kernel has none: {error}"),
        Seen::Nothing(what) => (*what).to_owned(),
        Seen::Sent => "sent".to_owned(),
        Seen::Connected => "connected".to_owned(),
        Seen::Silent => "no answer".to_owned(),
        Seen::Possible => "possible for who has CAP_NET_RAW".to_owned(),
        Seen::Held => "held by the gate".to_owned(),
    }
}

/// Whether the floor stands, and saw none of the tries leave.
fn passed(before: &Counters, after: &Counters) -> Finding {
    let count = |of: &Counters| of.get(PROBE_PASSED).copied();
    let (seen, outcome) = match (count(before), count(after)) {
        (Some(before), Some(after)) if before == after => ("none".to_owned(), Outcome::Holds),
        (Some(before), Some(after)) => {
            (format!("{} packets", after.saturating_sub(before)), Outcome::Fails)
        }
        _ => ("the floor is not in force in this network".to_owned(), Outcome::Fails),
    };
    Finding { name: "left_by_the_floor", expected: "no packet of a try leaves", seen, outcome }
}

/// Whether everything is as it must be.
#[must_use]
pub fn hold(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.outcome != Outcome::Fails)
}
