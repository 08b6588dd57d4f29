//! Connections that a route table or a firewall sends through this machine (TPROXY).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::peer::Peer;
use super::strangers::Stranger;
use super::tunnel::{self, Going};
use super::{Callers, Connection, Far};
use crate::agents::Agents;
use crate::gate::Gate;
use crate::listen::routed::Own;
use crate::metrics::Intake;
use crate::paced::Paced;

/// One connection that was routed here. Whoever sent it says in its own words where to: the address
/// that it dialled is where the gate's answer seems to come from, and a hint.
pub(crate) async fn one(
    gate: &Arc<Gate>,
    agents: &Arc<Agents>,
    own: &Own,
    stream: TcpStream,
    (peer, stranger): (SocketAddr, Stranger),
) {
    let asked = match own.destination(stream.local_addr()) {
        Ok(asked) => asked,
        Err(error) => {
            gate.metrics.strays.inc();
            tracing::info!(%error, %peer, "a connection was not routed here");
            return;
        }
    };
    let peer = Peer::at(peer.ip());
    let far = Far { agents: Arc::clone(agents), peer, key: None, stranger };
    let connection = Connection::of(Arc::clone(gate), Callers::Peer(far), Intake::Routed);
    let going = Going {
        named: None,
        literal: asked.ip().to_canonical().to_string(),
        port: asked.port(),
        by_host: true,
    };
    tunnel::carry(connection, Paced::new(stream), going).await;
}
