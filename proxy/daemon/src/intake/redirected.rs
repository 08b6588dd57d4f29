//! Connections that the kernel redirected from within a run.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ebpf::Enforcement;
use tokio::net::{TcpListener, TcpStream};

use super::tunnel::{self, Going};
use super::{Callers, Connection};
use crate::gate::Gate;
use crate::listen::dns::Addresses;
use crate::metrics::{Intake, Listener};
use crate::paced::Paced;
use crate::run::Run;

/// What is accepted for one run.
#[derive(Debug)]
pub(crate) struct Redirected {
    pub(crate) gate: Arc<Gate>,
    pub(crate) run: Arc<Run>,
    /// The kernel's word on where each connection was going.
    pub(crate) origins: Origins,
    /// The addresses that stand for names.
    pub(crate) names: Addresses,
}

/// Who knows where a connection of a run was going; the same answer in each of its forms.
#[derive(Debug)]
pub(crate) enum Origins {
    /// The kernel programs, which noted it when they redirected.
    Programs(Box<Enforcement>),
    /// The run's nftables, whose record of the connection the kernel gives out at its socket.
    Rules,
}

impl Origins {
    /// Nothing: the connection must be closed.
    fn of(&self, stream: &TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Programs(enforcement) => enforcement.original_dst(peer),
            Self::Rules => launch::original_destination(stream),
        }
    }
}

/// Accepts redirected connections until the run is over.
pub(crate) async fn accept(redirected: Arc<Redirected>, listener: TcpListener) {
    let run = Arc::clone(&redirected.run);
    loop {
        let accepting = async {
            // Never closed: the run holds it.
            let connections = Arc::clone(&run.room.load().connections);
            let room = connections.acquire_owned().await.ok();
            listener.accept().await.map(|accepted| (accepted, room))
        };
        let accepted = tokio::select! {
            biased;
            () = run.over.cancelled() => return,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok(((stream, peer), room)) => {
                let redirected = Arc::clone(&redirected);
                run.tasks.spawn(async move {
                    let _open = redirected.gate.metrics.connected(Listener::Transparent);
                    let over = redirected.run.over.clone();
                    tokio::select! {
                        biased;
                        () = over.cancelled() => {}
                        () = one(&redirected, stream, peer) => {}
                    }
                    drop(room);
                });
            }
            // Descriptors are used up: the connection waits in the backlog until some are free.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn one(redirected: &Redirected, stream: TcpStream, peer: SocketAddr) {
    let Redirected { gate, run, origins, names } = redirected;
    let Some(asked) = origins.of(&stream, peer) else {
        gate.metrics.strays.inc();
        return;
    };
    // A request and its answer are whole messages: nothing is gained by waiting for more to send.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let connection =
        Connection::of(Arc::clone(gate), Callers::Run(Arc::clone(run)), Intake::Transparent);
    tunnel::carry(connection, Paced::new(stream), going(asked, names)).await;
}

/// Where the kernel says that a connection was going: to a name that the responder gave an address
/// for, or to the bare address.
pub(crate) fn going(asked: SocketAddr, names: &Addresses) -> Going {
    let address = asked.ip().to_canonical();
    let named = match address {
        IpAddr::V4(v4) => names.name_of(v4).map(|name| name.to_string()),
        IpAddr::V6(_) => None,
    };
    Going { named, literal: address.to_string(), port: asked.port(), by_host: false }
}
