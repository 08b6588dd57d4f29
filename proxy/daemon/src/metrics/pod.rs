//! What is counted of a pod: how it is shut in, what the kernel refused, what comes in and what leaves by that.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::OTHER;
use super::register::Register;
use crate::pod::Mode;
use crate::record::InboundEnd;

/// What shuts agents in, and what it refused.
#[derive(Debug, Clone)]
pub struct Guarded {
    /// 1 for the `mode` in force.
    mode: IntGaugeVec,
    /// Attempts past the gate that the kernel refused, by `technique`.
    attempts: IntCounterVec,
    /// Connections from outside that are over, by `port` and how they `ended`.
    inbound: IntCounterVec,
    /// Their bytes, by `port` and `direction`.
    bytes: IntCounterVec,
    /// What left by them in the window under way.
    pub window: IntGauge,
}

/// Bytes of the connections to one port.
#[derive(Debug, Clone)]
pub struct PortBytes {
    /// What came in.
    pub inwards: IntCounter,
    /// What left.
    pub outwards: IntCounter,
}

impl Guarded {
    pub(super) fn new(to: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            mode: to.gauges(
                "tollgate_enforcement",
                "1 for the mode in which the pod is shut in.",
                &["mode"],
            )?,
            attempts: to.counters(
                "tollgate_refused_attempts_total",
                "Attempts past the gate that the kernel refused.",
                &["technique"],
            )?,
            inbound: to.counters(
                "tollgate_inbound_connections_total",
                "Connections from outside to an agent that are over.",
                &["port", "ended"],
            )?,
            bytes: to.counters(
                "tollgate_inbound_bytes_total",
                "Bytes of connections from outside to an agent.",
                &["port", "direction"],
            )?,
            window: to.gauge(
                "tollgate_inbound_window_bytes",
                "What left by connections from outside in the window under way.",
            )?,
        })
    }

    /// The pod is shut in like this, and its agent serves at these ports.
    pub(crate) fn by(&self, mode: Mode, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            // Shown from the start, so that the first byte is an increase from 0.
            self.bytes(port);
        }
        for one in Mode::ALL {
            self.mode.with_label_values(&[one.name()]).set(i64::from(one == mode));
        }
    }

    /// The kernel refused this many more attempts. A technique is a word of a closed list.
    pub(crate) fn refused(&self, technique: &str, count: u64) {
        self.attempts.with_label_values(&[technique]).inc_by(count);
    }

    /// A connection to `port` is over; `None` stands for all that are not declared.
    pub(crate) fn inbound_over(&self, port: Option<u16>, ended: InboundEnd) {
        self.inbound.with_label_values(&[label(port).as_str(), ended.name()]).inc();
    }

    /// The bytes of connections to a declared port.
    pub(crate) fn bytes(&self, port: u16) -> PortBytes {
        let of = |direction| self.bytes.with_label_values(&[label(Some(port)).as_str(), direction]);
        PortBytes { inwards: of("in"), outwards: of("out") }
    }
}

fn label(port: Option<u16>) -> String {
    port.map_or_else(|| OTHER.to_owned(), |port| port.to_string())
}
