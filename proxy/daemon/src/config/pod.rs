//! The pod that a gate guards, as the configuration says it.

use decide::policy::parse_bytes;

use super::build::Building;
use super::built::{Inbound, Pod};
use super::tree::Value;
use crate::pod::Mode;

/// Where a gate in a pod listens unless it is told otherwise: whoever probes it is outside, and nobody inside reaches
/// its proxy.
pub(super) fn listens(name: &str) -> Option<&'static str> {
    match name {
        "proxy" => Some("[]"),
        "health" => Some("[\"0.0.0.0:16815\", \"[::]:16815\"]"),
        _ => None,
    }
}

impl Building<'_> {
    /// Whether anything is said of a pod.
    pub(super) fn in_pod(&self) -> bool {
        let written = self.tree.find(&["pod"]).map(|node| &node.value);
        written.is_some_and(|value| !matches!(value, Value::Null))
    }

    pub(super) fn pod(&mut self) -> Option<Pod> {
        const AGENT: [&str; 2] = ["pod", "agent"];
        if !self.in_pod() {
            return None;
        }
        match self.text(&AGENT) {
            None => {
                self.fault(&AGENT, "is missing: name the agent whose contract holds in this pod");
            }
            Some(name) if name.contains('*') || name.is_empty() => {
                self.fault(&AGENT, "is no name of one agent");
            }
            Some(_) => {}
        }
        let file = self.path(&["pod", "file"]);
        let minimum = self.value(&["pod", "minimum"], |word| Mode::named(word).ok_or(None));
        let connections = self.value(&["pod", "inbound", "connections"], |text| {
            text.parse().ok().filter(|count| (1..=65_535).contains(count)).ok_or(None)
        });
        let mut bytes =
            |name| self.value(&["pod", "inbound", name], |text| parse_bytes(text).ok_or(None));
        let (bytes_out, window_bytes_out) = (bytes("bytes_out"), bytes("window_bytes_out"));
        let window = ["pod", "inbound", "window"];
        let length = self.duration(&window);
        if length.is_some_and(|length| length.is_zero()) {
            self.fault(&window, "is no time at all");
        }
        let inbound = Inbound {
            connections: connections?,
            bytes_out: bytes_out?,
            window_bytes_out: window_bytes_out?,
            window: length?,
        };
        Some(Pod { agent: self.text(&AGENT)?, file: file?, minimum: minimum?, inbound })
    }
}
