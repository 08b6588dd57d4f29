//! Connections from outside the pod to what the agent in it serves.
//!
//! Nobody else in the pod may send packets out, so the gate stands between: it takes the connection, dials the very
//! address that was meant, which is in the pod itself, and copies both ways. Whatever leaves by this is counted before it
//! leaves, and limited: an agent that is asked something can answer with anything.

mod meter;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit::{Kind, Who};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::strangers::Stranger;
use crate::agents::Agents;
use crate::clock;
use crate::config;
use crate::gate::Gate;
use crate::kills::{Entry, Guard};
use crate::metrics::Metrics;
use crate::paced::Paced;
use crate::pod::{Pod, translated};
use crate::record::{Inbound as Over, InboundEnd};
use crate::repeats::{Add, Repeats};

use decide::case::KillScope;
use meter::{Meter, Metered, Window};

/// How long what serves in the pod may take to accept.
const DIALLED_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be without a byte.
const SILENT: Duration = Duration::from_mins(10);
/// Equal ends within this time are one entry, microseconds. Probes come every few seconds.
const TOGETHER: u64 = 60_000_000;
/// Kinds of ends that are told apart: who, which port, how.
const KINDS: usize = 256;
/// How often entries that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);

type Ends = Repeats<(IpAddr, u16, InboundEnd), Over>;

/// What is needed to take a connection from outside.
#[derive(Debug)]
pub(crate) struct Inbound {
    gate: Arc<Gate>,
    agents: Arc<Agents>,
    pod: Arc<Pod>,
    limits: config::Inbound,
    window: Arc<Window>,
    ends: Mutex<Ends>,
}

/// How a connection ended, and what it carried.
struct Carried {
    ended: InboundEnd,
    bytes_in: u64,
    bytes_out: u64,
}

impl Carried {
    /// It did not begin.
    const fn nothing(ended: InboundEnd) -> Self {
        Self { ended, bytes_in: 0, bytes_out: 0 }
    }
}

impl Add for Over {
    fn add(&mut self, later: Self) {
        self.bytes_in = self.bytes_in.saturating_add(later.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(later.bytes_out);
        self.count = self.count.saturating_add(later.count);
    }
}

impl Inbound {
    pub(crate) fn of(
        gate: Arc<Gate>,
        agents: Arc<Agents>,
        pod: Arc<Pod>,
        limits: config::Inbound,
    ) -> Self {
        let window = Window::of(limits.window_bytes_out, limits.window);
        let ends = Mutex::new(Repeats::new(TOGETHER, KINDS));
        Self { gate, agents, pod, limits, window: Arc::new(window), ends }
    }

    /// Connections at a time.
    pub(crate) const fn at_once(&self) -> usize {
        self.limits.connections as usize
    }

    /// One connection from outside, until it ends.
    pub(crate) async fn one(&self, stream: TcpStream, peer: SocketAddr, stranger: Stranger) {
        // Outsiders are nobody known and stay so; their room is that of this listener.
        stranger.is_known();
        let wanted = translated(&stream);
        let declared = wanted.filter(|wanted| self.pod.serves(*wanted));
        let carried = if let Some(wanted) = declared {
            Box::pin(self.carry(stream, wanted)).await
        } else {
            reset(&stream);
            Carried::nothing(InboundEnd::Undeclared)
        };
        let port = wanted.map(|wanted| wanted.port());
        self.over(peer.ip().to_canonical(), port, declared.is_some(), &carried);
    }

    async fn carry(&self, mut stream: TcpStream, wanted: SocketAddr) -> Carried {
        let broken = CancellationToken::new();
        let Ok(live) = self.enter(&broken) else {
            reset(&stream);
            return Carried::nothing(InboundEnd::Broken);
        };
        let meter = Arc::new(Meter::of(
            self.limits.bytes_out,
            Arc::clone(&self.window),
            self.gate.metrics.guarded.bytes(wanted.port()),
        ));
        let ended = tokio::select! {
            biased;
            scope = live.killed() => killed(scope),
            () = broken.cancelled() => InboundEnd::Killed,
            ended = self.copy(&mut stream, wanted, &meter) => ended,
        };
        if !matches!(ended, InboundEnd::Closed) {
            // So that nobody takes what came so far for the whole.
            reset(&stream);
        }
        Carried { ended, bytes_in: meter.inwards(), bytes_out: meter.outwards() }
    }

