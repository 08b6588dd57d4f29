//! Takes connections from every listener of a service, each within the gate's room for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ebpf::Attempts;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use super::front_tls::FrontTls;
use super::listeners::Listening;
use super::names::Names;
use crate::agents::Agents;
use crate::attached::Attachments;
use crate::attempts::{Teller, Whose};
use crate::clock;
use crate::gate::Gate;
use crate::intake::attached::{self, Attached};
use crate::intake::front::{Front, Gateway};
use crate::intake::inbound::Inbound;
use crate::intake::pod::{self, Inside};
use crate::intake::routed;
use crate::intake::strangers::{Stranger, Strangers};
use crate::listen::dns::{Addresses, Responder, serve_tcp, serve_udp};
use crate::listen::routed::Own;
use crate::metrics::Listener;
use crate::pod::{Pod, PodError};

/// Between two attempts to accept when descriptors are used up.
const PAUSE: Duration = Duration::from_millis(50);

/// Who takes connections, and for how long.
pub(super) struct Accepting {
    pub(super) gate: Arc<Gate>,
    pub(super) agents: Arc<Agents>,
    pub(super) attachments: Arc<Attachments>,
    /// The pod that is guarded, and what comes in to it.
    pub(super) guarded: Option<(Arc<Pod>, Arc<Inbound>)>,
    pub(super) gateway: Gateway,
    pub(super) tls: Arc<FrontTls>,
    /// Client connections open at a time.
    pub(super) connections: usize,
    /// Those of them from one address of which no agent is known yet.
    pub(super) strangers: Arc<Strangers>,
    /// Set when no more are taken.
    pub(super) stop: CancellationToken,
    /// Open connections.
    pub(super) tasks: TaskTracker,
}

impl Accepting {
    /// Starts to take connections and questions.
    pub(super) fn start(&self, listening: Listening) -> Result<(), ServeError> {
        let room = Arc::new(Semaphore::new(self.connections));
        let front = Arc::new(Front {
            gate: Arc::clone(&self.gate),
            agents: Arc::clone(&self.agents),
            gateway: self.gateway.clone(),
        });
        for listener in listening.proxy.into_async("listen.proxy")? {
            let (front, tls) = (Arc::clone(&front), Arc::clone(&self.tls));
            let attachments = Arc::clone(&self.attachments);
            self.take(listener, &room, Listener::Proxy, move |stream, peer, stranger| {
                let (front, tls) = (Arc::clone(&front), Arc::clone(&tls));
                let attachments = Arc::clone(&attachments);
                async move { tls.one(front, &attachments, stream, (peer, stranger)).await }
            });
        }
        let from = clock::random()
            .map_err(|source| ServeError::System { what: "drawing random numbers", source })?;
        let names = Addresses::from_anywhere(u32::from_ne_bytes(from));
        let transparent = listening.transparent.into_async("listen.transparent")?;
        match &self.guarded {
            Some((pod, inbound)) => {
                self.take_from_pod(transparent, &room, pod, (listening.own.clone(), names.clone()));
                self.take_inbound(listening.inbound.into_async("pod")?, inbound);
                if let Some(attempts) = pod.attempts().map_err(PodError::from)? {
                    self.telling().tell(attempts, Whose::Pod(Arc::clone(pod)));
                }
            }
            None => self.take_attached(transparent, &room, &names),
        }
        let own = Arc::new(listening.own);
        for listener in listening.routed.into_async("listen.routed")? {
            let (gate, agents) = (Arc::clone(&self.gate), Arc::clone(&self.agents));
            let own = Arc::clone(&own);
            self.take(listener, &room, Listener::Routed, move |stream, peer, stranger| {
                let (gate, agents, own) =
                    (Arc::clone(&gate), Arc::clone(&agents), Arc::clone(&own));
                async move { routed::one(&gate, &agents, &own, stream, (peer, stranger)).await }
            });
        }
        let responder = Arc::new(std::sync::Mutex::new(Responder::new(names)));
        let in_pod = self.guarded.is_some();
        let directory = Names::of(Arc::clone(&self.gate), Arc::clone(&self.agents), in_pod);
        let directory = Arc::new(directory);
        for socket in listening.dns_udp {
            let (responder, directory) = (Arc::clone(&responder), Arc::clone(&directory));
            let clock = self.gate.clock.clone();
            self.answer(serve_udp(socket, responder, directory, clock));
        }
        for listener in listening.dns_tcp {
            let (responder, directory) = (Arc::clone(&responder), Arc::clone(&directory));
            let clock = self.gate.clock.clone();
            self.answer(serve_tcp(listener, responder, directory, clock));
        }
        Ok(())
    }

