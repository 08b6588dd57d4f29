//! Connections that the kernel redirected from a control group of `tollgate attach`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::peer::Peer;
use super::redirected::going;
use super::strangers::Stranger;
use super::tunnel::{self, Going};
use super::{Callers, Connection, Far};
use crate::agents::Agents;
use crate::attached::Attachments;
use crate::gate::Gate;
use crate::listen::dns::Addresses;
use crate::metrics::Intake;
use crate::paced::Paced;

/// What is needed to take a connection of an attached control group.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) gate: Arc<Gate>,
    pub(crate) agents: Arc<Agents>,
    /// The kernel's word on where each connection was going, and from which group.
    pub(crate) attachments: Arc<Attachments>,
    /// The addresses that stand for names, the same for every attached group.
    pub(crate) names: Addresses,
}

/// One redirected connection; one that was not redirected is closed.
pub(crate) async fn one(
    attached: &Attached,
    stream: TcpStream,
    peer: SocketAddr,
    stranger: Stranger,
) {
    let Attached { gate, agents, attachments, names } = attached;
    let origin = stream.local_addr().ok().and_then(|at| attachments.origin(peer, at));
    let Some(origin) = origin else {
        gate.metrics.strays.inc();
        return;
    };
    let peer = Peer { cgroup: Some(origin.by.cgroup.to_string()), ..Peer::at(peer.ip()) };
    let far = Far { agents: Arc::clone(agents), peer, key: None, stranger };
    let connection = Connection::of(Arc::clone(gate), Callers::Peer(far), Intake::Transparent);
    // A program that looked the name up before it was attached knows only the address.
    let going = Going { by_host: true, ..going(origin.wanted, names) };
    tunnel::carry(connection, Paced::new(stream), going).await;
}
