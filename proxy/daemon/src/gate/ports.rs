//! Carries the connections of ports that a run shares with its host: counted both ways, cut by a kill.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use launch::{Connector, Listeners};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::Gate;
use crate::clock;
use crate::kills::{Entry, Guard};
use crate::record::{SharedPort, SharedWay, Widened};
use crate::run::Run;

/// Connections that one port carries at once; the next ones wait in its backlog.
const CONNECTIONS: usize = 256;
/// How long the far end may take to answer.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// The pause where descriptors are used up.
const PAUSE: Duration = Duration::from_millis(50);

/// One shared port, and what it has carried.
#[derive(Debug)]
pub(super) struct Carried {
    port: u16,
    way: SharedWay,
    connections: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
}

impl Carried {
    fn of(port: u16, way: SharedWay) -> Self {
        let zero = AtomicU64::default;
        Self { port, way, connections: zero(), written: zero(), read: zero() }
    }

    /// For the record.
    pub(super) fn total(&self) -> SharedPort {
        SharedPort {
            port: self.port,
            way: self.way,
            connections: self.connections.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            read: self.read.load(Ordering::Relaxed),
        }
    }
}

/// What all connections of a run's ports have in common.
struct Relay {
    gate: Arc<Gate>,
    run: Arc<Run>,
    connector: Option<Arc<Connector>>,
}

/// Starts to carry what comes to the shared ports; the user's words say which there may be.
pub(super) fn open(
    gate: &Arc<Gate>,
    run: &Arc<Run>,
    listeners: &mut Listeners,
    widened: &Widened,
) -> anyhow::Result<Vec<Arc<Carried>>> {
    let connector = listeners.connector.take().map(Arc::new);
    let relay = Arc::new(Relay { gate: Arc::clone(gate), run: Arc::clone(run), connector });
    let ports = |ports: &[u16], way| {
        let all: Vec<_> = ports.iter().map(|&port| Arc::new(Carried::of(port, way))).collect();
        all
    };
    let mut carried = ports(&widened.reach_port, SharedWay::Reach);
    carried.extend(ports(&widened.publish_port, SharedWay::Publish));
    for (port, listener) in listeners.shared.drain(..) {
        let Some(one) = carried.iter().find(|one| one.port == port) else {
            bail!(
                "port {port} is listened on, and neither --reach-port nor --publish-port names it"
            );
        };
        let listener = nonblocking(listener)?;
        run.tasks.spawn(accept(Arc::clone(&relay), Arc::clone(one), listener));
    }
    Ok(carried)
}

fn nonblocking(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Accepts until the run is over.
async fn accept(relay: Arc<Relay>, carried: Arc<Carried>, listener: tokio::net::TcpListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let over = relay.run.over.clone();
    loop {
        let accepting = async {
            // Never closed: this task holds it.
            let place = Arc::clone(&room).acquire_owned().await.ok();
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let accepted = tokio::select! {
            biased;
            () = over.cancelled() => return,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (relay, carried) = (Arc::clone(&relay), Arc::clone(&carried));
                relay.run.tasks.clone().spawn(async move {
                    one(&relay, &carried, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, port = carried.port, "a shared port's connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One connection to its end, a kill, or the end of the run.
async fn one(relay: &Relay, carried: &Carried, near: TcpStream) {
    let reset = CancellationToken::new();
    let live = match enter(relay, reset.clone()) {
        Ok(live) => live,
        Err(error) => return tracing::error!(%error, "a shared port's connection has no id"),
    };
    tokio::select! {
        biased;
        _ = live.killed() => {}
        () = reset.cancelled() => {}
        () = relay.run.over.cancelled() => {}
        copied = carry(relay, carried, near) => if let Err(error) = copied {
            tracing::info!(%error, port = carried.port, "a shared port's connection broke");
        },
    }
}

/// Among the live exchanges, so that a kill finds it.
fn enter(relay: &Relay, reset: CancellationToken) -> io::Result<Guard> {
    let Relay { gate, run, .. } = relay;
    Ok(gate.kills.enter(Entry {
        exchange: clock::ulid(gate.clock.now())?,
        agent: run.agent.clone(),
        team: run.terms().policy.team.clone(),
        key: None,
        reset,
    }))
}

async fn carry(relay: &Relay, carried: &Carried, near: TcpStream) -> io::Result<()> {
    carried.connections.fetch_add(1, Ordering::Relaxed);
    let far = match carried.way {
        SharedWay::Reach => tokio::time::timeout(REACHED_WITHIN, outside(carried.port)).await??,
        SharedWay::Publish => inside(relay, carried.port).await?,
    };
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    // The command's end, and the other one.
    let (command, host) = match carried.way {
        SharedWay::Reach => (near, far),
        SharedWay::Publish => (far, near),
    };
    let count = |counter: &AtomicU64, bytes: &[u8]| {
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let mut command = InspectReader::new(command, |bytes: &[u8]| count(&carried.written, bytes));
    let mut host = InspectReader::new(host, |bytes: &[u8]| count(&carried.read, bytes));
    tokio::io::copy_bidirectional(&mut command, &mut host).await.map(|_| ())
}

/// The host's own loopback. Programs listen on one of the two, and mean both.
async fn outside(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await
        }
        other => other,
    }
}

/// The command's loopback.
async fn inside(relay: &Relay, port: u16) -> io::Result<TcpStream> {
    let none = || io::Error::new(io::ErrorKind::NotConnected, "the front sent no connector");
    let connector = relay.connector.clone().ok_or_else(none)?;
    let connected = tokio::task::spawn_blocking(move || connector.connect(port));
    let stream = connected.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