    /// What the kernel redirects from attached cgroups.
    fn take_attached(&self, listeners: Vec<TcpListener>, room: &Arc<Semaphore>, names: &Addresses) {
        let attached = Arc::new(Attached {
            gate: Arc::clone(&self.gate),
            agents: Arc::clone(&self.agents),
            attachments: Arc::clone(&self.attachments),
            names: names.clone(),
        });
        for listener in listeners {
            let attached = Arc::clone(&attached);
            self.take(listener, room, Listener::Transparent, move |stream, peer, stranger| {
                let attached = Arc::clone(&attached);
                async move { attached::one(&attached, stream, peer, stranger).await }
            });
        }
    }

    /// What is redirected from within the pod.
    fn take_from_pod(
        &self,
        listeners: Vec<TcpListener>,
        room: &Arc<Semaphore>,
        pod: &Arc<Pod>,
        (own, names): (Own, Addresses),
    ) {
        let inside = Arc::new(Inside {
            gate: Arc::clone(&self.gate),
            agents: Arc::clone(&self.agents),
            pod: Arc::clone(pod),
            own,
            names,
        });
        for listener in listeners {
            let inside = Arc::clone(&inside);
            self.take(listener, room, Listener::Transparent, move |stream, peer, stranger| {
                let inside = Arc::clone(&inside);
                async move { pod::one(&inside, stream, peer, stranger).await }
            });
        }
    }

    /// What comes in to the agent in the pod, in a room of its own: outsiders take nothing from what is inside.
    fn take_inbound(&self, listeners: Vec<TcpListener>, inbound: &Arc<Inbound>) {
        let room = Arc::new(Semaphore::new(inbound.at_once()));
        for listener in listeners {
            let inbound = Arc::clone(inbound);
            self.take(listener, &room, Listener::Inbound, move |stream, peer, stranger| {
                let inbound = Arc::clone(&inbound);
                async move { inbound.one(stream, peer, stranger).await }
            });
        }
        let (stop, inbound) = (self.stop.clone(), Arc::clone(inbound));
        tokio::spawn(async move { stop.run_until_cancelled(inbound.tell()).await });
    }

    /// Who tells what the kernel refuses, until no connections are taken any more.
    pub(super) fn telling(&self) -> Telling {
        let (gate, stop, tasks) = (Arc::clone(&self.gate), self.stop.clone(), self.tasks.clone());
        Telling { gate, stop, tasks }
    }

    fn answer(&self, serving: impl Future<Output = std::io::Result<()>> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                served = serving => if let Err(error) = served {
                    tracing::error!(%error, "names are no longer answered");
                }
            }
        });
    }

    /// Takes connections until it is told to stop; then the listener closes.
    fn take<F, One>(&self, listener: TcpListener, room: &Arc<Semaphore>, by: Listener, one: F)
    where
        F: Fn(TcpStream, SocketAddr, Stranger) -> One + Send + 'static,
        One: Future<Output = ()> + Send + 'static,
    {
        let (stop, tasks, room) = (self.stop.clone(), self.tasks.clone(), Arc::clone(room));
        let (strangers, gate) = (Arc::clone(&self.strangers), Arc::clone(&self.gate));
        tokio::spawn(async move {
            loop {
                let accepting = async {
                    // Never closed.
                    let place = Arc::clone(&room).acquire_owned().await.ok();
                    listener.accept().await.map(|accepted| (accepted, place))
                };
                let accepted = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    accepted = accepting => accepted,
                };
                match accepted {
                    Ok(((stream, peer), place)) => {
                        let open = gate.metrics.connected(by);
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "a connection ended before it began");
                            continue;
                        }
                        let Some(stranger) = strangers.take(peer.ip()) else {
                            gate.metrics.crowded.inc();
                            tracing::debug!(%peer, listener = by.name(), "too many connections of nobody known");
                            continue;
                        };
                        let carried = one(stream, peer, stranger);
                        tasks.spawn(async move {
                            carried.await;
                            drop((place, open));
                        });
                    }
                    // Descriptors are used up: the connection waits in the backlog until some are free.
                    Err(error) => {
                        tracing::warn!(%error, listener = by.name(), "a connection cannot be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        });
    }
}

/// Has what the kernel refuses be told.
pub(super) struct Telling {
    gate: Arc<Gate>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Telling {
    pub(super) fn tell(&self, attempts: Attempts, whose: Whose) {
        let telling = Teller::new(Arc::clone(&self.gate), whose).tell(attempts, self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(error) = telling.await {
                tracing::error!(%error, "what is tried past the gate is not told");
            }
        });
    }
}
