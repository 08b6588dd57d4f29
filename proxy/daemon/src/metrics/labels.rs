//! The closed sets that labels come from, and the bounded one for names that people choose.

use std::collections::BTreeSet;

use arc_swap::ArcSwap;

use crate::upstream::connect::ConnectError;
use crate::upstream::pool::UpstreamError;

/// Distinct names that one label may have; what comes beyond is counted as [`OTHER`].
pub const NAMES: usize = 200;
/// The label of every name that is not one of the known.
pub const OTHER: &str = "other";

/// Names that may stand in a label: the first [`NAMES`] that the configuration named.
///
/// What a request says is never added, so no caller can make the gate keep a series for it.
#[derive(Debug, Default)]
pub struct Bounded(ArcSwap<BTreeSet<String>>);

impl Bounded {
    /// Adds `names` in order while there is room. Names that are known stay, so that their series go on over a reload.
    pub fn admit<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let names: Vec<&str> = names.into_iter().collect();
        self.0.rcu(|known| {
            let mut known = BTreeSet::clone(known);
            for name in &names {
                if known.len() >= NAMES {
                    break;
                }
                if !known.contains(*name) {
                    known.insert((*name).to_owned());
                }
            }
            known
        });
    }

    /// The label of `name`.
    #[must_use]
    pub fn label<'a>(&self, name: &'a str) -> &'a str {
        if self.0.load().contains(name) { name } else { OTHER }
    }
}

/// The way in by which a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// The kernel redirected it.
    Transparent,
    /// `CONNECT` of the explicit proxy.
    Connect,
    /// A request in absolute form to the explicit proxy.
    Absolute,
    /// A base URL of the gate itself.
    Gateway,
    /// TPROXY.
    Routed,
}

impl Intake {
    /// Every way in.
    pub const ALL: [Self; 5] =
        [Self::Transparent, Self::Connect, Self::Absolute, Self::Gateway, Self::Routed];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::Connect => "connect",
            Self::Absolute => "absolute",
            Self::Gateway => "gateway",
            Self::Routed => "routed",
        }
    }
}

/// Where a connection was taken. That of the proxy takes three of the ways in, which its requests tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Of what the kernel redirected.
    Transparent,
    /// Of the explicit proxy and the gateway.
    Proxy,
    /// Of what was routed here.
    Routed,
}

impl Listener {
    /// Every listener.
    pub const ALL: [Self; 3] = [Self::Transparent, Self::Proxy, Self::Routed];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::Proxy => "proxy",
            Self::Routed => "routed",
        }
    }
}

/// How a client showed that it does not take the gate's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// The alert `unknown_ca`: it does not know the CA.
    UnknownCa,
    /// The alert `bad_certificate`, which some clients say for the same, and those with a certificate of their own
    /// choice do.
    BadCertificate,
    /// The alert `certificate_unknown`, Java's word for it.
    CertificateUnknown,
    /// Another alert about the certificate.
    OtherAlert,
    /// It closed when it had seen the certificate, and asked nothing.
    Closed,
}

impl Distrust {
    /// Every way.
    pub const ALL: [Self; 5] = [
        Self::UnknownCa,
        Self::BadCertificate,
        Self::CertificateUnknown,
        Self::OtherAlert,
        Self::Closed,
    ];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCa => "unknown_ca",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateUnknown => "certificate_unknown",
            Self::OtherAlert => "other_alert",
            Self::Closed => "closed",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The provider's answer was sent to its end, whatever its status.
    Answered,
    /// A rule refused the request.
    Refused,
    /// A rule cut the answer.
    Cut,
    /// The caller went away.
    Gone,
    /// The provider broke off in the middle of its answer.
    Broken,
    /// The provider could not be reached, or did not answer.
    Failed,
    /// The ledger did not take the decision, so nothing was done.
    Unrecorded,
}

impl Ended {
    /// Every end.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Refused,
        Self::Cut,
        Self::Gone,
        Self::Broken,
        Self::Failed,
        Self::Unrecorded,
    ];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Gone => "gone",
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// Why a virtual key was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// The gate never made it.
    Unknown,
    /// It is over: expired, revoked, or its run ended.
    Over,
    /// All its uses are used.
    UsedUp,
    /// It came from a workload that it is not bound to.
    Elsewhere,
    /// It is for another provider.
    OtherCredential,
    /// More than one key stood in the request.
    Ambiguous,
}

impl KeyFault {
    /// Every fault.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Over,
        Self::UsedUp,
        Self::Elsewhere,
        Self::OtherCredential,
        Self::Ambiguous,
    ];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Over => "over",
            Self::UsedUp => "used_up",
            Self::Elsewhere => "elsewhere",
            Self::OtherCredential => "other_credential",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// The steps of the gate's own work on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// From the whole request to its decision.
    Judge,
    /// From the decision to its fsync.
    Record,
    /// From the fsync to the first byte that leaves.
    Send,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 3] = [Self::Judge, Self::Record, Self::Send];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Judge => "judge",
            Self::Record => "record",
            Self::Send => "send",
        }
    }
}

/// What went wrong with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFault {
    /// No connection: refused, no route, no address.
    Unreachable,
    /// No connection in time, or no answer in time.
    Timeout,
    /// Its certificate is not accepted.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// It closed or broke the connection.
    Closed,
    /// What it said cannot be read.
    Malformed,
}

impl UpstreamFault {
    /// Every fault.
    pub const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Timeout,
        Self::Certificate,
        Self::Tls,
        Self::Closed,
        Self::Malformed,
    ];

    /// Its label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
        }
    }
}

impl From<&UpstreamError> for UpstreamFault {
    fn from(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Connect(error) => match error {
                ConnectError::Refused { .. }
                | ConnectError::Unreachable { .. }
                | ConnectError::Nowhere(_) => Self::Unreachable,
                ConnectError::Timeout { .. } => Self::Timeout,
                ConnectError::Certificate { .. } => Self::Certificate,
                ConnectError::Tls { .. } => Self::Tls,
            },
            UpstreamError::Closed(_) | UpstreamError::Broken { .. } => Self::Closed,
            UpstreamError::Host(_) | UpstreamError::Malformed { .. } => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_first_two_hundred_are_counted_together() {
        let agents = Bounded::default();
        let names: Vec<String> = (0..300).map(|n| format!("agent-{n}")).collect();
        agents.admit(names.iter().map(String::as_str));
        assert_eq!(agents.label("agent-0"), "agent-0");
        assert_eq!(agents.label("agent-199"), "agent-199");
        assert_eq!(agents.label("agent-200"), OTHER);
        assert_eq!(agents.label("whatever a request says"), OTHER);
    }

    #[test]
    fn a_reload_keeps_the_names_that_are_known() {
        let agents = Bounded::default();
        agents.admit(["a"]);
        agents.admit(["b"]);
        assert_eq!((agents.label("a"), agents.label("b")), ("a", "b"));
    }
}
