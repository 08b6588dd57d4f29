//! Connections that were redirected from within the pod that the gate guards.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::peer::Peer;
use super::redirected::going;
use super::strangers::Stranger;
use super::tunnel::{self, Going};
use super::{Callers, Connection, Far};
use crate::agents::Agents;
use crate::gate::Gate;
use crate::listen::dns::Addresses;
use crate::listen::routed::Own;
use crate::metrics::Intake;
use crate::paced::Paced;
use crate::pod::{Came, Pod};

/// What is needed to take a connection from within the pod.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) gate: Arc<Gate>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) pod: Arc<Pod>,
    /// Where the gate itself listens.
    pub(crate) own: Own,
    /// The addresses that stand for names.
    pub(crate) names: Addresses,
}

/// One redirected connection. One that was not redirected, or that would come back here, is closed.
pub(crate) async fn one(
    inside: &Inside,
    mut stream: TcpStream,
    peer: SocketAddr,
    stranger: Stranger,
) {
    let Inside { gate, agents, pod, own, names } = inside;
    let wanted = match pod.came(&stream, peer) {
        Came::For(wanted) => wanted,
        Came::Probe => {
            // The installer may have gone.
            drop(stream.write_all(pod.answer().as_bytes()).await);
            return;
        }
        Came::Itself => {
            gate.metrics.strays.inc();
            pod.is_led_to_itself();
            return;
        }
        Came::Nowhere => {
            gate.metrics.strays.inc();
            tracing::debug!(%peer, "a connection has no destination");
            return;
        }
    };
    if let Err(error) = own.destination(Ok(wanted)) {
        gate.metrics.strays.inc();
        tracing::info!(%error, %peer, "a connection from within the pod wants nobody else");
        return;
    }
    let peer = Peer { in_pod: true, ..Peer::at(peer.ip()) };
    let far = Far { agents: Arc::clone(agents), peer, key: None, stranger };
    let connection = Connection::of(Arc::clone(gate), Callers::Peer(far), Intake::Transparent);
    // A program that knows only the address may have it from elsewhere than the gate's responder.
    let going = Going { by_host: true, ..going(wanted, names) };
    tunnel::carry(connection, Paced::new(stream), going).await;
}