    /// Has the kill switches cover it: it is killed at once where one does already.
    fn enter(&self, reset: &CancellationToken) -> io::Result<Guard> {
        let subject = self.agents.in_pod(&self.gate);
        Ok(self.gate.kills.enter(Entry {
            exchange: clock::ulid(self.gate.clock.now())?,
            agent: subject.run.agent.clone(),
            team: subject.terms.policy.team.clone(),
            key: None,
            reset: reset.clone(),
        }))
    }

    async fn copy(
        &self,
        stream: &mut TcpStream,
        wanted: SocketAddr,
        meter: &Arc<Meter>,
    ) -> InboundEnd {
        let dialled = tokio::time::timeout(DIALLED_WITHIN, TcpStream::connect(wanted)).await;
        let Ok(Ok(serving)) = dialled else { return InboundEnd::Unreachable };
        // Streamed answers are to leave as they are written.
        if serving.set_nodelay(true).is_err() {
            return InboundEnd::Broken;
        }
        let clock = self.gate.clock.clone();
        let mut outside = Metered::inwards(Paced::new(stream), Arc::clone(meter), clock.clone());
        let mut inside = Metered::outwards(serving, Arc::clone(meter), clock);
        tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut outside, &mut inside) => match (copied, meter.limit()) {
                (_, Some(limit)) => limit,
                (Ok(_), None) => InboundEnd::Closed,
                (Err(_), None) => InboundEnd::Broken,
            },
            () = silence(meter) => InboundEnd::Silent,
        }
    }

    /// Counts and enters the end of a connection.
    fn over(&self, peer: IpAddr, port: Option<u16>, declared: bool, carried: &Carried) {
        let Carried { ended, bytes_in, bytes_out } = *carried;
        let Metrics { guarded, .. } = &self.gate.metrics;
        guarded.inbound_over(port.filter(|_| declared), ended);
        let (agent, port) = (self.pod.agent.to_string(), port.unwrap_or_default());
        let over = Over { agent, peer, port, ended, bytes_in, bytes_out, count: 1 };
        let now = self.gate.clock.now();
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let told = ends.take((peer, port, ended), over, now, |over| {
            let peer = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            ((peer, 0, ended), Over { peer, port: 0, ..over })
        });
        drop(ends);
        self.enter_ends(told);
    }

    /// Enters what is due for as long as it is polled.
    pub(crate) async fn tell(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.gate.clock.now();
            self.gate.metrics.guarded.window.set(self.window.used(now));
            let due = self.ends.lock().unwrap_or_else(PoisonError::into_inner).due(now);
            self.enter_ends(due);
        }
    }

    /// Enters all that was not yet, at the end.
    pub(crate) fn flush(&self) {
        let all = self.ends.lock().unwrap_or_else(PoisonError::into_inner).drain();
        self.enter_ends(all);
    }

    fn enter_ends(&self, ends: impl IntoIterator<Item = Over>) {
        for over in ends {
            tracing::info!(
                peer = %over.peer, port = over.port, ended = over.ended.name(), bytes_in = over.bytes_in,
                bytes_out = over.bytes_out, count = over.count, "connections from outside are over"
            );
            let who = Who { agent: Some(over.agent.clone()), ..Who::default() };
            self.gate.journal.ride(Kind::Inbound, who, &over);
        }
    }
}

const fn killed(scope: KillScope) -> InboundEnd {
    match scope {
        KillScope::Drain => InboundEnd::GateEnded,
        KillScope::Key | KillScope::Agent | KillScope::Team | KillScope::Global => {
            InboundEnd::Killed
        }
    }
}

/// Resolves when nothing was moved for [`SILENT`].
async fn silence(meter: &Meter) {
    let mut before = meter.moved();
    loop {
        tokio::time::sleep(SILENT).await;
        let now = meter.moved();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Lets the client see that the connection was broken off, not ended.
fn reset(stream: &TcpStream) {
    // A connection that is gone already needs no end.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}
