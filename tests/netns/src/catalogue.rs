//! Every case, in the order in which it is tried.

use crate::case::{Case, Stage};

mod content;
mod datagrams;
mod devices;
mod foreign;
mod helpers;
mod inside;
mod rings;
mod streams;

pub use content::{Elsewhere, elsewhere};

/// All cases, the ones that stop the gate last.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, members) in [
        ("TCP", streams::tcp()),
        ("TCP Fast Open", streams::fast_open()),
        ("UDP", datagrams::udp()),
        ("QUIC", datagrams::quic()),
        ("DNS", datagrams::dns()),
        ("Other transports", datagrams::other()),
        ("Routing headers and source routes", devices::routing()),
        ("Choice of the interface", devices::interfaces()),
        ("Choice of the source", devices::sources()),
        ("io_uring", rings::uring()),
        ("Below IP", rings::link()),
        ("Other families", inside::families()),
        ("The gate's ports", inside::ports()),
        ("The gate's exemption", inside::exemption()),
        ("The gate's process", inside::processes()),
        ("Enforcement itself", inside::tamper()),
        ("New namespaces", inside::namespaces()),
        ("Other cgroups", foreign::cgroups()),
        ("Other cgroups", foreign::own_cgroups()),
        ("Sockets passed in", foreign::passed()),
        ("Older than the rules", foreign::older()),
        ("Inbound", foreign::inbound()),
        ("Programs outside", helpers::helpers()),
        ("The gate's life", foreign::lifecycle()),
    ] {
        cases.extend(members.into_iter().map(|case| Case { group, ..case }));
    }
    cases.sort_by_key(|case| match case.stage {
        Stage::WithoutGate => 1,
        Stage::AfterRestart => 2,
        Stage::Container
        | Stage::Nested
        | Stage::Another
        | Stage::Outside
        | Stage::Passed
        | Stage::PassedConnected
        | Stage::Inherited
        | Stage::MovedIn
        | Stage::Older
        | Stage::Inbound => 0,
    });
    cases
}
